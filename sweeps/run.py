"""Running a sweep: claim the folder, check every trial, then Ray Tune over the searcher until nothing is left."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

import ray
import yaml
from filelock import FileLock, Timeout
from ray import tune

from cluster.cache import start_cache
from cluster.execute import Site, execute
from cluster.resources import DRIVER_CPU, Resources, trials_at_once
from privimage import record as records
from privimage.data.sets import PublicSet, SensitiveData
from privimage.errors import InputError
from privimage.histogram import query_family
from privimage.paths import Root, RunFolder
from privimage.schema import digest
from privimage.store import Manifest
from privimage.trial import Trial, check, load_data
from sweeps.display import Display
from sweeps.searcher import Job, SweepSearcher
from sweeps.sweep import Sweep


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a sweep ended: its folder, and one line for every trial that failed."""

    folder: RunFolder
    failures: tuple[str, ...]


def run_sweep(sweep: Sweep, *, root: Root, address: str | None, quiet: bool = False) -> Outcome:
    """Run the sweep, or what is left of it. Raises InputError before anything is charged if it cannot be run."""
    folder = root.run(sweep.name)
    folder.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder.path / "sweep.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder.path}: another process is running this sweep; wait for it or stop it") from None
    try:
        _check_same(sweep, folder)
        public, sensitive = load_data(sweep.data, rendered=root.rendered)
        asked = asked_sigma(sweep, folder)
        fixed = tuple(sweep.fixed_trials(asked_sigma=asked))
        _check_all(sweep, fixed, public, sensitive)
        connect(address)
        _write(sweep, asked, folder)
        return _tune(sweep, fixed, asked, folder, public, sensitive, quiet=quiet)
    finally:
        lock.release()


def _check_same(sweep: Sweep, folder: RunFolder) -> None:
    """Raise InputError if the folder holds another sweep (more trials and rows are welcome)."""
    growing = {"trials", "resources", "compare"}
    resolved = sweep.model_dump(mode="json")
    if folder.sweep.exists():
        before = yaml.safe_load(folder.sweep.read_text())
        changed = [key for key in resolved if key not in growing and digest(resolved[key]) != digest(before.get(key))]
        if changed:
            raise InputError(
                f"{folder.path}: holds a sweep with another '{changed[0]}'; choose another name, or remove the folder"
            )


def _write(sweep: Sweep, asked: float, folder: RunFolder) -> None:
    """Write the resolved sweep, and at which sigma_s it asks, beside what it makes."""
    folder.asked_sigma.write_text(repr(asked))
    draft = folder.sweep.with_suffix(".draft")
    draft.write_text(yaml.safe_dump(sweep.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    os.replace(draft, folder.sweep)


def asked_sigma(sweep: Sweep, folder: RunFolder) -> float:
    """The noise multiplier of the one query: an answer in the store that is precise enough, else the smallest needed.

    Of several usable answers the noisiest is taken: it was the cheapest. A run keeps to what it first took, as long as
    that is precise enough.
    """
    needed = sweep.smallest_sigma()
    if folder.asked_sigma.exists() and float(folder.asked_sigma.read_text()) <= needed:
        return float(folder.asked_sigma.read_text())
    trial = sweep.example(budget=sweep.budgets[0])
    family = query_family(trial.identity, trial.method.query)
    known = []
    for path in (folder.root.store / "artefacts" / "histogram").glob("*/manifest.json"):
        meta = Manifest.model_validate_json(path.read_text()).meta
        if meta.get("family") == family and float(meta["sigma"]) <= needed:
            known.append(float(meta["sigma"]))
    return max(known, default=needed)


def _check_all(sweep: Sweep, fixed: tuple[Trial, ...], public: PublicSet, sensitive: SensitiveData) -> None:
    sizes = {"n_train": len(sensitive.train), "n_labels": len(sensitive.train.classes), "n_public": len(public.classes)}
    for dotted, trial in sweep.corner_trials():
        try:
            check(trial, **sizes)
        except InputError as error:
            raise type(error)(f"search.{dotted}: {error}" if dotted in sweep.search else str(error)) from None
    for trial in fixed:
        check(trial, **sizes)


def connect(address: str | None) -> None:
    """Join the Ray cluster at `address`, or start one on this machine. Raises InputError if it cannot be reached."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "namespace": "privimage"}
    if address is None:
        ray.init(include_dashboard=False, **options)
        return
    _knock(address)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--address: cannot reach a Ray cluster at {address} ({reason})") from None


def _knock(address: str) -> None:
    """Raise InputError if nobody listens at HOST:PORT (Ray itself would try for a quarter of an hour)."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", "local": Ray answers at once
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(f"--address: cannot reach a Ray cluster at {address} ({error.strerror or error})") from None


def _tune(
    sweep: Sweep,
    fixed: tuple[Trial, ...],
    asked: float,
    folder: RunFolder,
    public: PublicSet,
    sensitive: SensitiveData,
    *,
    quiet: bool,
) -> Outcome:
    at_once = trials_at_once(sweep.resources, ray.cluster_resources())
    actor = start_cache(f"cache-{digest(str(folder.root.path.resolve()))[:12]}")
    total = len(fixed) + len(sweep.budgets) * sweep.trials
    done = {record.id for record in records.load(folder.records)} if folder.records.exists() else set()
    fixed = tuple(trial for trial in fixed if trial.id not in done)
    searcher = SweepSearcher(sweep, journal=folder.study, n_fixed=len(fixed))
    if searcher.jobs_left == 0:
        return Outcome(folder=folder, failures=())
    site = Site(
        folder=RunFolder(path=folder.path.resolve()),
        resources=sweep.resources,
        actor=actor,
        public=public,
        sensitive=sensitive,
    )
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
    }  # Display shows instead
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_job, sweep=sweep, fixed=fixed, asked=asked, site=site), _driver(sweep.resources)
        ),
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
    with Display(sweep=sweep, folder=folder, actor=actor, total=total, quiet=quiet):
        results = tuner.fit()
    failures = tuple(str(error).strip().splitlines()[-1] for error in results.errors)
    return Outcome(folder=folder, failures=failures)


def _driver(resources: Resources) -> dict[str, float]:
    """What the Tune process of a trial holds: everything, or next to nothing if Ray Train workers do the work."""
    if resources.workers > 1:
        return {"cpu": DRIVER_CPU}
    return {"cpu": resources.cpu} | ({"gpu": resources.gpu} if resources.gpu else {})


def _job(job: Job, *, sweep: Sweep, fixed: tuple[Trial, ...], asked: float, site: Site) -> None:
    """One job of the searcher: a comparison row, or one configuration with every seed; reports the objectives."""
    if "fixed" in job:
        results = [execute(fixed[job["fixed"]], site=site, role="compare")]
    else:
        budget = sweep.budgets[job["budget"]]
        results = [
            execute(
                sweep.trial(budget=budget, seed=seed, asked_sigma=asked, overrides=job["params"]),
                site=site,
                role="search",
            )
            for seed in sweep.seeds
        ]
    values = {name: [record.value(name) for record in results] for name in sweep.objectives}
    tune.report({name: sum(v for v in found if v is not None) / len(found) for name, found in values.items()})
