"""The clipped sum by `torch.func.vmap(grad)`: any network, memory for one gradient per example."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from privimage.dpsgd.clip import clip_factor
from privimage.generators import edm as diffusion
from privimage.generators.draws import Draws
from privimage.generators.edm import EDM


def add_clipped_sum(F: nn.Module, draws: Draws, *, edm: EDM, C: float) -> Tensor:
    """Norms [n] of the per-example gradients; adds sum_i min(1, C / |g_i|) g_i to every trainable `p.grad`."""
    trainable = {name: p for name, p in F.named_parameters() if p.requires_grad}
    fixed = {name: p for name, p in F.named_parameters() if not p.requires_grad} | dict(F.named_buffers())

    def loss(weights: dict[str, Tensor], z: Tensor, noise: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        def network(*inputs: Tensor) -> Tensor:
            out: Tensor = functional_call(F, {**fixed, **weights}, inputs)
            return out

        repeated = z.expand(len(sigma), *z.shape)
        return diffusion.loss(network, repeated, noise, sigma, label, edm=edm).mean()

    weights = {name: p.detach() for name, p in trainable.items()}
    g = vmap(grad(loss), in_dims=(None, 0, 0, 0, 0))(weights, draws.z, draws.noise, draws.sigma, draws.label)
    norm = torch.stack([part.flatten(1).square().sum(1) for part in g.values()]).sum(0).sqrt()
    factor = clip_factor(norm, C)
    for name, p in trainable.items():
        total = torch.tensordot(factor, g[name].where(g[name].isfinite(), 0.0), dims=1)
        p.grad = total if p.grad is None else p.grad + total
    return norm
