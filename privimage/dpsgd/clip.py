"""The clip of one example's gradient, and the clipped sum of gradients that are there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from privimage.device import tf32


def clip_factor(norm: Tensor, C: float) -> Tensor:
    """min(1, C / norm) for every norm; 1 where the norm is 0. A norm that is not finite gets 0, never more."""
    factor = (C / norm.clamp(min=1e-30)).clamp(max=1.0)
    return factor.where(norm.isfinite(), 0.0)


def add_clipped(parameters: Sequence[nn.Parameter], g: Sequence[Tensor], *, C: float) -> Tensor:
    """Norms [n] of gradients g, one [n, *p.shape] a parameter; their clipped sum is added to every `p.grad`."""
    norm = torch.stack([part.flatten(1).square().sum(1) for part in g]).sum(0).sqrt()
    factor = clip_factor(norm, C)
    for p, part in zip(parameters, g, strict=True):
        with tf32(False):  # what is added is what the norm is of
            total = torch.tensordot(factor, part.where(part.isfinite(), 0.0), dims=1)
        add_to_grad(p, total)
    return norm


def add_to_grad(p: nn.Parameter, total: Tensor) -> None:
    """Add to `p.grad`, in its memory and layout; what is there may be absent."""
    total = total.reshape(p.shape)
    if p.grad is None:
        p.grad = total
    else:
        p.grad.add_(total)
