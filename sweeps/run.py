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
from privimage.cluster.shared import check_shared
from privimage.data.pair import load_data
from privimage.disk import refusal
from privimage.errors import InputError
from privimage.mirror import mirror_of
from privimage.paths import Root, RunFolder
from privimage.privacy.contents import Contents
from privimage.pull import pull
from privimage.stores.hidden import HiddenStore
from privimage.stores.open import open_store
from privimage.sweeps.drive import run_phase
from privimage.sweeps.interrupt import STOPPED, STOPPING, Stopped
from privimage.sweeps.lease import leased
from privimage.sweeps.look import read_lines
from privimage.sweeps.looks import looks_of
from privimage.sweeps.modes.phases import phases
from privimage.sweeps.modes.selection import level
from privimage.sweeps.price import bill_of
from privimage.sweeps.progress import told
from privimage.sweeps.resume import asked_sigma, at_revision, check_root, check_same, ledger_of
from privimage.sweeps.study_store import open_studies
from privimage.sweeps.sweep import Sweep
from privimage.sweeps.trackers.tracking import check_trackers
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
    check_root(sweep, root)
    try:
        with _claimed(folder), leased(folder.path):
            pull(folder.path)
            _heal(folder)
            work = _prepared(sweep, folder, quiet=quiet)
            todo = phases(work)
            for line in () if quiet else _told(work):
                print(f"privimage: {line}", file=sys.stderr)
            shown = told(folder, hidden=sweep.tuning.hidden)
            with _levelled(work), shown, connected(address, stopping=STOPPING) as where:
                if not quiet:
                    _say_where(where, address)
                if sweep.tuning.hidden:
                    hide_sessions()
                trials_at_once(sweep.resources, nodes())  # or refused, before anything is reserved
                check_shared(folder.root.path)
                _reserve(work)
                work.write()
                failures = next(filter(None, map(run_phase, todo)), ())  # those of the first phase that has any
                if not failures:
                    work.ledger.close(work.reservation)
                return Outcome(folder=folder, failures=failures)
    except KeyboardInterrupt as stopped:
        if isinstance(stopped, Stopped):
            raise
        raise Stopped(STOPPED) from None


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
        raise refusal(error, folder.path, "written", fix="give another --root") from None
    try:
        yield
    finally:
        lock.release()


def _told(work: Work) -> tuple[str, ...]:
    """What is said before anything is asked: what was read, where a bucket is copied, what is worth a warning."""
    unmeasured, mirror = work.sweep.unmeasured, mirror_of(work.folder.path)
    copied = () if mirror is None else (f"{mirror.bucket.url}: its working folder here is {mirror.root}",)
    read = read_lines(work.sweep.data, work.public, work.sensitive)
    return (*read, *copied, *warnings(work), *(() if unmeasured is None else (unmeasured,)))


@contextmanager
def _levelled(work: Work) -> Iterator[None]:
    """At the end, nothing outside internal folders tells how long it took, if that would tell how many trials ran."""
    try:
        yield
    finally:
        if work.sweep.tuning.hidden:
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
    check_trackers(sweep, folder)  # or refused, before data are read; so are studies
    studies = open_studies(sweep, folder)
    public, sensitive = load_data(sweep.data, root=folder.root)
    sweep = at_revision(sweep, Contents(folder.root, sweep.data.sensitive.id).revision(sensitive.content))
    check_same(sweep, folder)
    asked = asked_sigma(sweep, folder)
    bill = bill_of(sweep, asked_sigma=asked)
    ledger_of(sweep, folder.root).check_looks(looks_of(sweep))
    work = Work(
        sweep=sweep, folder=folder, asked=asked, bill=bill, public=public, sensitive=sensitive, quiet=quiet,
        studies=studies,
    )  # fmt: skip
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
