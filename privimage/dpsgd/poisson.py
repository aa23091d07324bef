"""Poisson batches: every example joins a batch independently with probability q (the sampling that is accounted)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from privimage.privacy.entropy import Stream


def poisson_batches(*, n: int, q: float, steps: int, stream: Stream, cap: int | None = None) -> Iterator[Tensor]:
    """`steps` index tensors [batch] into n examples; batches vary in size and may be empty, and none is skipped.

    If more than `cap` examples join, a uniformly random subset of `cap` of them stays: which one is as secret as who
    joined, and the accountant must know the cap.
    """
    for _ in range(steps):
        joined = np.flatnonzero(stream.uniforms(n) < q)
        if cap is not None and len(joined) > cap:
            joined = joined[stream.subset(len(joined), cap)]
        yield torch.from_numpy(joined)
