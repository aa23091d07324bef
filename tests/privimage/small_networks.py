"""A family of small networks over all rules, random draws for them, and the check against the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from privimage.dpsgd import layers, loop
from privimage.dpsgd.batch import Batch
from privimage.generators.diffusion import EdmLoss, draw
from privimage.generators.edm import EDM
from privimage.generators.pretrain import Seeded

EDM_ = EDM(sigma_data=1.0, P_mean=0.3, P_std=1.1)
LOSS = EdmLoss(edm=EDM_)
NULL = 3


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One member of the family."""

    channels: int = 4
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    bias: bool = True
    groups: int = 2
    layout: str = "contiguous"  # or "channels_last", "transposed"
    twice: bool = False
    frozen: tuple[str, ...] = ()


class Net(nn.Module):
    """[B,2,6,6] -> [B,2,6,6] through a strided convolution, GroupNorm, a 1x1 convolution, Linear layers, Embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        c, self.shape = shape.channels, shape
        self.conv = nn.Conv2d(2, c, shape.kernel, shape.stride, shape.padding, bias=shape.bias)
        self.norm = nn.GroupNorm(shape.groups, c)
        self.again = nn.Conv2d(c, c, 3, padding=1)
        self.point = nn.Conv2d(c, c, 1, bias=shape.bias)
        self.label = nn.Embedding(NULL + 1, c)
        self.level, self.wide = nn.Linear(1, 16), nn.Linear(16, c)  # few rows an example: Gram matrices
        self.mix = nn.Linear(c, c, bias=shape.bias)  # on [rows, positions, features]
        self.out = nn.Conv2d(c, 2, 1)
        for name in shape.frozen:
            self.get_parameter(name).requires_grad_(False)

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        h = functional.silu(self.norm(self.conv(self._laid_out(z))))
        h = h + (self.label(label) + self.wide(torch.tanh(self.level(c_noise[:, None]))))[:, :, None, None]
        for _ in range(2 if self.shape.twice else 1):
            h = h + functional.silu(self.again(h))
        h = self.norm(h) if self.shape.twice else h
        h = self.point(self._laid_out(h))
        h = h + self.mix(h.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(h.shape)
        return functional.interpolate(self.out(h), size=z.shape[2:])

    def _laid_out(self, h: Tensor) -> Tensor:
        if self.shape.layout == "channels_last":
            return h.contiguous(memory_format=torch.channels_last)
        return h.transpose(2, 3).contiguous().transpose(2, 3) if self.shape.layout == "transposed" else h


def net(shape: Shape, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net(shape)


def draws_of(n: int, K: int, seed: int = 0, shape: tuple[int, ...] = (2, 6, 6)) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    z, y = torch.randn((n, *shape), generator=rng), torch.arange(n) % NULL
    return draw(z, y, K=K, edm=EDM_, null=NULL, label_dropout=0.5, rng=Seeded(rng))


def double(draws: Batch) -> Batch:
    """In double precision, so that engines can be compared exactly."""
    return draws.map(lambda t: t.double() if t.is_floating_point() else t)


def run(add: Callable[..., Tensor], F: nn.Module, draws: Batch, C: float) -> tuple[Tensor, dict[str, Tensor]]:
    F.zero_grad(set_to_none=True)
    norms = add(F, draws, loss=LOSS, C=C)
    return norms.double(), {name: p.grad.double() for name, p in F.named_parameters() if p.grad is not None}


def truth(F: nn.Module, draws: Batch, share: float) -> tuple[float, Tensor, dict[str, Tensor]]:
    """The clip that is `share` of the median norm; norms and clipped sum by the loop, in double precision."""
    F = F.double()
    exact = double(draws)
    C = share * float(run(loop.add_clipped_sum, F, exact, 1.0)[0].median())
    norms, grads = run(loop.add_clipped_sum, F, exact, C)
    F.float()
    return C, norms, grads


def check(F: nn.Module, draws: Batch, add: Callable[..., Tensor] = layers.add_clipped_sum, share: float = 1.0) -> None:
    C, norms, expected = truth(F, draws, share)
    got_norms, got = run(add, F, draws, C)
    assert (got_norms >= norms * (1 - 1e-4)).all(), "norms are never under-estimated"
    assert (got_norms <= norms * (1 + 1e-4)).all()
    assert got.keys() == expected.keys()
    largest = max(float(g.abs().max()) for g in expected.values())
    for name, tensor in expected.items():
        assert float((got[name] - tensor).abs().max()) <= 1e-4 * largest, name  # a factor is as exact as its norm


shapes = st.builds(
    Shape,
    channels=st.sampled_from([4, 6]),
    kernel=st.sampled_from([1, 2, 3]),
    stride=st.sampled_from([1, 2]),
    padding=st.sampled_from([0, 1]),
    bias=st.booleans(),
    groups=st.sampled_from([1, 2]),
    layout=st.sampled_from(["contiguous", "channels_last", "transposed"]),
    twice=st.booleans(),
    frozen=st.sampled_from([(), ("norm.bias", "out.bias"), ("norm.weight", "mix.weight"), ("label.weight",)]),
).filter(lambda shape: (shape.kernel, shape.stride, shape.layout) != (1, 2, "channels_last"))
# there the backward pass of torch itself, and so the loop, writes outside its memory: oneDNN's issue 6035
