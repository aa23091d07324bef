"""The check that an engine sees every use of every weight: once a network, before it meets sensitive images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from privimage.generators import edm as diffusion
from privimage.generators.draws import Draws
from privimage.generators.edm import EDM

AGREEMENT = 1e-3  # relative; a use that is not seen changes a sum by far more
NO_CLIP = 1e30
_verified: WeakKeyDictionary[nn.Module, set[tuple[str, ...]]] = WeakKeyDictionary()


def verify(name: str, add: Callable[..., Tensor], F: nn.Module, draws: Draws, *, edm: EDM) -> None:
    """Compare the engine's unclipped sum with autograd's, at the first call for F and its trainable parameters.

    Two random images stand in for the sensitive ones, and a copy of F with other weights for F: at its start a network
    may have zeros that hide everything before them. Raises ValueError if a sum differs: then a weight is used in a
    way that the engine `add` (F, draws, *, edm, C) does not see.
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
    edm = replace(edm, precision="fp32")  # which uses are seen does not depend on it, how closely sums agree does
    few = draws.split(2)[0]
    z, noise = (torch.randn(t.shape, generator=rng).to(t) for t in (few.z, few.noise))
    _compare(name, add, other, replace(few, z=z, noise=noise, sigma=torch.ones_like(few.sigma)), edm)
    _verified.setdefault(F, set()).add(trained)


def _compare(name: str, add: Callable[..., Tensor], F: nn.Module, draws: Draws, edm: EDM) -> None:
    parameters = {n: p for n, p in F.named_parameters() if p.requires_grad}
    each = diffusion.loss(F, *draws.flat(), edm=edm)
    wanted = torch.autograd.grad(each.sum() / draws.shape[1], list(parameters.values()), allow_unused=True)
    add(F, draws, edm=edm, C=NO_CLIP)
    largest = max((float(truth.abs().max()) for truth in wanted if truth is not None), default=0.0)
    for (n, p), truth in zip(parameters.items(), wanted, strict=True):
        allowed = 0.0 if truth is None else AGREEMENT * (float(truth.abs().max()) + 0.01 * largest)
        if truth is None or p.grad is None or not float((p.grad - truth).abs().max()) <= allowed:
            raise ValueError(f"engine: {name!r} does not see every use of {n!r}; use 'vmap'")
