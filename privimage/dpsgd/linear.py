"""The clipped sum for networks whose trainable layers are all Linear on [rows, features]: one backward pass.

For y = x W^T + b the gradient of an example over its K draws is sum_k g_k x_k^T, so its squared norm is
sum_{k,k'} (x_k . x_k') (g_k . g_k'), from two K x K Gram matrices: exact, and no weight gradient is made before the
clip. One weighted product per layer then gives the clipped sum. (Goodfellow 2015, extended to noise multiplicity.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from weakref import WeakSet

import torch
from torch import Tensor, nn

from privimage import edm as diffusion
from privimage.dpsgd.clip import clip_factor
from privimage.dpsgd.draws import Draws
from privimage.edm import EDM

ROUNDING = 1e-6  # relative error allowed for in float32 Gram products, in which draws may cancel
_verified: WeakSet[nn.Module] = WeakSet()  # networks whose sums were compared with autograd's


@dataclass(frozen=True, kw_only=True)
class _Use:
    """One call of a layer: its input [n*K, in] and its output [n*K, out]."""

    layer: nn.Linear
    x: Tensor
    y: Tensor


def supports(F: nn.Module) -> bool:
    """Whether every trainable parameter of F is the weight or bias of a Linear layer."""
    covered = {id(p) for layer in _layers(F) for p in layer.parameters()}
    return all(id(p) in covered for p in F.parameters() if p.requires_grad)


def _layers(F: nn.Module) -> list[nn.Linear]:
    return [m for m in F.modules() if type(m) is nn.Linear and any(p.requires_grad for p in m.parameters())]


@contextmanager
def _recorded(layers: list[nn.Linear]) -> Iterator[list[_Use]]:
    uses: list[_Use] = []

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        uses.append(_Use(layer=layer, x=inputs[0].detach(), y=y))

    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        yield uses
    finally:
        for handle in handles:
            handle.remove()


def add_clipped_sum(F: nn.Module, draws: Draws, *, edm: EDM, C: float) -> Tensor:
    """Norms [n] of the per-example gradients; adds sum_i min(1, C / |g_i|) g_i to every trainable `p.grad`.

    Raises ValueError if a trainable parameter belongs to another kind of layer (use the vmap engine), if a Linear
    layer is not called in this network or not on [rows, features], or if a weight is used in any other way.
    """
    n, _ = draws.shape
    if n == 0:
        return torch.zeros(0)
    if F not in _verified:
        _verify(F, draws, edm)
    rows = _rows(F, draws, edm)
    squared = torch.zeros(n, dtype=torch.float64, device=draws.z.device)
    for layer, (x, g) in rows.items():
        squared += _squared_norm(layer, x, g)
    norm = squared.sqrt()
    factor = clip_factor(norm, C).to(draws.z.dtype)
    for layer, (x, g) in rows.items():
        _add_weighted(layer, x, g, factor)
    return norm.to(draws.z.dtype)


def _rows(F: nn.Module, draws: Draws, edm: EDM) -> dict[nn.Linear, tuple[Tensor, Tensor]]:
    """Inputs and output gradients of every layer, from one forward and one backward pass. Raises ValueError."""
    if not supports(F):
        raise ValueError("engine: 'linear' needs all trainable parameters in Linear layers; use 'vmap'")
    layers = _layers(F)
    parameters = [id(p) for layer in layers for p in layer.parameters()]
    if len(set(parameters)) < len(parameters):
        raise ValueError("engine: 'linear' cannot see weights shared by two layers; use 'vmap'")
    n, K = draws.shape
    with _recorded(layers) as uses:
        each = diffusion.loss(F, *draws.flat(), sigma_data=edm.sigma_data)
    if {id(use.layer) for use in uses} != {id(layer) for layer in layers}:
        raise ValueError("engine: a trainable Linear layer takes no part in the network's output")
    if any(use.x.dim() != 2 or len(use.x) != n * K for use in uses):
        raise ValueError("engine: 'linear' needs every Linear layer on [rows, features]; use 'vmap'")
    gradients = torch.autograd.grad(each.sum() / K, [use.y for use in uses])
    return _by_layer(layers, uses, gradients, n)


def _verify(F: nn.Module, draws: Draws, edm: EDM) -> None:
    """Compare the unclipped sum with autograd's, once a network, on random images in place of the sensitive ones.

    Raises ValueError if they differ: then a weight is used in a way that the hooks do not see.
    """
    rng = torch.Generator().manual_seed(0)
    z, noise = (torch.randn(t.shape, generator=rng).to(t) for t in (draws.z, draws.noise))
    fake = replace(draws, z=z, noise=noise)
    trainable = [p for p in F.parameters() if p.requires_grad]
    each = diffusion.loss(F, *fake.flat(), sigma_data=edm.sigma_data)
    wanted = torch.autograd.grad(each.sum() / draws.shape[1], trainable, allow_unused=True)
    before = [p.grad for p in trainable]
    for p in trainable:
        p.grad = None
    for layer, (x, g) in _rows(F, fake, edm).items():
        _add_weighted(layer, x, g, torch.ones(len(x), dtype=x.dtype, device=x.device))
    for p, old, truth in zip(trainable, before, wanted, strict=True):
        mine, p.grad = p.grad, old
        if mine is None or truth is None or (mine - truth).abs().max() > 1e-3 * truth.abs().max() + 1e-12:
            raise ValueError("engine: 'linear' does not see every use of a weight of this network; use 'vmap'")
    _verified.add(F)


def _by_layer(
    layers: list[nn.Linear], uses: list[_Use], gradients: tuple[Tensor, ...], n: int
) -> dict[nn.Linear, tuple[Tensor, Tensor]]:
    """(inputs [n, R, in], output gradients [n, R, out]) of every layer; a layer used u times has R = u*K rows."""
    rows: dict[nn.Linear, tuple[Tensor, Tensor]] = {}
    for layer in layers:
        mine = [i for i, use in enumerate(uses) if use.layer is layer]
        x = torch.cat([uses[i].x.unflatten(0, (n, -1)) for i in mine], dim=1)
        g = torch.cat([gradients[i].unflatten(0, (n, -1)) for i in mine], dim=1)
        rows[layer] = (x, g)
    return rows


def _squared_norm(layer: nn.Linear, x: Tensor, g: Tensor) -> Tensor:
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    if layer.weight.requires_grad:
        if x.shape[1] == 1:
            gram = x.square().sum((1, 2)) * g.square().sum((1, 2))
        else:
            terms = (x @ x.transpose(1, 2)).double() * (g @ g.transpose(1, 2)).double()
            gram = terms.sum((1, 2)) + ROUNDING * terms.abs().sum((1, 2))  # never under-estimated
        total += gram
    if layer.bias is not None and layer.bias.requires_grad:
        total += g.sum(1).square().sum(1)
    return total


def _add_weighted(layer: nn.Linear, x: Tensor, g: Tensor, factor: Tensor) -> None:
    kept = (factor > 0)[:, None, None]  # a factor of 0 is an example whose norm is not finite: it adds nothing
    g = torch.where(kept, g * factor[:, None, None], 0.0).flatten(0, 1)
    if layer.weight.requires_grad:
        total = g.T @ torch.where(kept, x, 0.0).flatten(0, 1)
        layer.weight.grad = total if layer.weight.grad is None else layer.weight.grad + total
    if layer.bias is not None and layer.bias.requires_grad:
        total = g.sum(0)
        layer.bias.grad = total if layer.bias.grad is None else layer.bias.grad + total
