"""Budget, Event and Release: what may be spent, one access to sensitive data, and a value with its price."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.privacy.entropy import Stream
from privimage.schema import Frozen

T = TypeVar("T")
Split = Literal["train", "validation"]  # disjoint: an example is in one of them, so only the dearer one counts


def grid_step(sensitivity: float) -> float:
    """A power of two, at most 2^-10 of the sensitivity and at most 1, so that whole numbers are multiples of it.

    >>> grid_step(1.0) == 2**-10, grid_step(3.0) == 2**-9
    (True, True)
    """
    return 2.0 ** min(0, math.floor(math.log2(sensitivity)) - 10)


def on_grid(value: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Every entry rounded to a multiple of `step`, a power of two."""
    return np.round(value / step) * step


def rounded(sensitivity: float, *, entries: int) -> float:
    """That of an answer of so many entries, each rounded to the grid."""
    return sensitivity + grid_step(sensitivity) * math.sqrt(entries)


class Budget(Frozen):
    """A total (epsilon, delta) under adding or removing one example (an image with its label)."""

    epsilon: float = Field(gt=0, le=100)  # above 100 a guarantee says nothing
    delta: float = Field(ge=1e-15, lt=1)  # a smaller one cannot be accounted in double precision

    def __str__(self) -> str:
        return f"(epsilon {self.epsilon:g}, delta {self.delta:g})"


class Event(Frozen):
    """One access to sensitive data: it draws the noise and it declares the cost, so the two cannot differ.

    `sigma` is the noise multiplier (noise standard deviation over L2 sensitivity), `q` the Poisson sampling
    probability of each of `steps` uses of the `split`. `sigma` 0 means no noise: such an access has no privacy
    guarantee and its epsilon is infinite. `shared` is the digest of the question, where all trials that ask it share
    one answer (None where an answer belongs to its trial): with less noise it is still the same question. `purpose` is
    for people: nothing follows from it.

    >>> print(Event(purpose="dp-sgd", sigma=1.93, q=0.5, steps=50, split="train"))
    dp-sgd sigma=1.93 q=0.5 steps=50
    >>> print(Event(purpose="training", sigma=0, split="train"))
    training without noise, NOT PRIVATE
    """

    purpose: str = Field(min_length=1, max_length=60)
    sigma: float = Field(ge=0)
    q: float = Field(default=1.0, gt=0, le=1)
    steps: int = Field(default=1, ge=1)
    split: Split
    shared: str | None = None

    def __str__(self) -> str:
        """The access in words: the one place where they are chosen."""
        use = "" if self.q == 1 and self.steps == 1 else f" q={self.q:.4g} steps={self.steps}"
        if not self.private:
            return f"{self.purpose} without noise{use}, NOT PRIVATE"
        return f"{self.purpose} sigma={self.sigma:.4g}{use}"

    @property
    def private(self) -> bool:
        """Whether this access has any guarantee at all."""
        return self.sigma > 0

    @property
    def access(self) -> Access:
        """The same before its noise is known."""
        return Access(purpose=self.purpose, q=self.q, steps=self.steps, split=self.split)

    @property
    def mechanism(self) -> Event:
        """What its price follows from: without purpose and question."""
        return self.model_copy(update={"purpose": "access", "shared": None})

    def scaled(self, factor: float) -> Event:
        """The same access with `factor` times the noise."""
        return self.model_copy(update={"sigma": self.sigma * factor})

    def perturb(
        self, value: NDArray[np.integer | np.floating], *, sensitivity: float, stream: Stream
    ) -> NDArray[np.float64]:
        """`value` plus Gaussian noise of standard deviation `sensitivity * sigma` in every entry, float64.

        The answer lies on a grid: the multiples of `grid_step(sensitivity)`. A sum of doubles tells in its last bits
        what was summed (Mironov 2012); here value and noise are both on the grid, so that the sum is exact and equals
        the sum of reals rounded to the grid, which is post-processing. Whole numbers (an array of integers) are on it
        as they are. Any other value is rounded to it first: that moves two neighbouring values apart by one step in
        every entry at most, so `step * sqrt(entries)` is added to the sensitivity. (Exact up to 2^42 sensitivities.)
        """
        step = grid_step(sensitivity)
        exact = value.astype(np.float64)
        if np.issubdtype(value.dtype, np.floating):
            sensitivity = rounded(sensitivity, entries=value.size)
            exact = on_grid(exact, step)
        return exact + on_grid(stream.normals(*value.shape) * (sensitivity * self.sigma), step)


class Access(Frozen):
    """What is asked of the sensitive set before it is known with how much noise: see Event."""

    purpose: str
    q: float = Field(default=1.0, gt=0, le=1)
    steps: int = Field(default=1, ge=1)
    split: Split = "train"

    def event(self, sigma: float, *, shared: str | None = None) -> Event:
        """The access with this noise multiplier."""
        return Event(purpose=self.purpose, sigma=sigma, q=self.q, steps=self.steps, split=self.split, shared=shared)


@dataclass(frozen=True, kw_only=True)
class Release(Generic[T]):
    """A value computed from sensitive data, with every event that was paid for it."""

    value: T
    events: tuple[Event, ...]

    @property
    def private(self) -> bool:
        """Whether every access behind this value was noised; False means it must never leave the run folder."""
        return all(event.private for event in self.events)
