"""Sweep: the YAML file as one frozen value, and every trial it can contain."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from cluster.resources import Resources
from privimage import metrics
from privimage.budget import Budget
from privimage.errors import InputError
from privimage.methods.privimage import PRESETS, MethodConfig
from privimage.paths import RESERVED
from privimage.schema import Frozen, parse, read_yaml, set_dotted
from privimage.trial import DataConfig, Trial
from sweeps.space import Dimension

QUERY_SIGMA = "method.query.sigma"


class Tuning(Frozen):
    """How the search is run. `explore`: any sampler; every trial states its own epsilon, the sweep the sum of all."""

    mode: Literal["explore"] = "explore"
    sampler: Literal["tpe", "random"] = "tpe"
    seed: int = 0  # of the sampler only; private noise never has a seed


class Row(Frozen):
    """A comparison row: a preset of the method, with some dotted fields replaced (its own best settings)."""

    method: str
    set: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        if method not in PRESETS:
            raise ValueError(f"allowed: {', '.join(PRESETS)}")
        return method

    @property
    def overrides(self) -> dict[str, Any]:
        """Dotted fields of the trial to replace."""
        return {"method.name": self.method, **self.set}


class Sweep(Frozen):
    """One sweep: data, budgets, the method's fixed part, what is searched, what is measured, on which resources."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    data: DataConfig
    budgets: tuple[Budget, ...] = Field(min_length=1)
    tuning: Tuning = Tuning()
    method: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Dimension] = Field(default_factory=dict)
    compare: tuple[Row, ...] = ()  # rows run beside the search, with the fixed part of the method
    objectives: dict[str, Literal["min", "max"]] = Field(min_length=1, max_length=3)
    metrics: tuple[str, ...] = ()  # measured beside the objectives
    trials: int = Field(default=10, ge=0)  # of the search, for every budget
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    resources: Resources = Resources()

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in RESERVED:
            raise ValueError(f"{name} is reserved; use another name")
        return name

    @field_validator("objectives")
    @classmethod
    def _directions(cls, objectives: dict[str, str]) -> dict[str, str]:
        for name, direction in objectives.items():
            if metrics.direction_of(name) != direction:
                raise ValueError(f"{name} is better when it is {metrics.direction_of(name)}imal; got {direction}")
        return objectives

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of all metrics: the objectives first."""
        return tuple(dict.fromkeys((*self.objectives, *self.metrics)))

    def smallest_sigma(self) -> float:
        """The smallest query noise multiplier of the space: the query is asked once, there."""
        base = parse(MethodConfig, self.method, where="method")
        values: list[Any] = []
        if base.preset.queries and self.trials > 0:
            values += self.search[QUERY_SIGMA].corners() if QUERY_SIGMA in self.search else [base.query.sigma]
        values += [row.set.get(QUERY_SIGMA, base.query.sigma) for row in self.compare if PRESETS[row.method].queries]
        numbers = [float(value) for value in values if isinstance(value, int | float)]  # others: see corner_trials
        return min(numbers, default=base.query.sigma)

    def trial(
        self, *, budget: Budget, seed: int, asked_sigma: float, overrides: Mapping[str, Any] | None = None
    ) -> Trial:
        """The resolved trial with some dotted fields replaced. Raises InputError naming the field."""
        values: dict[str, Any] = {
            "data": self.data,
            "budget": budget,
            "method": self.method,
            "metrics": self.measured,
            "seed": seed,
            "asked_sigma": asked_sigma,
        }
        for dotted, value in (overrides or {}).items():
            values = set_dotted(values, dotted, value)
        return parse(Trial, values)

    def example(self, *, budget: Budget, overrides: Mapping[str, Any] | None = None) -> Trial:
        """A trial to look at, not to run: nothing is asked at its asked_sigma."""
        return self.trial(budget=budget, seed=self.seeds[0], asked_sigma=1e-9, overrides=overrides)

    def fixed_trials(self, *, asked_sigma: float) -> Iterator[Trial]:
        """The comparison rows: for every budget, or once where DP-SGD plays no part; for every seed."""
        for row, seed in itertools.product(self.compare, self.seeds):
            budgets = self.budgets if PRESETS[row.method].finetune == "private" else self.budgets[-1:]
            for budget in budgets:
                yield self.trial(budget=budget, seed=seed, asked_sigma=asked_sigma, overrides=row.overrides)

    def corner_trials(self) -> Iterator[tuple[str, Trial]]:
        """Trials that try every end and choice of every searched field, to find what is impossible before it runs."""
        for budget in self.budgets:
            yield "method", self.example(budget=budget)
        for dotted, dimension in self.search.items():
            if not dotted.startswith("method."):
                raise InputError(f"search.{dotted}: only fields of method can be searched, e.g. method.select.ratio")
            for value, budget in itertools.product(dimension.corners(), self.budgets):
                try:
                    yield dotted, self.example(budget=budget, overrides={dotted: value})
                except InputError as error:
                    raise InputError(f"search.{dotted}: {error}") from None


def load_sweep(path: Path, *, overrides: Mapping[str, Any] | None = None) -> Sweep:
    """The sweep in a YAML file, with dotted fields replaced. Raises InputError in one line."""
    values = read_yaml(path)
    for dotted, value in (overrides or {}).items():
        values = set_dotted(values, dotted, value)
    sweep = parse(Sweep, values)
    for _ in sweep.corner_trials():  # parses every corner; what needs data is checked once that is loaded
        pass
    for _ in sweep.fixed_trials(asked_sigma=sweep.smallest_sigma()):
        pass
    return sweep
