"""Running a sweep: claim the folder, check every trial, reserve its price, then its phases until nothing is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from filelock import FileLock, Timeout

from privimage import lines, reconcile
from privimage.cluster.connect import connected, hide_sessions, ignored, nodes
from privimage.cluster.resources import trials_at_once
from privimage.data.pair import load_data
from privimage.data.sets import PublicSet, check_apart
from privimage.disk import private_folder
from privimage.errors import InputError
from privimage.paths import Root, RunFolder
from privimage.privacy.contents import Contents
from privimage.stores.hidden import HiddenStore
from privimage.stores.open import open_store
from privimage.sweeps.drive import Phase, run_phase
from privimage.sweeps.failures import AGAIN
from privimage.sweeps.interrupt import STOPPING, Stopped
from privimage.sweeps.look import read_lines
from privimage.sweeps.looks import looks_of
from privimage.sweeps.modes.selection import Selection, level
from privimage.sweeps.modes.stand_in import final_trials, stand_in_sweep
from privimage.sweeps.modes.tuning import Explore, Public, Select
from privimage.sweeps.price import bill_of, least_sigmas
from privimage.sweeps.resume import asked_sigma, at_revision, check_same, hides, ledger_of
from privimage.sweeps.sweep import Sweep
from privimage.sweeps.work import Work, warnings


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a sweep ended: its folder, and one line for every trial that failed; none only if all have their records."""

    folder: RunFolder
    failures: tuple[str, ...]


def run_sweep(sweep: Sweep, *, root: Root, address: str | None, quiet: bool = False) -> Outcome:
    """Run the sweep, or what is left of it.

    Raises InputError before anything is charged if it cannot be run, and Stopped if a signal asks it to end: nothing
    is closed then, no other phase is begun, and the same command goes on.
    """
    folder = root.run(sweep.name)
    try:
        with _claimed(folder):
            _heal(folder)
            work = _prepared(sweep, folder, quiet=quiet)
            search = _stand_in(work) if isinstance(sweep.tuning, Public) else None
            for line in () if quiet else _told(work):
                print(f"privimage: {line}", file=sys.stderr)
            with _levelled(work), connected(address, stopping=STOPPING) as where:
                if not quiet:
                    _say_where(where, address)
                if hides(sweep):
                    hide_sessions()
                trials_at_once(sweep.resources, nodes())  # or refused, before anything is reserved
                _reserve(work)
                work.write()
                failures = _run(work, search)
                if not failures:
                    work.ledger.close(work.reservation)
                return Outcome(folder=folder, failures=failures)
    except KeyboardInterrupt as stopped:
        if isinstance(stopped, Stopped):
            raise
        raise Stopped(f"stopped; {AGAIN}") from None


def _say_where(where: str, address: str | None) -> None:
    """One line on which machines the images go to, where there is a choice."""
    if address not in (None, "local"):
        print(f"privimage: on the Ray cluster at {where}", file=sys.stderr)
    elif ignored():
        said = f"on this machine; RAY_ADDRESS={ignored()} is not used, give --address auto to use that cluster"
        print(f"privimage: {said}", file=sys.stderr)


@contextmanager
def _claimed(folder: RunFolder) -> Iterator[None]:
    """Hold the folder of the run. Raises InputError if another process does, or if it cannot be written."""
    lock = FileLock(str(folder.path / "sweep.lock"))
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder.path}: another process is running this sweep; wait for it or stop it") from None
    except OSError as error:
        raise InputError(f"{folder.path}: cannot be written ({error.strerror or error}); give another --root") from None
    try:
        yield
    finally:
        lock.release()


def _told(work: Work) -> tuple[str, ...]:
    """What is said before anything is asked: what was read, and what is worth a warning."""
    unmeasured = work.sweep.unmeasured
    read = read_lines(work.sweep.data, work.public, work.sensitive)
    return (*read, *warnings(work), *(() if unmeasured is None else (unmeasured,)))


@contextmanager
def _levelled(work: Work) -> Iterator[None]:
    """At the end, nothing outside internal folders tells how long it took, if that would tell how many trials ran."""
    try:
        yield
    finally:
        if hides(work.sweep):
            level(work.ledger, work.folder)


def _heal(folder: RunFolder) -> None:
    """Take damaged lines out of what the run wrote: their trials are found in the store, or are finished."""
    for run in (folder, folder.stand_in):
        for path in (run.records, run.internal_records, run.tried):
            if lines.heal(path):
                said = "damaged lines were taken out (a copy is beside it); their trials cost nothing again"
                print(f"privimage: {path}: {said}", file=sys.stderr)


def _prepared(sweep: Sweep, folder: RunFolder, *, quiet: bool) -> Work:
    """The sweep with its bill and its data, checked."""
    public, sensitive = load_data(sweep.data, rendered=folder.root.rendered)
    sweep = at_revision(sweep, Contents(folder.root, sweep.data.sensitive.id).revision(sensitive.content))
    check_same(sweep, folder)
    asked = asked_sigma(sweep, folder)
    bill = bill_of(sweep, asked_sigma=asked)
    ledger_of(sweep, folder.root).check_looks(looks_of(sweep))
    work = Work(sweep=sweep, folder=folder, asked=asked, bill=bill, public=public, sensitive=sensitive, quiet=quiet)
    work.check()
    for store in (open_store(folder.root.store), HiddenStore(open_store(folder.root.store))):
        store.tidy()
    reconcile.check(folder.root, sweep.data.sensitive.id)
    return work


def _reserve(work: Work) -> None:
    """Fix which images the id stands for, and reserve the whole bill, unless all of it was asked and closed before."""
    Contents(work.folder.root, work.sweep.data.sensitive.id).fix(work.sensitive.content)
    if work.ledger.begun_otherwise(id=work.reservation, events=work.bill.costs):
        raise InputError(
            f"{work.ledger.path}: a sweep {work.sweep.name} was begun on this set with other trials or rows, and its "
            "price was fixed before its first answer; put them back, or choose another name"
        )
    if not work.ledger.settled(id=work.reservation, events=work.bill.costs):
        work.ledger.reserve(id=work.reservation, what=f"sweep {work.sweep.name}", events=work.bill.costs)


def _run(work: Work, search: Work | None) -> tuple[str, ...]:
    """Run all phases of the sweep's mode; one line for every failure."""
    match work.sweep.tuning:
        case Explore():
            return run_phase(work, Phase(name="sweep", rows=work.rows, searching=True))
        case Select():
            return _select(work)
        case Public():
            if search is None:
                raise ValueError("a public search needs its stand-in")
            return _search_then_run(work, search)


def _select(work: Work) -> tuple[str, ...]:
    """All trials of every selection beside the comparison rows; then the winners, if every trial has its record."""
    ledger, store = work.ledger, open_store(work.folder.root.store)
    selections = [Selection(work.sweep, study, work.bill, asked_sigma=work.asked) for study in work.bill.studies]
    private_folder(work.folder.internal_ray.parent)
    for look in looks_of(work.sweep):  # now, not by the first trial that gets there
        ledger.look(look)
    inner = work.folder.root.covered(work.sweep.data.sensitive.id)
    drawn = [selection.begin(ledger=ledger, store=store, inner=inner) for selection in selections]
    failures = run_phase(
        work,
        Phase(name="selection", rows=work.rows, drawn=tuple(trial for trials in drawn for trial in trials)),
        selections={selection.id: selection.cost for selection in selections},
    )
    if not failures:
        for selection, trials in zip(selections, drawn, strict=True):
            selection.finish(trials, folder=work.folder)
    return failures


def _stand_in(work: Work) -> Work:
    """The same work on the public stand-in, checked like the sensitive one."""
    sweep = stand_in_sweep(work.sweep, labels=len(work.sensitive.train.classes))
    folder, asked = work.folder.stand_in, least_sigmas(sweep)
    public, sensitive = load_data(sweep.data, rendered=work.folder.root.rendered)
    if sensitive.content:  # public, so other images under its id are no mistake
        contents = Contents(work.folder.root, sweep.data.sensitive.id)
        sweep = at_revision(sweep, contents.adopt(sensitive.content))
    for part in (sensitive.train, sensitive.validation, sensitive.test):
        shown = PublicSet(x=part.x, y=part.y, name=part.name, classes=part.classes)
        check_apart(shown, work.sensitive, key="tuning.stand_in")
    search = Work(
        sweep=sweep,
        folder=folder,
        asked=asked,
        bill=bill_of(sweep, asked_sigma=asked),
        public=public,
        sensitive=sensitive,
        quiet=work.quiet,
    )
    id = sweep.data.sensitive.id
    reconcile.adopt(folder.root, id, reconcile.missing(folder.root, id))  # public data: nothing was paid
    try:
        search.check()
    except InputError as error:
        raise InputError(f"tuning.stand_in: {error}") from None
    return search


def _search_then_run(work: Work, search: Work) -> tuple[str, ...]:
    """The search on the stand-in, then its best settings on the sensitive set, beside the comparison rows."""
    search.folder.path.mkdir(parents=True, exist_ok=True)
    search.write()
    failures = run_phase(search, Phase(name="search on the public stand-in", searching=True))
    if failures:
        return failures
    finals = tuple(final_trials(work.sweep, search.folder, work.bill, asked_sigma=work.asked))
    return run_phase(work, Phase(name="sweep", rows=work.rows, finals=finals))
