"""Run: a trial is made and measured, which gives its record; or what all trials share is asked for it alone."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from privimage import measure
from privimage.data.sets import PublicSet, SensitiveData
from privimage.errors import InputError
from privimage.finite import Diverged
from privimage.methods.context import Context
from privimage.methods.method import NEVER_SEARCHED, MethodConfig
from privimage.metrics import Metric
from privimage.privacy import accounting
from privimage.record import Record, Role, finite
from privimage.stages import Stages
from privimage.station import Station
from privimage.trial import Trial

VERSIONS = ("privimage", "torch", "opacus", "dp-accounting", "numpy")


def run(
    trial: Trial,
    *,
    public: PublicSet,
    sensitive: SensitiveData,
    stages: Stages,
    sweep: str,
    role: Role = "search",
    weights: Path | None = None,
    station: Station | None = None,
) -> Record:
    """The record of the trial: its stages computed or found, its images made and measured (`weights`: see Features).

    Raises InputError if a search would learn from training without privacy, which no price covers; Elsewhere where
    `station` says so.
    """
    if role == "search" and not trial.method.member.private:
        raise InputError(f"method.name: got {trial.method.name}, {NEVER_SEARCHED}")
    started, clock = stages.behind.started or datetime.now(UTC), time.perf_counter() - stages.behind.seconds
    with _naming_the_fix(trial.method):
        images = trial.method.member.images(context_of(trial, public=public, sensitive=sensitive, stages=stages))
    if station is not None:
        station.measure()
    values = measure.measured(
        images,
        names=trial.metrics,
        score=trial.events[-1] if trial.scores else None,
        data=trial.data,
        secret=trial.draw is not None,
        sensitive=sensitive,
        stages=stages,
        weights=weights,
    )
    begun, seconds = started.isoformat(timespec="seconds"), time.perf_counter() - clock
    return _record(trial, values, stages=stages, sweep=sweep, role=role, started=begun, seconds=seconds)


def _record(
    trial: Trial,
    values: tuple[Metric, ...],
    *,
    stages: Stages,
    sweep: str,
    role: Role,
    started: str,
    seconds: float,
) -> Record:
    """The fact of the trial, whose metrics are `values`."""
    return Record(
        id=trial.id,
        sweep=sweep,
        role=role,
        method=trial.method.name,
        config=trial.model_dump(mode="json"),
        budget=trial.budget,
        seed=trial.seed,
        events=trial.events,
        paid=tuple(stages.paid.values()),
        epsilon_alone=finite(accounting.epsilon(trial.events, trial.budget.delta)),
        epsilon_rdp_alone=finite(accounting.epsilon_rdp(trial.events, trial.budget.delta)),
        stated_in=None if trial.data.stand_in else "guarantee.json",
        metrics=values,
        stages=tuple(stages.records),
        artefacts=stages.artefacts,
        started=started,
        seconds=seconds,
        versions=_versions(),
    )


def ask(trial: Trial, config: MethodConfig, *, public: PublicSet, sensitive: SensitiveData, stages: Stages) -> None:
    """Ask what all trials share of this configuration, at the noise that it says, unless it was asked before."""
    own = trial.model_copy(update={"method": config, "draw": None, "asked_sigma": {}})
    with _naming_the_fix(config):
        config.member.ask(context_of(own, public=public, sensitive=sensitive, stages=stages))


@contextmanager
def _naming_the_fix(config: MethodConfig) -> Iterator[None]:
    """Adds to the failure of a stage what its method says to do."""
    try:
        yield
    except Diverged as error:
        raise Diverged(f"{error}; {config.member.declaration.fix(error.kind)}", error.kind) from None


def context_of(trial: Trial, *, public: PublicSet, sensitive: SensitiveData, stages: Stages) -> Context:
    """What the method of a trial makes its images with."""
    return Context(
        config=trial.method,
        events=trial.asked,
        draw=None if trial.draw is None else trial.draw.model_dump(),
        seed=trial.seed,
        asked_sigma=trial.asked_sigma,
        public=public,
        sensitive=sensitive,
        identity=trial.identity,
        stages=stages,
    )


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}}
