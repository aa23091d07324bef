"""Running a sweep: claim the folder, check every trial, then Ray Tune over the searcher until nothing is left."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import ray
import yaml
from filelock import FileLock, Timeout
from ray import tune

from cluster.cache import start_cache
from cluster.connect import connect
from cluster.execute import Role, Site, execute
from cluster.resources import DRIVER_CPU, Resources, trials_at_once
from privimage import guarantee, reconcile
from privimage.budget import BestOf
from privimage.data.sets import PublicSet, SensitiveData, check_apart
from privimage.disk import write_whole
from privimage.errors import BudgetExceeded, InputError
from privimage.ledger import Ledger
from privimage.paths import Root, RunFolder
from privimage.schema import digest
from privimage.store import Store
from privimage.trial import Trial, check, load_data
from privimage.tuning.bill import Bill
from sweeps.display import Display
from sweeps.price import bill_of, row_noise
from sweeps.resume import asked_sigma, check_same, ledger_of, reservation_of
from sweeps.searcher import Job, SweepSearcher
from sweeps.selection import Selection
from sweeps.stand_in import final_trials, stand_in_sweep
from sweeps.sweep import Sweep
from sweeps.tuning import Explore, Public, Select


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a sweep ended: its folder, and one line for every trial that failed."""

    folder: RunFolder
    failures: tuple[str, ...]


def run_sweep(sweep: Sweep, *, root: Root, address: str | None, quiet: bool = False) -> Outcome:
    """Run the sweep, or what is left of it. Raises InputError before anything is charged if it cannot be run."""
    folder = root.run(sweep.name)
    lock = FileLock(str(folder.path / "sweep.lock"))
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder.path}: another process is running this sweep; wait for it or stop it") from None
    except OSError as error:
        raise InputError(f"{folder.path}: cannot be written ({error.strerror or error}); give another --root") from None
    try:
        check_same(sweep, folder)
        asked = asked_sigma(sweep, folder)
        bill = bill_of(sweep, asked_sigma=asked)
        public, sensitive = load_data(sweep.data, rendered=root.rendered)
        work = Work(sweep=sweep, folder=folder, asked=asked, bill=bill, public=public, sensitive=sensitive, quiet=quiet)
        _check_all(work)
        Store(root.store).tidy()
        reconcile.check(root, sweep.data.sensitive.id)
        search = _stand_in(work) if isinstance(sweep.tuning, Public) else None
        connect(address)
        trials_at_once(sweep.resources, ray.cluster_resources())  # or refused, before anything is reserved
        if not work.ledger.settled(id=work.reservation, events=bill.costs):
            work.ledger.reserve(id=work.reservation, what=f"sweep {sweep.name}", events=bill.costs)
        _write(work)
        outcome = _run(work, search)
        if not outcome.failures:
            work.ledger.close(work.reservation)
        return outcome
    finally:
        lock.release()


def _run(work: Work, search: Work | None) -> Outcome:
    match work.sweep.tuning:
        case Explore():
            return _tune(work, work.rows)
        case Select():
            return _select(work)
        case Public():
            assert search is not None
            return _search_then_run(work, search)


@dataclass(frozen=True, kw_only=True)
class Work:
    """A sweep that can be run: its folder, its bill, the sigma_s at which it asks, and its data."""

    sweep: Sweep
    folder: RunFolder
    asked: float
    bill: Bill
    public: PublicSet
    sensitive: SensitiveData
    quiet: bool

    @property
    def reservation(self) -> str:
        """The name under which the whole bill is reserved in the ledger, where that has a cap."""
        return reservation_of(self.sweep)

    @property
    def ledger(self) -> Ledger:
        """The ledger of the sensitive set."""
        return ledger_of(self.sweep, self.folder.root)

    @cached_property
    def rows(self) -> tuple[Trial, ...]:
        """The comparison rows."""
        return tuple(
            self.sweep.row_trial(row, seed, budget, asked_sigma=self.asked, noise=row_noise(self.bill, budget))
            for row, seed, budget in self.sweep.rows()
        )


def _select(work: Work) -> Outcome:
    """All trials of every selection beside the comparison rows; then the winners, if nothing failed."""
    ledger, store = work.ledger, Store(work.folder.root.store)
    selections = [Selection(work.sweep, study, work.bill, asked_sigma=work.asked) for study in work.bill.studies]
    drawn = [selection.begin(ledger=ledger, store=store) for selection in selections]
    outcome = _tune(
        work,
        work.rows,
        drawn=tuple(trial for trials in drawn for trial in trials),
        selections={selection.id: selection.cost for selection in selections},
    )
    if not outcome.failures:
        for selection, trials in zip(selections, drawn, strict=True):
            selection.finish(trials, folder=work.folder)
    return outcome


def _stand_in(work: Work) -> Work:
    """The same work on the public stand-in, checked like the sensitive one."""
    sweep = stand_in_sweep(work.sweep, labels=len(work.sensitive.train.classes))
    folder, asked = work.folder.stand_in, sweep.smallest_sigma()
    public, sensitive = load_data(sweep.data, rendered=work.folder.root.rendered)
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
    reconcile.adopt(work.folder.root, id, reconcile.missing(work.folder.root, id))  # public data: nothing was paid
    try:
        _check_all(search)
    except InputError as error:
        raise InputError(f"tuning.stand_in: {error}") from None
    return search


def _search_then_run(work: Work, search: Work) -> Outcome:
    """The search on the stand-in, then its best settings on the sensitive set, beside the comparison rows."""
    search.folder.path.mkdir(parents=True, exist_ok=True)
    _write(search)
    outcome = _tune(search, ())
    if outcome.failures:
        return Outcome(folder=work.folder, failures=outcome.failures)
    finals = tuple(final_trials(work.sweep, search.folder, work.bill, asked_sigma=work.asked))
    return _tune(work, work.rows, finals=finals)


def _write(work: Work) -> None:
    """Write the resolved sweep, at which sigma_s it asks, and its bill, beside what it makes."""
    folder, sweep = work.folder, work.sweep.model_dump(mode="json")
    write_whole(folder.asked_sigma, repr(work.asked))
    write_whole(folder.bill, work.bill.model_dump_json(indent=1) + "\n")
    if not work.sweep.data.stand_in:  # what was asked of public data states no price
        write_whole(folder.guarantee, guarantee.as_json(work.bill))
    write_whole(folder.sweep, yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True))


def _check_all(work: Work) -> None:
    sweep, train = work.sweep, work.sensitive.train
    sizes = {"n_train": len(train), "n_labels": len(train.classes), "n_public": len(work.public.classes)}
    for dotted, trial in sweep.corner_trials():
        try:
            check(trial, **sizes)
        except InputError as error:
            raise type(error)(f"search.{dotted}: {error}" if dotted in sweep.search else str(error)) from None
    for trial in work.rows:
        check(trial, **sizes)


def _tune(
    work: Work,
    rows: tuple[Trial, ...],
    *,
    drawn: tuple[Trial, ...] = (),
    finals: tuple[Trial, ...] = (),
    selections: Mapping[str, BestOf] | None = None,
) -> Outcome:
    """Run what has no record yet: comparison rows, trials that were fixed beforehand, and else the search."""
    sweep, folder = work.sweep, work.folder
    at_once = trials_at_once(sweep.resources, ray.cluster_resources())
    actor = start_cache(f"cache-{digest(str(folder.root.path.resolve()))[:12]}")
    site = Site(
        folder=RunFolder(path=folder.path.resolve()),
        resources=sweep.resources,
        actor=actor,
        public=work.public,
        sensitive=work.sensitive,
        selections=selections or {},
        reservation=work.reservation,
    )
    fixed = [(trial, "compare") for trial in rows] + [(trial, "search") for trial in (*drawn, *finals)]
    todo = tuple((trial, role) for trial, role in fixed if not site.has(trial))
    searching = not drawn and not finals
    searcher = SweepSearcher(sweep, journal=folder.study, n_fixed=len(todo), searching=searching)
    if searcher.jobs_left == 0:
        return Outcome(folder=folder, failures=())
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
    }  # Display shows instead
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_job, work=work, fixed=todo, site=site), _driver(sweep.resources)),
        tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=searcher.jobs_left, max_concurrent_trials=at_once, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.ray.resolve()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
    total = None if drawn else len(fixed) + searching * len(sweep.budgets) * sweep.trials * len(sweep.seeds)
    with Display(sweep=sweep, folder=folder, actor=actor, total=total, quiet=work.quiet):
        results = tuner.fit()
    for error in results.errors:  # Ray's are of the class of what was raised on the worker, and keep it as the cause
        if isinstance(error, BudgetExceeded):
            raise BudgetExceeded(str(getattr(error, "cause", error)))
    failures = tuple(str(error).strip().splitlines()[-1] for error in results.errors)
    return Outcome(folder=folder, failures=failures)


def _driver(resources: Resources) -> dict[str, float]:
    """What the Tune process of a trial holds: everything, or next to nothing if Ray Train workers do the work."""
    if resources.workers > 1:
        return {"cpu": DRIVER_CPU}
    return {"cpu": resources.cpu} | ({"gpu": resources.gpu} if resources.gpu else {})


def _job(job: Job, *, work: Work, fixed: tuple[tuple[Trial, Role], ...], site: Site) -> None:
    """One job of the searcher: a trial fixed beforehand, or one configuration with every seed; reports objectives."""
    sweep = work.sweep
    if "fixed" in job:
        trial, role = fixed[job["fixed"]]
        results = [execute(trial, site=site, role=role)]
    else:
        budget = sweep.budgets[job["budget"]]
        noise = work.bill.study(budget).noise
        results = [
            execute(
                sweep.trial(budget=budget, seed=seed, asked_sigma=work.asked, noise=noise, overrides=job["params"]),
                site=site,
                role="search",
            )
            for seed in sweep.seeds
        ]
    values = {name: [record.value(name) for record in results] for name in sweep.objectives}
    tune.report({name: sum(v for v in found if v is not None) / len(found) for name, found in values.items()})
