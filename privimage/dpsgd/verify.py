"""The check that an engine sees every use of every weight: once a network, before it meets sensitive images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from privimage.device import tf32
from privimage.dpsgd.batch import Batch, Loss

AGREEMENT = 1e-3  # relative; a use that is not seen changes a sum by far more
NO_CLIP = 1e30
_verified: WeakKeyDictionary[nn.Module, set[tuple[str, ...]]] = WeakKeyDictionary()


def verify(name: str, add: Callable[..., Tensor], F: nn.Module, batch: Batch, *, loss: Loss) -> None:
    """Compare the engine's unclipped sum with autograd's, at the first call for F and its trainable parameters.

    What the loss makes up stands in for two sensitive examples, and a copy of F with other weights for F: at its start
    a network may have zeros that hide everything before them. Raises ValueError if a sum differs: then a weight is
    used in a way that the engine `add` (F, batch, *, loss, C) does not see. Also if the loss mixes examples.
    """
    trained = (name, *(n for n, p in F.named_parameters() if p.requires_grad))
    if trained in _verified.get(F, ()):
        return
    rng = torch.Generator().manual_seed(0)
    other = copy.deepcopy(F)
    other.zero_grad(set_to_none=True)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=rng).to(p))
    few = batch.split(2)[0]
    made = loss.stand_in(few if few.shape[0] == 2 else Batch.joined([few, few]), rng)
    with tf32(False):
        _apart(other, made, loss.exact)
        _compare(name, add, other, made, loss.exact)
    _verified.setdefault(F, set()).add(trained)


def _apart(F: nn.Module, batch: Batch, loss: Loss) -> None:
    """Raise ValueError if the loss of an example depends on others in the batch: then no clip bounds what one adds."""
    with torch.no_grad():
        together = loss(F, *batch.flat())
        alone = torch.cat([loss(F, *one.flat()) for one in batch.split(1)])
    if not torch.allclose(together, alone, rtol=AGREEMENT, atol=1e-6):
        raise ValueError("engine: the loss of one example depends on others in its batch (batch normalisation?)")


def _compare(name: str, add: Callable[..., Tensor], F: nn.Module, batch: Batch, loss: Loss) -> None:
    parameters = {n: p for n, p in F.named_parameters() if p.requires_grad}
    each = loss(F, *batch.flat())
    wanted = torch.autograd.grad(each.sum() / batch.shape[1], list(parameters.values()), allow_unused=True)
    add(F, batch, loss=loss, C=NO_CLIP)
    largest = max((float(truth.abs().max()) for truth in wanted if truth is not None), default=0.0)
    for (n, p), truth in zip(parameters.items(), wanted, strict=True):
        allowed = 0.0 if truth is None else AGREEMENT * (float(truth.abs().max()) + 0.01 * largest)
        if truth is None or p.grad is None or not float((p.grad - truth).abs().max()) <= allowed:
            raise ValueError(f"engine: {name!r} does not see every use of {n!r}; use 'vmap'")
