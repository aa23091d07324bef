"""Draws: examples with their K noise draws each (noise multiplicity, DPDM), the input of every gradient engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from privimage.generators.edm import EDM

FIELDS = ("z", "noise", "sigma", "label")


@dataclass(frozen=True, kw_only=True, repr=False)
class Draws:
    """n examples x K draws: z [n, ...] clean, noise [n, K, ...], sigma [n, K], label [n, K]."""

    z: Tensor
    noise: Tensor
    sigma: Tensor
    label: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(n, K)."""
        return self.sigma.shape[0], self.sigma.shape[1]

    def flat(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(z, noise, sigma, label) with the draws of an example in consecutive rows [n*K, ...]."""
        z = self.z.repeat_interleave(self.shape[1], dim=0)
        return z, self.noise.flatten(0, 1), self.sigma.flatten(), self.label.flatten()

    def split(self, size: int) -> list[Draws]:
        """The same draws in parts of at most `size` examples."""
        parts = zip(*(getattr(self, name).split(size) for name in FIELDS), strict=True)
        return [Draws(**dict(zip(FIELDS, part, strict=True))) for part in parts]

    @staticmethod
    def joined(parts: list[Draws]) -> Draws:
        """The draws of all parts, in order."""
        return Draws(**{name: torch.cat([getattr(part, name) for part in parts]) for name in FIELDS})


class Numbers(Protocol):
    """Where random numbers come from: a keyed stream in private training, a seeded generator in public training."""

    def uniforms(self, *shape: int) -> Tensor:
        """float64 in [0, 1), on the CPU."""
        ...

    def normals(self, *shape: int) -> Tensor:
        """Standard normals, on the CPU."""
        ...


def draw(z: Tensor, y: Tensor, *, K: int, edm: EDM, null: int, label_dropout: float, rng: Numbers) -> Draws:
    """K draws of (noise, noise level, kept or dropped label) for every example; ln sigma ~ N(P_mean, P_std^2).

    The K noise levels of an example are stratified: one from each K-th of the distribution. All randomness comes from
    `rng` (on the CPU, so that every device sees the same draws).
    """
    n = len(z)
    share = (torch.arange(K) + rng.uniforms(n, K)) / K
    normal = torch.special.ndtri(share.clamp(1e-9, 1 - 1e-9)).float()
    sigma = torch.exp(normal * edm.P_std + edm.P_mean)
    noise = rng.normals(n, K, *z.shape[1:]).float()
    dropped = rng.uniforms(n, K) < label_dropout
    label = torch.where(dropped, torch.full((n, K), null), y.cpu()[:, None].expand(n, K))
    return Draws(z=z, noise=noise.to(z.device), sigma=sigma.to(z.device), label=label.to(z.device))
