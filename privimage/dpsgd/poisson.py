"""Poisson batches: every example joins a batch independently with probability q (the sampling that is accounted)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def poisson_batches(*, n: int, q: float, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`steps` index tensors [batch] into n examples; batches vary in size and may be empty, and none is skipped."""
    for _ in range(steps):
        yield (torch.rand(n, generator=generator, dtype=torch.float64) < q).nonzero().squeeze(1)
