"""Trial: the intention of one run, frozen. What runs it is `run_trial`: here is nothing that computes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from privimage import metrics
from privimage.data import HeldOutConfig
from privimage.data.pair import DataConfig
from privimage.errors import InputError, Violation
from privimage.methods.method import MethodConfig, Sizes
from privimage.methods.resolve import resolved
from privimage.privacy.budget import Budget, Event
from privimage.privacy.looks import Look
from privimage.privacy.noise import Noise
from privimage.schema import IDENTITY, Frozen, digest, parse


class Draw(Frozen):
    """Which trial of which private selection: trials of the same configuration still have noise of their own."""

    selection: str
    number: int = Field(ge=0)


class Trial(Frozen):
    """Everything that determines one trial. Two trials with the same content are the same trial."""

    data: DataConfig
    budget: Budget
    noise: Noise = Noise()
    draw: Draw | None = None
    method: Annotated[SerializeAsAny[MethodConfig], BeforeValidator(resolved)]
    metrics: tuple[str, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    asked_sigma: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)  # question -> see `asking`

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            metrics.direction_of(name)
        return names

    @model_validator(mode="after")
    def _derivable(self) -> Trial:
        own = self.questions
        for question, asked in self.asked_sigma.items():
            if question not in own:
                raise ValueError(f"asked_sigma: {question[:12]} is no question of this trial")
            if asked > own[question]:
                raise ValueError(f"asked_sigma {asked:g} is above the {own[question]:g} that the trial needs")
        return self

    @model_validator(mode="after")
    def _drawable(self) -> Trial:
        """The generator fits the images, where the configuration of the data tells their shape."""
        sensitive = self.data.sensitive
        shape = self.data.public.shape if isinstance(sensitive, HeldOutConfig) else sensitive.shape
        if shape is not None:
            self.method.member.check_shape(self.method, shape)
        return self

    @property
    def id(self) -> str:
        """16 hex digits that name this trial."""
        named = self.model_dump(mode="json", exclude={"data"}, context=IDENTITY)
        return digest({**named, "data": self.identity})[:16]

    @property
    def identity(self) -> dict[str, Any]:
        """See DataConfig."""
        return self.data.identity

    @property
    def questions(self) -> dict[str, float]:
        """The questions of this trial that all trials share, each with the noise multiplier that it needs itself."""
        shared = self.method.member.shared(self.method, self.budget, identity=self.identity).values()
        return {event.shared: event.sigma for event in shared if event.shared is not None}

    def settled(self) -> Trial:
        """The trial with what follows from its data in the place of null. Raises InputError where they do not tell."""
        method = self.method.settled(self.data.channels)
        return self if method == self.method else parse(Trial, {**dict(self), "method": method})

    def asking(self, sigmas: Mapping[str, float]) -> Trial:
        """The trial with the noise multipliers at which its sweep asks shared questions; those of others are left out.

        A question that is not named is asked with the noise that the trial needs. Raises InputError if it is asked
        with more.
        """
        mine = {question: sigmas[question] for question in self.questions if question in sigmas}
        return self if mine == self.asked_sigma else parse(Trial, {**dict(self), "asked_sigma": mine})

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the metrics that are charged."""
        return tuple(name for name in self.metrics if metrics.is_private(name))

    @property
    def looks(self) -> tuple[Look, ...]:
        """What the trial reads without noise, so that no epsilon covers it: nothing where its data is public."""
        if self.data.stand_in:
            return ()
        return (
            *self.method.member.looks(self.method),
            *(look for name in self.metrics for look in metrics.looks_of(name)),
        )

    @property
    def events(self) -> tuple[Event, ...]:
        """What the trial releases, by its own noise: what its method asks, and scores."""
        scores = len(self.scores)
        score = (self.noise.dp_score(self.budget, times=scores),) if scores else ()
        return (*self.asked.values(), *(scores * score))

    @property
    def asked(self) -> dict[str, Event]:
        """What its method asks, by stage."""
        return self.method.member.events(self.method, self.budget, self.noise, identity=self.identity)


def check(
    trial: Trial,
    sizes: Sizes,
    *,
    n_test: int = 2,
    weights: Path | None = None,
) -> None:
    """Raise InputError for what can be known to be impossible before anything is charged."""
    n_train, method = sizes.n_train, trial.method.member
    if trial.budget.delta * n_train >= 1 and not trial.data.stand_in:  # it guarantees nothing
        raise InputError(
            f"budgets: delta {trial.budget.delta:g}: with {n_train} training images use at most {0.1 / n_train:.0e}; "
            f"a delta of 1 / {n_train} allows to publish one of them as it is"
        )
    method.check_all(trial.method, sizes)
    metrics.check(trial.metrics, n_test=n_test, weights=weights)
    check_events(trial)


def check_events(trial: Trial) -> None:
    """Raise BudgetExceeded if its budget cannot be met with any noise."""
    if trial.method.member.declaration.asking and not trial.events:  # calibrates
        raise Violation(f"trial {trial.id}: asks the sensitive set, but declares no event")
