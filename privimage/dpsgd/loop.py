"""The definition of the clipped sum, one example at a time. Slow; the oracle of the other engines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from privimage.dpsgd.batch import Batch, Loss
from privimage.dpsgd.clip import add_to_grad, clip_factor


def add_clipped_sum(F: nn.Module, batch: Batch, *, loss: Loss, C: float) -> Tensor:
    """Norms [n] of the per-example gradients; adds sum_i min(1, C / |g_i|) g_i to every trainable `p.grad`."""
    parameters = [p for p in F.parameters() if p.requires_grad]
    norms = []
    for one in batch.split(1):
        g = torch.autograd.grad(loss(F, *one.flat()).mean(), parameters)  # an unused parameter raises
        norm = torch.stack([part.square().sum() for part in g]).sum().sqrt()
        factor = clip_factor(norm, C)
        for p, part in zip(parameters, g, strict=True):
            clipped = (part * factor).nan_to_num(0.0, 0.0, 0.0)
            add_to_grad(p, clipped)
        norms.append(norm)
    return torch.stack(norms) if norms else torch.zeros(0)
