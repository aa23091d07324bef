"""Poisson batches: every example joins a batch independently with probability q (the sampling that is accounted)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from privimage.privacy.entropy import Stream


def poisson_batches(*, n: int, q: float, steps: int, stream: Stream) -> Iterator[Tensor]:
    """`steps` index tensors [batch] into n examples; batches vary in size and may be empty, and none is skipped."""
    for _ in range(steps):
        yield torch.from_numpy(np.flatnonzero(stream.uniforms(n) < q))
