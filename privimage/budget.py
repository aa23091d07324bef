"""Budget, Event and Release: what may be spent, one access to sensitive data, and a value with its price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from pydantic import Field, model_validator

from privimage.schema import Frozen

T = TypeVar("T")


class Budget(Frozen):
    """A total (epsilon, delta) under adding or removing one example (an image with its label)."""

    epsilon: float = Field(gt=0, le=1000)
    delta: float = Field(gt=0, lt=1)

    def __str__(self) -> str:
        return f"(epsilon {self.epsilon:g}, delta {self.delta:g})"


class Event(Frozen):
    """One access to sensitive data: it draws the noise and it declares the cost, so the two cannot differ.

    `sigma` is the noise multiplier (noise standard deviation over L2 sensitivity), `q` the Poisson sampling
    probability of each of `steps` uses. `sigma` 0 means no noise: such an access has no privacy guarantee and
    its epsilon is infinite.
    """

    purpose: Literal["query", "dp-sgd", "none"]
    sigma: float = Field(ge=0)
    q: float = Field(default=1.0, gt=0, le=1)
    steps: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _noise_or_none(self) -> Event:
        if (self.sigma == 0) != (self.purpose == "none"):
            raise ValueError("sigma 0 is for purpose 'none' only, and the other way round: no noise, no guarantee")
        return self

    @property
    def private(self) -> bool:
        """Whether this access has any guarantee at all."""
        return self.sigma > 0

    def perturb(self, value: torch.Tensor, *, sensitivity: float, generator: torch.Generator) -> torch.Tensor:
        """`value` plus Gaussian noise of standard deviation `sensitivity * sigma` in every entry."""
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        return value.double() + noise * (sensitivity * self.sigma)


@dataclass(frozen=True, kw_only=True)
class Release(Generic[T]):
    """A value computed from sensitive data, with every event that was paid for it."""

    value: T
    events: tuple[Event, ...]

    @property
    def private(self) -> bool:
        """Whether every access behind this value was noised; False means it must never leave the run folder."""
        return all(event.private for event in self.events)
