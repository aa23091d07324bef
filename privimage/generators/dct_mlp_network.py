"""dct_mlp: the two-core generator. A residual MLP on the lowest DCT coefficients of small grey images.

On two cores passes over the data decide, and an MLP of Linear layers makes 20 times the passes of a UNet. High
frequencies are not modelled. The basis is fixed and data-independent, so every method gets the same help from it.
Shapes: B images, k*k coefficients (times channels), width d.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class DctMLP(nn.Module):
    """F_theta on coefficients [B, channels*k*k]; every trainable parameter belongs to a Linear layer."""

    frequencies: Tensor

    def __init__(self, *, size: int, n_classes: int, width: int, blocks: int, embedding: int = 128) -> None:
        super().__init__()
        d = width
        self.n_classes = n_classes
        octaves = torch.logspace(-2, 4, 16, base=2.0, device="cpu")  # see DctCodec
        self.register_buffer("frequencies", octaves * (math.pi / 2))
        self.noise_1 = nn.Linear(32, embedding)
        self.noise_2 = nn.Linear(embedding, embedding)
        self.label = nn.Linear(n_classes + 1, embedding, bias=False)  # of a one-hot label; last column = none
        self.first = nn.Linear(size, d)
        self.film = nn.ModuleList(nn.Linear(embedding, 2 * d) for _ in range(blocks))
        self.inner = nn.ModuleList(nn.Linear(d, d) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(d, d) for _ in range(blocks))
        self.last = nn.Linear(d, size)
        if not self.label.weight.is_meta:
            nn.init.normal_(self.label.weight, std=0.5)
        for layer in (*self.outer, self.last):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def conditioning(self) -> list[nn.Module]:
        """See Attending."""
        return [self.label]

    def attending(self) -> list[nn.Module]:
        """The modulations: there is no attention, and by them alone a label reaches the blocks."""
        return list(self.film)

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        """Raw output [B, channels*k*k] for scaled coefficients, noise levels [B] and labels [B] in 0..n_classes."""
        angle = c_noise[:, None] * self.frequencies
        wave = torch.cat([angle.sin(), angle.cos()], dim=1)
        one_hot = (label[:, None] == torch.arange(self.n_classes + 1, device=label.device)).to(z.dtype)
        e = self.noise_2(functional.silu(self.noise_1(wave))) + self.label(one_hot)
        e = functional.silu(e)
        h = self.first(z)
        for film, inner, outer in zip(self.film, self.inner, self.outer, strict=True):
            scale, shift = film(e).chunk(2, dim=1)
            x = functional.layer_norm(h, h.shape[1:]) * (1 + scale) + shift
            h = h + outer(functional.gelu(inner(x)))
        out: Tensor = self.last(functional.layer_norm(h, h.shape[1:]))
        return out
