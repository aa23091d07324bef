"""Tracking: the records of a phase, handed to Ray's own callbacks as trials that have ended.

A tracker is told by records alone, so it learns nothing that the run may not show; of a private selection it has
comparison rows and winners, and these come at the start of a command only. What a tracker took is written down in the
run's folder, so that no start hands it over twice.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.logger import LoggerCallback

from privimage import lines
from privimage.errors import InputError
from privimage.paths import RunFolder
from privimage.record import Record
from privimage.schema import digest
from privimage.sweeps.searcher import Job
from privimage.sweeps.sweep import Sweep

WANDB = {"x_disable_meta": True, "x_disable_stats": True, "x_save_requirements": False}  # nothing of the machine
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # else minutes a call


@dataclass(frozen=True, eq=False)
class TrackedTrial:
    """A record as Ray's callbacks read a trial of Tune."""

    trial_id: str
    config: dict[str, Any]
    local_path: str
    experiment_dir_name: str
    named: str

    @property
    def evaluated_params(self) -> dict[str, Any]:
        """The same as its config."""
        return self.config

    def init_local_path(self) -> None:
        """Make its folder."""
        Path(self.local_path).mkdir(parents=True, exist_ok=True)

    def __str__(self) -> str:
        return self.named


@dataclass
class Tracker:
    """One tracker of a run: how Ray's callback for it is made, and what it took already."""

    name: str
    address: str
    sweep: Sweep
    folder: RunFolder
    make: Callable[[], LoggerCallback]
    stated: str = ""
    _open: LoggerCallback | None = None
    _lost: bool = field(default=False)

    def check(self) -> None:
        """Raise InputError in one line if it cannot be used: no server, no account."""
        try:
            self.make().setup()
        except Exception as error:  # whatever the library raises
            raise InputError(
                f"trackers.{self.name}: cannot be used: {_said(error)}; nothing was charged; mend that, or leave it out"
            ) from None

    def catch_up(self, found: Sequence[Record]) -> None:
        """At a start: hand over every record that it has not taken."""
        self.ended(found)
        self.close()

    def begun(self, job: Job) -> None:
        """Nothing: a trial is handed over when it has its record."""

    def failed(self, job: Job) -> None:
        """Nothing, as above."""

    def ended(self, found: Sequence[Record]) -> None:
        """Hand over these records, those that it took before left out."""
        with self._trying():
            taken = self._taken() if found else set()
            for record in found:
                if record.id not in taken and not self._lost:
                    self._hand_over(record)

    def close(self) -> None:
        """Wait until it has everything."""
        with self._trying():
            if self._open is not None:
                self._open.on_experiment_end([])
        self._open = None

    @property
    def _kept(self) -> Path:
        return self.folder.trackers / f"{self.name}-{digest(self.address)[:8]}.jsonl"

    def _taken(self) -> set[str]:
        raw = self._kept.read_bytes().splitlines() if self._kept.exists() else []
        return {json.loads(text)["trial"] for line in raw if (text := lines.parse(line)) is not None}

    def _hand_over(self, record: Record) -> None:
        if self._open is None:
            self._open = self.make()
            self._open.setup()
        trial, result = self._trial(record), _result(record)
        trial.init_local_path()
        self._open.log_trial_start(trial)
        self._open.log_trial_result(1, trial, result)
        self._open.log_trial_end(trial)
        lines.append(self._kept, json.dumps({"trial": record.id}))

    def _trial(self, record: Record) -> TrackedTrial:
        """What the record is: its row, its settings, and what has to be known beside its numbers."""
        searched = {dotted: record.setting(dotted) for dotted in self.sweep.space}
        unpaid = [shown(metric.name) for metric in record.metrics if metric.non_private]
        settings = {name: value for name, value in searched.items() if isinstance(value, str | int | float | bool)}
        config = {
            "trial": record.id, "role": record.role, "method": record.method, "seed": record.seed,
            "epsilon": record.budget.epsilon, "delta": record.budget.delta,
            "no_epsilon_covers": "everything" if not record.private else " ".join(unpaid), "to_state": self.stated,
            **settings,
        }  # fmt: skip
        named = f"{record.method} at epsilon {record.budget.epsilon:g} {record.id[:8]}"
        path = self.folder.trackers / self.name / f"{record.method}-{record.budget.epsilon:g}-{record.id[:8]}"
        return TrackedTrial(record.id, config, str(path.resolve()), self.sweep.name, named)

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """A failure while this lasts is said once; the sweep goes on, and the next start hands over what is missing."""
        try:
            yield
        except Exception as error:  # whatever the library raises: a tracker never ends a sweep
            if not self._lost:
                said = f"no longer told, the next start makes up for it: {_said(error)}"
                print(f"privimage: trackers.{self.name}: {said}", file=sys.stderr)
            self._lost = True


def trackers_of(sweep: Sweep, folder: RunFolder, *, stated: str) -> list[Tracker]:
    """The trackers that the sweep names, none of them checked yet; `stated` is what has to be stated of the run."""
    named = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    return [
        Tracker(
            name=name, address=str(getattr(sweep.trackers, name)), sweep=sweep, folder=folder,
            make=named[name](sweep), stated=stated,
        )
        for name in sweep.trackers.names
    ]  # fmt: skip


def check_trackers(sweep: Sweep, folder: RunFolder) -> None:
    """Raise InputError in one line if a tracker cannot be used."""
    sweep.trackers.check_installed()
    for tracker in trackers_of(sweep, folder, stated=""):
        tracker.check()


def _tensorboard(sweep: Sweep) -> Callable[[], LoggerCallback]:
    from ray.tune.logger import TBXLoggerCallback

    return lambda: TBXLoggerCallback()


def _mlflow(sweep: Sweep) -> Callable[[], LoggerCallback]:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return lambda: MLflowLoggerCallback(tracking_uri=sweep.trackers.mlflow, experiment_name=sweep.name)


def _wandb(sweep: Sweep) -> Callable[[], LoggerCallback]:
    from ray.air.integrations.wandb import WandbLoggerCallback, _WandbLoggingActor

    class Lasting(_WandbLoggingActor):  # type: ignore[misc]
        """Ends when all of it is written: Ray kills it then, and what W&B's own process still holds would be lost."""

        def run(self) -> None:
            super().run()
            self._wandb.teardown()

    class Wandb(WandbLoggerCallback):  # type: ignore[misc]
        _logger_actor_cls = Lasting

    mode = os.environ.get("WANDB_MODE")  # a cluster's processes do not have this one's environment
    here = {} if mode is None else {"mode": mode}
    return lambda: Wandb(project=sweep.trackers.wandb, group=sweep.name, settings=dict(WANDB), **here)


def _result(record: Record) -> dict[str, Any]:
    """The numbers of a record; times only where the mode shows them."""
    alone = {} if record.epsilon_alone is None else {"epsilon_alone": record.epsilon_alone}
    timed = {"seconds": record.seconds} if record.started else {}
    values = {shown(metric.name): metric.value for metric in record.metrics}
    return {**values, **alone, **timed, "training_iteration": 1}


def shown(metric: str) -> str:
    """The name of a metric where brackets are no part of names.

    >>> shown("fid[efficientnet-lite0]")
    'fid/efficientnet-lite0'
    """
    return metric.replace("[", "/").replace("]", "")


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
