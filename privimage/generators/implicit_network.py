"""Implicit: a generator that draws an image in one step, from noise and a label.

    G(z, y) = tanh of the low frequencies that a residual MLP makes of z and y        z ~ N(0, 1), of NOISE numbers

Its images are differentiable, so it can be trained by matching means (`privimage.matching`). Its own loss, on images,
is the energy score (Gneiting and Raftery 2007), which is least in expectation where G(., y) has the law of the images:

    (|G(a, y) - x| + |G(b, y) - x| - |G(a, y) - G(b, y)|) / 2                         a, b independent noise
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from privimage.device import onto
from privimage.dpsgd.batch import Batch, Loss, Network
from privimage.generators import Shape
from privimage.generators.codec import PixelCodec, dct_basis
from privimage.generators.config import COEFFICIENTS
from privimage.generators.generator import Numbers, OneStep, SampleConfig, Training

GAIN, FALL = 16.0, 1.0  # of the last layer, and how its gain falls with the frequency: as the amplitudes of images do
NOISE = 64  # numbers that an image is drawn from
TINY = 1e-6  # added to a mean square, so that its root has a gradient everywhere


class OneStepMLP(nn.Module):
    """Images [B, C, H, W] in [-1, 1] of noise [B, NOISE] and labels [B] in 0 .. n_classes (none)."""

    rows: Tensor
    columns: Tensor
    gain: Tensor

    def __init__(self, *, shape: Shape, n_classes: int, width: int, blocks: int) -> None:
        super().__init__()
        self.shape, self.n_classes = shape, n_classes
        k, m = (min(COEFFICIENTS, side) for side in shape[1:])
        self.low = (shape[0], k, m)
        with torch.device("cpu"):  # see DctCodec
            self.register_buffer("rows", dct_basis(k, shape[1]), persistent=False)
            self.register_buffer("columns", dct_basis(m, shape[2]), persistent=False)
            frequency = torch.hypot(torch.arange(k)[:, None].float(), torch.arange(m).float())
            self.register_buffer("gain", GAIN / (1 + frequency) ** FALL, persistent=False)
        self.first = nn.Linear(NOISE, width)
        self.label = nn.Linear(n_classes + 1, width, bias=False)  # of a one-hot label
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.last = nn.Linear(width, shape[0] * k * m)
        if not self.label.weight.is_meta:
            nn.init.normal_(self.label.weight, std=1.0)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """The images."""
        one_hot = (label[:, None] == torch.arange(self.n_classes + 1, device=label.device)).to(z.dtype)
        h = self.first(z) + self.label(one_hot)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            h = h + outer(functional.gelu(inner(functional.layer_norm(h, h.shape[1:]))))
        low = self.last(functional.layer_norm(h, h.shape[1:])).unflatten(1, self.low)
        x: Tensor = (self.rows.T @ (self.gain * low) @ self.columns).tanh()
        return x


class Implicit(OneStep):
    """F takes noise and labels to images."""

    F: OneStepMLP

    def __init__(self, *, shape: Shape, n_classes: int, width: int, blocks: int) -> None:
        F = OneStepMLP(shape=shape, n_classes=n_classes, width=width, blocks=blocks)
        super().__init__(F=F, codec=PixelCodec(), shape=shape, n_classes=n_classes)

    def noise(self, n: int, rng: Numbers) -> Tensor:
        """See OneStep: NOISE normals."""
        return rng.normals(n, NOISE).float()

    def pixels(self, z: Tensor, labels: Tensor) -> Tensor:
        """See OneStep."""
        x: Tensor = (self.F(z, labels) + 1) / 2
        return x

    def loss(self, training: Training) -> Loss:
        """The energy score."""
        return EnergyScore()

    def batch(self, z: Tensor, y: Tensor, *, training: Training, rng: Numbers) -> Batch:
        """With K draws of the label, kept or dropped, and of two noises."""
        n, K = len(z), training.K
        dropped = rng.uniforms(n, K) < training.label_dropout
        label = torch.where(dropped, torch.full((n, K), self.null), y.cpu()[:, None].expand(n, K))
        a, b = (rng.normals(n, K, NOISE).float() for _ in range(2))
        return Batch(each=(z,), drawn=tuple(onto(z.device, t) for t in (label, a, b)), K=K)

    @torch.no_grad()
    def sample(self, labels: Tensor, *, config: SampleConfig, seed: int) -> Iterator[Tensor]:
        """Images; of `config` the batch alone is heeded."""
        rng = torch.Generator().manual_seed(seed)
        for label in labels.split(config.batch):
            z = torch.randn((len(label), NOISE), generator=rng).to(self.device)
            yield self.codec.decode(self.F(z, label.to(self.device)))


class EnergyScore(Loss):
    """See above; rows are encoded image, label and two noises."""

    def __call__(self, F: Network, *rows: Tensor) -> Tensor:
        """Losses [R]."""
        x, label, a, b = rows
        one, other = F(a, label), F(b, label)
        return (_distance(one, x) + _distance(other, x) - _distance(one, other)) / 2


def _distance(one: Tensor, other: Tensor) -> Tensor:
    return ((one - other).square().flatten(1).mean(1) + TINY).sqrt()
