"""Metric: one number about synthetic images, with what it touched. Names not listed here are refused."""

from __future__ import annotations

import difflib
from typing import Literal, Self

from pydantic import Field, model_validator

from privimage.errors import InputError
from privimage.privacy.budget import Event
from privimage.schema import Frozen

Touch = Literal["synthetic", "public", "private-train", "private-validation", "private-test"]
Direction = Literal["min", "max"]

DIRECTIONS: dict[str, Direction] = {
    "fid[efficientnet-lite0]": "min",
    "fid[inception]": "min",
    "accuracy[lr]": "max",
    "accuracy[mlp]": "max",
    "accuracy[cnn]": "max",
    "dp-accuracy[lr]": "max",
    "dp-accuracy[mlp]": "max",
    "dp-accuracy[cnn]": "max",
}


class Metric(Frozen):
    """One score of `n` synthetic images. Not private when it touches private data without noise: show that beside it.

    `event` is the access that a noisy score was paid with. `of` is how many real images it was computed against, with
    how many `classes`; `largest` the share of the largest class among them, which a constant answer reaches (read from
    the same labels, without noise, in the same look).
    """

    name: str
    value: float
    touches: tuple[Touch, ...] = Field(min_length=1)
    direction: Direction
    n: int = Field(ge=1)
    seconds: float = Field(default=0, ge=0)
    event: Event | None = None
    of: int | None = Field(default=None, ge=1)
    classes: int | None = Field(default=None, ge=1)
    largest: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.direction != direction_of(self.name):
            raise ValueError(f"{self.name} is better when {direction_of(self.name)}, got {self.direction}")
        return self

    @property
    def non_private(self) -> bool:
        """Whether the value depends on private data outside every privacy account."""
        return self.event is None and any(touch.startswith("private-") for touch in self.touches)


def direction_of(name: str) -> Direction:
    """Whether a smaller ("min") or a larger ("max") value of the named metric is better.

    >>> direction_of("fid[inception]"), direction_of("accuracy[cnn]")
    ('min', 'max')
    >>> direction_of("accuracy[cn]")
    Traceback (most recent call last):
    ...
    privimage.errors.InputError: metric 'accuracy[cn]': unknown, did you mean 'accuracy[cnn]'?
    """
    if name in DIRECTIONS:
        return DIRECTIONS[name]
    close = difflib.get_close_matches(name.lower(), DIRECTIONS, n=1)
    hint = f", did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(DIRECTIONS))}"
    raise InputError(f"metric '{name}': unknown{hint}")


def is_private(name: str) -> bool:
    """Whether the named metric is a noisy score that is charged, and so may decide a private selection.

    >>> is_private("dp-accuracy[cnn]"), is_private("fid[inception]")
    (True, False)
    """
    return parts_of(name)[0].startswith("dp-")


def parts_of(name: str) -> tuple[str, str]:
    """The family and the variant in a known metric's name.

    >>> parts_of("fid[efficientnet-lite0]")
    ('fid', 'efficientnet-lite0')
    """
    direction_of(name)
    family, _, rest = name.partition("[")
    return family, rest.removesuffix("]")
