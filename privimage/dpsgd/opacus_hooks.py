"""The clipped sum by Opacus's hooks, the usual way: a gradient per draw is made, then summed over the draws.

A reference: slower, and it needs memory for n*K gradients. Opacus's convolution sampler (1.6) reads wrong pixels of an
input that is not contiguous in memory, silently, so contiguous inputs are forced here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn

from privimage.dpsgd.batch import Batch, Loss
from privimage.dpsgd.clip import add_clipped
from privimage.dpsgd.verify import verify


def add_clipped_sum(F: nn.Module, batch: Batch, *, loss: Loss, C: float, functorch: bool = False) -> Tensor:
    """Norms [n] of the per-example gradients; adds sum_i min(1, C / |g_i|) g_i to every trainable `p.grad`.

    `functorch` takes Opacus's generic sampler in place of those it has for each layer. Raises ValueError if a
    trainable parameter gets no per-example gradient, or is used in a way that the hooks do not see.
    """
    add = partial(_add, functorch=functorch)
    if batch.shape[0] == 0:
        return torch.zeros(0)
    verify("opacus functorch" if functorch else "opacus", add, F, batch, loss=loss)
    return add(F, batch, loss=loss, C=C)


def _add(F: nn.Module, batch: Batch, *, loss: Loss, C: float, functorch: bool) -> Tensor:
    n, K = batch.shape
    trainable = [p for p in F.parameters() if p.requires_grad]
    before = [p.grad for p in trainable]
    for p in trainable:
        p.grad = None  # autograd will put the unclipped sum there
    with _hooked(F, functorch) as module:
        try:
            (loss(module, *batch.flat()).sum() / K).backward()
            g = [_per_example(p, n, K) for p in trainable]
        finally:
            for p, old in zip(trainable, before, strict=True):
                p.grad = old
    return add_clipped(trainable, g, C=C)


def _per_example(p: nn.Parameter, n: int, K: int) -> Tensor:
    """Gradients [n, *p.shape], summed over the draws. Raises ValueError if Opacus has made none."""
    per_draw = getattr(p, "grad_sample", None)
    if not isinstance(per_draw, Tensor) or len(per_draw) != n * K:
        raise ValueError("engine: 'opacus' has no gradient per draw for a trainable parameter; use 'vmap'")
    return per_draw.unflatten(0, (n, K)).sum(1) if K > 1 else per_draw


@contextmanager
def _hooked(F: nn.Module, functorch: bool) -> Iterator[Callable[..., Tensor]]:
    """F with Opacus's hooks, which are removed at the end together with all that they left."""
    handles = [m.register_forward_pre_hook(_contiguous) for m in F.modules() if isinstance(m, nn.Conv2d)]
    module = GradSampleModule(F, loss_reduction="sum", strict=False, force_functorch=functorch)
    try:
        yield module
    finally:
        module.remove_hooks()
        for handle in handles:
            handle.remove()
        for p in F.parameters():
            for name in ("grad_sample", "_forward_counter", "_current_grad_sample"):
                if hasattr(p, name):
                    delattr(p, name)
        for m in F.modules():
            for name in ("activations", "max_batch_len", "ft_compute_sample_grad"):
                m.__dict__.pop(name, None)


def _contiguous(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.contiguous() for x in inputs)
