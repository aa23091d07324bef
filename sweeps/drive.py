"""Driving Ray Tune over what has no record: a searcher gives the jobs, an actor runs each, the records tell the end."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pickle import UnpicklingError
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune import TuneError

from privimage.cluster.cache import start_cache
from privimage.cluster.execute import Site, execute
from privimage.cluster.memory import give_back, share_arena
from privimage.mirror import mirror_of
from privimage.paths import RunFolder
from privimage.privacy.guarantee import sentences
from privimage.pull import pull
from privimage.record import Record
from privimage.record_file import find, so_far
from privimage.schema import digest
from privimage.sweeps.at_once import Capacity, RoomLimiter
from privimage.sweeps.display import Display
from privimage.sweeps.failures import AGAIN, Failed, failure
from privimage.sweeps.following import Onlooker, caught_up
from privimage.sweeps.interrupt import STOPPING, Stopped
from privimage.sweeps.past import ended
from privimage.sweeps.phase import Fixed, Phase, label_of, search_at
from privimage.sweeps.price import asked_by
from privimage.sweeps.progress import load_records
from privimage.sweeps.searcher import Job, SweepSearcher, configurations
from privimage.sweeps.studies import Studies
from privimage.sweeps.tally import Tally
from privimage.sweeps.trackers.tracking import trackers_of
from privimage.sweeps.work import Terms, Work
from privimage.text import count

RETRIES = 1  # of a trial that failed: its worker may have been killed
HIDDEN = "a trial of the selection"
LOST = (OSError, EOFError, UnpicklingError, TuneError, RayError)  # of Ray itself: the trials' own come as results


def run_phase(phase: Phase) -> tuple[str, ...]:
    """Run the trials of the phase that have no record; one line for every failure, none if every trial has its record.

    Raises Stopped, with how far it came, if a signal asks it to end.
    """
    work, site = phase.work, _site(phase)
    todo = _todo(phase, site)
    callbacks = caught_up(work.folder.records, _onlookers(phase, todo), hidden=work.sweep.tuning.hidden)
    searcher = _searcher(phase, site)
    if searcher.jobs_left == 0:
        return ()
    shutil.rmtree(site.ray, ignore_errors=True)  # what Tune left there: no run is gone on with from it
    room = Capacity(work.sweep.resources)
    search = _search_trials(work) if phase.searching else (0,) * len(work.sweep.budgets)
    tally = Tally(work, fixed=phase.labels, search=search, at_once=room)
    try:
        with Display(
            work, actor=site.actor, tally=tally, labels=phase.labels, phase=phase.name, hidden=bool(phase.drawn)
        ):
            held = replace(site, data=ray.put((work.public, work.sensitive)))
            failures = _fit(work, searcher, todo, held, room=room, callbacks=callbacks)
        _stop_if_asked()
    except KeyboardInterrupt:
        raise Stopped(f"stopped{_counted(phase, tally)}; {AGAIN}") from None
    pull(work.folder.path, lines_only=True)  # what other nodes wrote
    left = _left(phase, site)
    if left and not failures:
        return (f"{'some trials' if phase.drawn else count(left, 'trial')} ended without a record; {AGAIN}",)
    return failures


def _onlookers(phase: Phase, todo: Fixed) -> list[Onlooker]:
    """What shows the phase elsewhere."""
    work = phase.work
    stated = "public data" if work.sweep.data.stand_in else sentences(work.bill)[0]
    studies = [] if work.studies is None else [Studies(phase, work.studies, todo=todo)]
    return [*studies, *trackers_of(work.sweep, work.folder, stated=stated)]


def _counted(phase: Phase, tally: Tally) -> str:
    """How far it came, where that may be told."""
    if phase.drawn:
        return ""
    rows = tally.rows(load_records(phase.work.folder.records))
    done, total = sum(row.done for row in rows), sum(row.total for row in rows)
    return f" after {done} of {count(total, 'trial')}" + ("" if phase.name == "sweep" else f" of the {phase.name}")


def _site(phase: Phase) -> Site:
    work, selections = phase.work, phase.selections
    root, mirror = work.folder.root.path.resolve(), mirror_of(work.folder.root.path.resolve())
    return Site(
        folder=RunFolder(path=work.folder.path.resolve()),
        resources=work.sweep.resources,
        actor=start_cache(f"cache-{digest(str(root))[:12]}", near=work.sweep.resources.driver),
        selections=selections,
        queries=asked_by(work.sweep, asked_sigma=work.asked) if selections else (),
        reservation=work.reservation,
        weights=work.sweep.features.weights,
        bucket=None if mirror is None else mirror.bucket.url,
    )


def _todo(phase: Phase, site: Site) -> Fixed:
    return tuple((trial, role) for trial, role in phase.fixed if find(site.records_of(trial), trial.id) is None)


def _searcher(phase: Phase, site: Site) -> SweepSearcher:
    work = phase.work
    found = so_far(work.folder.records)
    return SweepSearcher(
        work.sweep,
        tried=work.folder.tried,
        n_fixed=len(_todo(phase, site)),
        key=work.terms.key,
        ended=ended(work, found) if phase.searching else None,
    )


def _search_trials(work: Work) -> tuple[int, ...]:
    """How many trials the search makes at every budget, every seed of a configuration counted."""
    keys = (partial(work.key, budget) for budget in range(len(work.sweep.budgets)))
    return tuple(len(work.sweep.seeds) * configurations(work.sweep, key) for key in keys)


def _left(phase: Phase, site: Site) -> int:
    """How many trials have no record: counted anew, whatever the errors say."""
    fixed = len(_todo(phase, site))
    return fixed + len(phase.work.sweep.seeds) * (_searcher(phase, site).jobs_left - fixed)


def _fit(
    work: Work, searcher: SweepSearcher, todo: Fixed, site: Site, *, room: Capacity, callbacks: Sequence[tune.Callback]
) -> tuple[str, ...]:
    """Run the jobs of the searcher; one line for every one that failed."""
    try:
        failed = Failed()
        _tuner(work, searcher, todo, site, room=room, callbacks=[failed, StopAsked(), *callbacks]).fit()
        errors = failed.errors
    except LOST as error:  # Tune loses its own account of a trial where the disk is full
        reason = " ".join(str(error).split())[:300]
        return (f"Ray Tune gave up ({type(error).__name__}: {reason}); is the disk of {site.ray} full? {AGAIN}",)
    return lines_of([(_where(job, work, todo), error) for job, error in errors])


def lines_of(errors: Sequence[tuple[str, BaseException | None]]) -> tuple[str, ...]:
    """One line for every error of a trial that may be told, and one of a private selection: two would count trials."""
    lines = dict[str, str]()
    for where, error in errors:
        line = failure(error, where=where)
        lines.setdefault(where if where == HIDDEN else line, line)
    return tuple(lines.values())


def _stop_if_asked() -> None:
    """Raise KeyboardInterrupt if a signal has asked for it. The first is lost where Python runs a finalizer."""
    if STOPPING.is_set():
        raise KeyboardInterrupt


class StopAsked(tune.Callback):  # type: ignore[misc]
    """Ends Tune's loop at its next step once a signal has asked to stop."""

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune several times a second."""
        _stop_if_asked()


def _tuner(
    work: Work, searcher: SweepSearcher, todo: Fixed, site: Site, *, room: Capacity, callbacks: list[tune.Callback]
) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_job, terms=work.terms, fixed=todo, site=site),
            tune.PlacementGroupFactory([work.sweep.resources.held]),
        ),
        tune_config=tune.TuneConfig(
            search_alg=RoomLimiter(searcher, room=room, queued=work.sweep.resources.queued or 0),
            num_samples=searcher.jobs_left,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(site.ray),
            verbose=0,
            callbacks=callbacks,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )


def _where(job: Job, work: Work, todo: Fixed) -> str:
    """Which trial a job is, in words that may be shown."""
    if "fixed" not in job:
        searched = {dotted: value for dotted, value in job["params"].items() if dotted in work.sweep.search}
        values = ", ".join(f"{dotted.removeprefix('method.')}={value}" for dotted, value in searched.items())
        where = search_at(work.sweep.budgets[job["budget"]], work.sweep)
        return f"{where} with {values}" if values else where
    trial, _ = todo[job["fixed"]]
    return label_of(trial, work.sweep) if trial.draw is None else HIDDEN


def _job(job: Job, *, terms: Terms, fixed: Fixed, site: Site) -> None:
    """One job of the searcher: a trial fixed beforehand, or one configuration with every seed; reports objectives."""
    share_arena()
    try:
        results = _records_of(job, terms=terms, fixed=fixed, site=site)
    finally:
        give_back()
    values = {name: [record.value(name) for record in results] for name in terms.sweep.objectives}
    tune.report({name: sum(v for v in found if v is not None) / len(found) for name, found in values.items()})


def _records_of(job: Job, *, terms: Terms, fixed: Fixed, site: Site) -> list[Record]:
    sweep = terms.sweep
    if "fixed" in job:
        trial, role = fixed[job["fixed"]]
        return [execute(trial, site=site, role=role)]
    budget = sweep.budgets[job["budget"]]
    trials = [terms.searched(job["params"], budget=budget, seed=seed) for seed in sweep.seeds]
    return [execute(trial, site=site, role="search") for trial in trials]
