"""Trial: the intention of one run, frozen; and `run`, which turns it into a Record."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from privimage import accounting, metrics
from privimage.budget import Budget
from privimage.data import PublicConfig, SensitiveConfig, load_public, load_sensitive
from privimage.data.sets import PublicSet, SensitiveData
from privimage.errors import InputError
from privimage.methods import privimage as method
from privimage.methods.privimage import MethodConfig
from privimage.record import Record, finite
from privimage.schema import Frozen, digest
from privimage.stages import Stages
from privimage.store import Built

T = TypeVar("T")
VERSIONS = ("privimage", "torch", "opacus", "dp-accounting", "numpy")


class DataConfig(Frozen):
    """The sensitive set (its `id` names its ledger) and the public set."""

    sensitive: SensitiveConfig
    public: PublicConfig


class Trial(Frozen):
    """Everything that determines one trial. Two trials with the same content are the same trial."""

    data: DataConfig
    budget: Budget
    method: MethodConfig
    metrics: tuple[str, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    asked_sigma: float = Field(gt=0)  # the noise multiplier at which the sweep asks its one query

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            metrics.direction_of(name)
        return names

    @model_validator(mode="after")
    def _derivable(self) -> Trial:
        if self.method.preset.queries and self.asked_sigma > self.method.query.sigma:
            raise ValueError(
                f"asked_sigma {self.asked_sigma:g} is above method.query.sigma {self.method.query.sigma:g}"
            )
        return self

    @property
    def id(self) -> str:
        """16 hex digits that name this trial."""
        return digest(self)[:16]

    @property
    def identity(self) -> dict[str, Any]:
        """The public description of the data: names and splits, never anything computed from sensitive content."""
        data = self.data.model_dump(mode="json")
        for part in data.values():
            part.pop("download")
        return data


def load_data(config: DataConfig, *, rendered: Path) -> tuple[PublicSet, SensitiveData]:
    """Both sets. Raises InputError if they cannot be read, or do not have the same image shape."""
    sensitive = _named("data.sensitive", lambda: load_sensitive(config.sensitive))
    public = _named("data.public", lambda: load_public(config.public, cache=rendered))
    if public.shape != sensitive.train.shape:
        raise InputError(
            f"data: public images are {public.shape} but sensitive ones {sensitive.train.shape} (channels, height, "
            "width); set size and channels so that they agree"
        )
    return public, sensitive


def _named(key: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def check(trial: Trial, *, n_train: int, n_labels: int, n_public: int) -> None:
    """Raise InputError for what can be known to be impossible before anything is charged."""
    finetune, preset = trial.method.finetune, trial.method.preset
    if preset.finetune != "none" and finetune.q * n_train < 1:
        raise InputError(
            f"method.finetune.q: got {finetune.q:g}; with {n_train} training images the expected batch is below 1; "
            f"use at least {1 / n_train:.2g}"
        )
    if preset.pretrain_on in ("selected", "random"):
        trial.method.select.k2(n_public=n_public, n_labels=n_labels)
    if preset.queries and trial.method.query.k1 > n_public:
        raise InputError(f"method.query.k1: got {trial.method.query.k1}; there are only {n_public} public classes")
    if trial.method.samples < 2 * n_labels:
        raise InputError(f"method.samples: got {trial.method.samples}; at least {2 * n_labels} for {n_labels} labels")
    method.events(trial.method, trial.budget)


def run(
    trial: Trial,
    *,
    public: PublicSet,
    sensitive: SensitiveData,
    stages: Stages,
    sweep: str,
    role: Literal["search", "compare"] = "search",
) -> Record:
    """The record of the trial: its stages computed or found, its images made and measured."""
    started, clock = datetime.now(UTC), time.perf_counter()
    images = method.Run(
        config=trial.method,
        budget=trial.budget,
        seed=trial.seed,
        asked_sigma=trial.asked_sigma,
        public=public,
        sensitive=sensitive,
        identity=trial.identity,
        stages=stages,
    ).images()
    values = _measure(trial, images, sensitive, stages)
    return Record(
        id=trial.id,
        sweep=sweep,
        role=role,
        method=trial.method.name,
        config=trial.model_dump(mode="json"),
        budget=trial.budget,
        seed=trial.seed,
        events=images.events,
        paid=tuple(stages.paid.values()),
        epsilon=finite(accounting.epsilon(images.events, trial.budget.delta)),
        epsilon_rdp=finite(accounting.epsilon_rdp(images.events, trial.budget.delta)),
        metrics=values,
        stages=tuple(stages.records),
        artefacts=stages.artefacts,
        started=started.isoformat(timespec="seconds"),
        seconds=time.perf_counter() - clock,
        versions=_versions(),
    )


def _measure(
    trial: Trial, images: method.Images, sensitive: SensitiveData, stages: Stages
) -> tuple[metrics.Metric, ...]:
    if not stages.workers.first:
        return ()

    def reference(network: str) -> Any:
        def build(progress: Any) -> Built:
            arrays = metrics.reference_statistics(sensitive.test, network, device=stages.workers.device)
            return Built(arrays=arrays, privacy="internal")

        inputs = {"sensitive": trial.identity["sensitive"], "network": network, "split": "test"}
        return stages.alone("reference", inputs, build).arrays

    measured = metrics.evaluate(
        trial.metrics,
        synthetic_x=images.x,
        synthetic_y=images.y,
        train=sensitive.train,
        test=sensitive.test,
        reference=reference,
        device=stages.workers.device,
    )
    return tuple(m.model_copy(update={"touches": (images.source, *m.touches[1:])}) for m in measured)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}}
