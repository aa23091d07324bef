"""The search space: dotted fields of the method, each with a distribution, as Optuna understands it."""

from __future__ import annotations

import math
from typing import Annotated, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Discriminator, Field, Tag, model_validator

from privimage.schema import Frozen

Scalar = bool | int | float | str
LISTED = 32  # so many whole numbers are still a list


class Choice(Frozen):
    """One of the listed values."""

    choice: tuple[Scalar, ...] = Field(min_length=1)

    def distribution(self) -> BaseDistribution:
        """As Optuna's distribution."""
        return CategoricalDistribution(self.choice)

    def corners(self) -> tuple[Scalar, ...]:
        """Values to check before the sweep starts: all of them."""
        return self.choice

    def contains(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return value in self.choice

    def listed(self) -> tuple[Scalar, ...] | None:
        """All values."""
        return self.choice

    def size(self) -> float:
        """How many different values there are."""
        return len(set(self.choice))


class _Range(Frozen):
    def bounds(self) -> tuple[float, float]:
        """(low, high)."""
        raise NotImplementedError

    def corners(self) -> tuple[Scalar, ...]:
        """Values to check before the sweep starts: both ends."""
        return self.bounds()

    def contains(self, value: Any) -> bool:
        """Whether the value lies between the ends."""
        low, high = self.bounds()
        return isinstance(value, int | float) and low <= value <= high

    def listed(self) -> tuple[Scalar, ...] | None:
        """All values, or None where there are too many to list."""
        return None

    def size(self) -> float:
        """How many different values there are."""
        return math.inf

    @model_validator(mode="after")
    def _ordered(self) -> _Range:
        low, high = self.bounds()
        if not low < high:
            raise ValueError(f"the low end {low:g} must be below the high end {high:g}")
        return self


class Uniform(_Range):
    """Real numbers between two ends."""

    uniform: tuple[float, float]

    def bounds(self) -> tuple[float, float]:
        """(low, high)."""
        return self.uniform

    def distribution(self) -> BaseDistribution:
        """As Optuna's distribution."""
        return FloatDistribution(*self.uniform)


class LogUniform(_Range):
    """Positive real numbers between two ends, even on a logarithmic scale."""

    log_uniform: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]

    def bounds(self) -> tuple[float, float]:
        """(low, high)."""
        return self.log_uniform

    def distribution(self) -> BaseDistribution:
        """As Optuna's distribution."""
        return FloatDistribution(*self.log_uniform, log=True)


class Integers(_Range):
    """Whole numbers between two ends, both included."""

    integers: tuple[int, int]

    def listed(self) -> tuple[Scalar, ...] | None:
        """All values, or None where there are too many to list."""
        low, high = self.integers
        return tuple(range(low, high + 1)) if high - low < LISTED else None

    def size(self) -> float:
        """How many different values there are."""
        low, high = self.integers
        return high - low + 1

    def bounds(self) -> tuple[int, int]:
        """(low, high)."""
        return self.integers

    def distribution(self) -> BaseDistribution:
        """As Optuna's distribution."""
        return IntDistribution(*self.integers)


KINDS = ("choice", "uniform", "log_uniform", "integers")


def _kind(value: Any) -> str | None:
    keys = value.keys() if isinstance(value, dict) else getattr(type(value), "model_fields", {}).keys()
    return next((kind for kind in KINDS if kind in keys), None)


Dimension = Annotated[
    Annotated[Choice, Tag("choice")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[LogUniform, Tag("log_uniform")]
    | Annotated[Integers, Tag("integers")],
    Discriminator(
        _kind,
        custom_error_type="dimension",
        custom_error_message="expected {choice: [..]}, {uniform: [a, b]}, {log_uniform: [a, b]} or {integers: [a, b]}",
    ),
]
