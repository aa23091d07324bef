"""The search space: dotted fields of the method, each with the values that it may take."""

from __future__ import annotations

import math
from collections import Counter
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from privimage.field_types import FieldType
from privimage.schema import Frozen, in_yaml, message_of

Scalar = bool | int | float | str | None
LISTED = 32  # so many whole numbers are still a list
MOST_CHOICES = 100
LARGEST = 2**53  # of a range: up to here every whole number is a float


class Choice(Frozen):
    """One of the listed values."""

    choice: tuple[Scalar, ...] = Field(min_length=1, max_length=MOST_CHOICES)

    def typed(self, field: FieldType) -> Self:
        """With every value as the field's type. Raises ValueError if one is none, or stands twice."""
        values = tuple(_as(field, value) for value in self.choice)
        value, times = Counter(values).most_common(1)[0]
        if times > 1:
            raise ValueError(f"got {in_yaml(value)} twice; every value may stand once")
        return self.model_copy(update={"choice": values})

    def corners(self) -> tuple[Any, ...]:
        """Values to check before the sweep starts: all of them."""
        return self.choice

    def contains(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return value in self.choice

    def listed(self) -> tuple[Any, ...] | None:
        """All values."""
        return self.choice

    def size(self) -> float:
        """How many different values there are."""
        return len(set(self.choice))


def _as(field: FieldType, value: Scalar) -> Any:
    """A value as the field's type. Raises ValueError in one line."""
    try:
        return field(value)
    except ValidationError as error:
        raise ValueError(f"got {in_yaml(value)}; {message_of(error)}") from None
    except ValueError as error:
        raise ValueError(f"got {in_yaml(value)}; {error}") from None


class _Range(Frozen):
    def bounds(self) -> tuple[float, float]:
        """(low, high)."""
        raise NotImplementedError

    def typed(self, field: FieldType) -> Self:
        """The same. Raises ValueError if the field takes no such numbers, or an end lies outside of what it takes."""
        if not (field.real or field.whole):
            raise ValueError("takes no numbers; list its values: {choice: [..]}")
        if field.whole and not isinstance(self, Integers):
            raise ValueError("takes whole numbers only; use {integers: [a, b]}, or list its values: {choice: [..]}")
        for end in self.bounds():
            _as(field, end)
        return self

    def corners(self) -> tuple[Any, ...]:
        """Values to check before the sweep starts: both ends."""
        return self.bounds()

    def contains(self, value: Any) -> bool:
        """Whether the value lies between the ends."""
        low, high = self.bounds()
        return isinstance(value, int | float) and low <= value <= high

    def listed(self) -> tuple[Any, ...] | None:
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
        if max(-low, high) > LARGEST:
            raise ValueError(f"both ends must lie within {-LARGEST} and {LARGEST}")
        return self


class Uniform(_Range):
    """Real numbers between two ends."""

    uniform: tuple[float, float]

    def bounds(self) -> tuple[float, float]:
        """(low, high)."""
        return self.uniform


class LogUniform(_Range):
    """Positive real numbers between two ends, even on a logarithmic scale."""

    log_uniform: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]

    def bounds(self) -> tuple[float, float]:
        """(low, high)."""
        return self.log_uniform


class Integers(_Range):
    """Whole numbers between two ends, both included."""

    integers: tuple[int, int]

    def contains(self, value: Any) -> bool:
        """Whether the value is a whole number between the ends."""
        return super().contains(value) and value == int(value)

    def listed(self) -> tuple[Any, ...] | None:
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
