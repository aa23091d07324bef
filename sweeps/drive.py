"""Driving Ray Tune over what has no record: a searcher gives the jobs, an actor runs each, the records tell the end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import ray
from ray import tune

from cluster.cache import start_cache
from cluster.execute import Role, Site, execute
from cluster.resources import DRIVER_CPU, Resources, trials_at_once
from privimage import record as records
from privimage.budget import BestOf
from privimage.paths import RunFolder
from privimage.schema import digest
from privimage.trial import Trial
from sweeps.display import Display
from sweeps.interrupt import Stopped
from sweeps.past import ended
from sweeps.searcher import Job, SweepSearcher, configurations
from sweeps.work import Work

Fixed = tuple[tuple[Trial, Role], ...]
AGAIN = "run the same command again"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What is run together: trials that are fixed beforehand, and else the search. `hidden`: nothing counts them."""

    fixed: Fixed
    searching: bool
    hidden: bool = False


def run_phase(work: Work, phase: Phase, *, selections: Mapping[str, BestOf] | None = None) -> tuple[str, ...]:
    """Run the trials of the phase that have no record; one line for every failure, none if every trial has its record.

    Raises Stopped, with how far it came, if a signal asks it to end.
    """
    site = _site(work, selections or {})
    searcher = _searcher(work, phase, site)
    if searcher.jobs_left == 0:
        return ()
    todo = _todo(phase, site)
    shown = None if phase.hidden else len(phase.fixed) + phase.searching * _search_trials(work)
    try:
        with Display(sweep=work.sweep, folder=work.folder, actor=site.actor, total=shown, quiet=work.quiet):
            failures = _fit(work, searcher, todo, site)
    except KeyboardInterrupt:
        counted = "" if shown is None else f" after {shown - _left(work, phase, site)} of {shown} trials"
        raise Stopped(f"stopped{counted}; {AGAIN}") from None
    left = _left(work, phase, site)
    if left and not failures:
        return (f"{'some' if phase.hidden else left} trials ended without a record; {AGAIN}",)
    return failures


def _site(work: Work, selections: Mapping[str, BestOf]) -> Site:
    root = work.folder.root.path.resolve()
    return Site(
        folder=RunFolder(path=work.folder.path.resolve()),
        resources=work.sweep.resources,
        actor=start_cache(f"cache-{digest(str(root))[:12]}"),
        public=work.public,
        sensitive=work.sensitive,
        selections=selections,
        reservation=work.reservation,
    )


def _todo(phase: Phase, site: Site) -> Fixed:
    return tuple((trial, role) for trial, role in phase.fixed if not site.has(trial))


def _searcher(work: Work, phase: Phase, site: Site) -> SweepSearcher:
    found = records.load(work.folder.records) if work.folder.records.exists() else []
    return SweepSearcher(
        work.sweep,
        tried=work.folder.tried,
        n_fixed=len(_todo(phase, site)),
        key=work.key,
        ended=ended(work, found) if phase.searching else None,
    )


def _search_trials(work: Work) -> int:
    """How many trials the search makes in all, every seed of a configuration counted."""
    budgets = range(len(work.sweep.budgets))
    studies = (configurations(work.sweep, partial(work.key, budget)) for budget in budgets)
    return len(work.sweep.seeds) * sum(studies)


def _left(work: Work, phase: Phase, site: Site) -> int:
    """How many trials have no record: counted anew, whatever the errors say."""
    fixed = len(_todo(phase, site))
    return fixed + len(work.sweep.seeds) * (_searcher(work, phase, site).jobs_left - fixed)


def _fit(work: Work, searcher: SweepSearcher, todo: Fixed, site: Site) -> tuple[str, ...]:
    """Run the jobs of the searcher; one line for every one that failed."""
    resources = work.sweep.resources
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would end the loop as if all were done
        "RAY_AIR_NEW_OUTPUT": "0",  # Display shows instead
    }
    job = tune.with_parameters(_job, work=work, fixed=todo, site=site)
    tuner = tune.Tuner(
        tune.with_resources(job, _driver(resources)),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=searcher.jobs_left,
            max_concurrent_trials=trials_at_once(resources, ray.cluster_resources()),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(work.folder.ray.resolve()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
    return tuple(str(error).strip().splitlines()[-1] for error in tuner.fit().errors)


def _driver(resources: Resources) -> dict[str, float]:
    """What the Tune process of a trial holds: everything, or next to nothing if Ray Train workers do the work."""
    if resources.workers > 1:
        return {"cpu": DRIVER_CPU}
    return {"cpu": resources.cpu} | ({"gpu": resources.gpu} if resources.gpu else {})


def _job(job: Job, *, work: Work, fixed: Fixed, site: Site) -> None:
    """One job of the searcher: a trial fixed beforehand, or one configuration with every seed; reports objectives."""
    sweep = work.sweep
    if "fixed" in job:
        trial, role = fixed[job["fixed"]]
        results = [execute(trial, site=site, role=role)]
    else:
        budget = sweep.budgets[job["budget"]]
        trials = [work.searched(job["params"], budget=budget, seed=seed) for seed in sweep.seeds]
        results = [execute(trial, site=site, role="search") for trial in trials]
    values = {name: [record.value(name) for record in results] for name in sweep.objectives}
    tune.report({name: sum(v for v in found if v is not None) / len(found) for name, found in values.items()})
