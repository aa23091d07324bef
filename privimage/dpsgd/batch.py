"""Batch: examples with their K draws each (noise multiplicity, DPDM), and Loss: what an engine takes gradients of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

Network = nn.Module | Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True, repr=False)
class Batch:
    """n examples x K draws: `each` [n, ...] is the same for all draws of an example, `drawn` [n, K, ...] is not.

    What the fields mean, only the loss knows: it gets those of `each`, then those of `drawn`, as rows.
    """

    each: tuple[Tensor, ...]
    drawn: tuple[Tensor, ...] = ()
    K: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """(n, K)."""
        return len(self.each[0]), self.K

    def flat(self) -> tuple[Tensor, ...]:
        """All fields with the draws of an example in consecutive rows [n*K, ...]."""
        return (*(t.repeat_interleave(self.K, dim=0) for t in self.each), *(t.flatten(0, 1) for t in self.drawn))

    def by_draw(self) -> tuple[Tensor, ...]:
        """All fields in rows [K*n, ...]: the first draw of every example, then the second, ...

        In this order n examples of one draw lie in memory as one image of n times the channels: see `conv2d_kernels`.
        """
        each = (t.repeat(self.K, *[1] * (t.dim() - 1)) for t in self.each)
        return (*each, *(t.transpose(0, 1).flatten(0, 1) for t in self.drawn))

    def split(self, size: int) -> list[Batch]:
        """The same batch in parts of at most `size` examples; none if it has no example."""
        if not self.shape[0]:
            return []
        parts = zip(*(t.split(size) for t in (*self.each, *self.drawn)), strict=True)
        return [self.of(fields) for fields in parts]

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same batch with every field changed."""
        return self.of(tuple(map(change, (*self.each, *self.drawn))))

    @staticmethod
    def joined(parts: list[Batch]) -> Batch:
        """The examples of all parts, in order."""
        fields = zip(*((*part.each, *part.drawn) for part in parts), strict=True)
        return parts[0].of(tuple(map(torch.cat, fields)))

    def of(self, fields: tuple[Tensor, ...]) -> Batch:
        """Other fields in the place of these."""
        return replace(self, each=fields[: len(self.each)], drawn=fields[len(self.each) :])


class Loss(ABC):
    """The loss of every row [R] for a network and the fields of a batch in rows [R, ...]: all that an engine knows.

    No row's loss may depend on another row: the gradient of one example is that of the mean over its own K rows.
    """

    @abstractmethod
    def __call__(self, F: Network, *rows: Tensor) -> Tensor:
        """Losses [R]."""

    @property
    def exact(self) -> Loss:
        """The same loss in full precision: which uses of a weight are seen does not depend on it, rounding does."""
        return self

    def stand_in(self, few: Batch, rng: torch.Generator) -> Batch:
        """Values in the place of those of sensitive examples: normals for floats; whole numbers (labels) stay."""
        return few.map(lambda t: torch.randn(t.shape, generator=rng).to(t) if t.is_floating_point() else t)
