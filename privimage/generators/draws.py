"""Draws: examples with their K noise draws each (noise multiplicity, DPDM), as EDM is trained on them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from privimage.dpsgd.batch import Batch
from privimage.generators.edm import EDM


class Numbers(Protocol):
    """Where random numbers come from: a keyed stream in private training, a seeded generator in public training."""

    def uniforms(self, *shape: int) -> Tensor:
        """float64 in [0, 1), on the CPU."""
        ...

    def normals(self, *shape: int) -> Tensor:
        """Standard normals, on the CPU."""
        ...


def draw(z: Tensor, y: Tensor, *, K: int, edm: EDM, null: int, label_dropout: float, rng: Numbers) -> Batch:
    """z [n, ...] with K draws each of noise [n, K, ...], noise level sigma [n, K] and kept or dropped label [n, K].

    ln sigma ~ N(P_mean, P_std^2), stratified: one of the K noise levels of an example from each K-th of it. All
    randomness comes from `rng` (on the CPU, so that every device sees the same draws).
    """
    n = len(z)
    share = (torch.arange(K) + rng.uniforms(n, K)) / K
    normal = torch.special.ndtri(share.clamp(1e-9, 1 - 1e-9)).float()
    sigma = torch.exp(normal * edm.P_std + edm.P_mean)
    noise = rng.normals(n, K, *z.shape[1:]).float()
    dropped = rng.uniforms(n, K) < label_dropout
    label = torch.where(dropped, torch.full((n, K), null), y.cpu()[:, None].expand(n, K))
    return Batch(each=(z,), drawn=tuple(t.to(z.device) for t in (noise, sigma, label)), K=K)
