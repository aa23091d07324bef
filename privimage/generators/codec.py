"""Codecs: uint8 images to the space in which the diffusion runs, and back. They see no sensitive data."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privimage.generators.config import COEFFICIENTS

TONES = 400  # quantiles of the tone curve
LEAST_SPREAD = 0.05
STILL = 0.01  # about that of a pixel which is now and then brighter by one: images may all be the same


class Codec(nn.Module, ABC):
    """Images as the values on which a generator is trained, and back."""

    fitted = False  # whether `fit` does anything
    widest: float | None = None  # the largest deviation of a value, where it is known; to ask for it is free on a GPU

    @property
    def deviation(self) -> Tensor | None:
        """The standard deviation of every value of an encoded image, where it is known."""
        return None

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Floats [B, ...] of uint8 images [B, C, H, W]."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Uint8 images of floats."""

    def adapt(self, public: NDArray[np.uint8]) -> None:
        """Learn from public images [n, C, H, W] what their values are like, before anything is trained on them."""

    def fit(self, generated: Tensor, public: NDArray[np.uint8]) -> None:
        """Learn from generated values [n, ...] and public images [n, C, H, W]."""


class PixelCodec(Codec):
    """uint8 images [B, C, H, W] as floats in [-1, 1] of the same shape."""

    def encode(self, x: Tensor) -> Tensor:
        """Floats in [-1, 1]."""
        return x.float() / 127.5 - 1

    def decode(self, z: Tensor) -> Tensor:
        """Uint8 images."""
        return ((z + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def sides_of(channels: int) -> tuple[int, ...]:
    """Coefficients a side of every plane: of colours half as many as of brightness."""
    return (COEFFICIENTS, *(COEFFICIENTS // 2,) * 2) if channels == len(OPPONENT) else (COEFFICIENTS,) * channels


def values_of(channels: int) -> int:
    """How many values an encoded image has."""
    return sum(k * k for k in sides_of(channels))


def dct_basis(k: int, n: int) -> Tensor:
    """The k lowest DCT-II vectors of length n as orthonormal rows [k, n]."""
    position = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    basis: Tensor = torch.cos(math.pi * torch.arange(k, dtype=torch.float64)[:, None] * position) * (2 / n) ** 0.5
    basis[0] /= 2**0.5
    return basis.float()


# Brightness, and two directions of colour in which grey is 0: orthonormal. Eyes see little detail in the latter.
OPPONENT = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, 0.0, -(2**-0.5)), (6**-0.5, -2 * 6**-0.5, 6**-0.5))


class DctCodec(Codec):
    """uint8 images as their lowest COEFFICIENTS^2 DCT coefficients, less a `center` [B, `values_of(C)`].

    Of an image in colour these are of its brightness, and a quarter as many of each of two directions of colour.

    `center` and `spread` are mean and standard deviation of each coefficient of public images, once they are seen; till
    then black is 0 and each has spread 1. The brightness of a photograph varies a hundred times as much as its details:
    the denoiser has to know, or it leaves noise where there is none in images.

    The low pass smears strokes into the background. `fit` learns the tone curve that undoes it: the monotone map that
    takes the intensities of generated images to those of public ones. It sees no sensitive data.
    """

    fitted = True
    planes: Tensor
    rows: Tensor
    columns: Tensor
    center: Tensor
    spread: Tensor
    raw_tones: Tensor
    tones: Tensor

    def __init__(self, *, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape, self.sides = shape, sides_of(shape[0])
        with torch.device("cpu"):  # also where the network has no storage ("meta"): torch would load its compiler there
            self.register_buffer("rows", dct_basis(COEFFICIENTS, shape[1]))
            self.register_buffer("columns", dct_basis(COEFFICIENTS, shape[2]))
            planes = torch.tensor(OPPONENT) if shape[0] == len(OPPONENT) else torch.eye(shape[0])
            self.register_buffer("planes", planes, persistent=False)
            self.register_buffer("center", torch.zeros(values_of(shape[0])))
            self.register_buffer("spread", torch.ones(values_of(shape[0])))
            self.register_buffer("raw_tones", torch.linspace(0, 1, TONES))
            self.register_buffer("tones", torch.linspace(0, 1, TONES))
        self.widest = 1.0
        self.register_load_state_dict_post_hook(_see_widest)  # type: ignore[no-untyped-call]

    @property
    def deviation(self) -> Tensor:
        """See Codec."""
        return self.spread

    def encode(self, x: Tensor) -> Tensor:
        """Coefficients of 2 * x / 255, plane by plane."""
        z = self.rows @ torch.einsum("pc,bchw->bphw", self.planes, x.float() / 127.5) @ self.columns.T
        return torch.cat([z[:, i, :k, :k].flatten(1) for i, k in enumerate(self.sides)], dim=1) - self.center

    def decode(self, z: Tensor) -> Tensor:
        """Uint8 images, through the tone curve."""
        raw = self._raw(z).contiguous()
        place = torch.searchsorted(self.raw_tones, raw).clamp(1, TONES - 1)
        low, high = self.raw_tones[place - 1], self.raw_tones[place]
        share = ((raw - low) / (high - low)).clamp(0, 1)
        x = torch.lerp(self.tones[place - 1], self.tones[place], share)
        return (x.clamp(0, 1) * 255).round().to(torch.uint8)

    def _raw(self, z: Tensor) -> Tensor:
        parts = (z + self.center).split([k * k for k in self.sides], dim=1)
        planes = [
            self.rows[:k].T @ part.unflatten(1, (k, k)) @ self.columns[:k]
            for part, k in zip(parts, self.sides, strict=True)
        ]
        return torch.einsum("pc,bphw->bchw", self.planes, torch.stack(planes, dim=1)) / 2

    def adapt(self, public: NDArray[np.uint8]) -> None:
        """Set center and spread; no spread is less than LEAST_SPREAD of their root mean square, nor than STILL."""
        z = self.encode(torch.from_numpy(public).to(self.rows.device)) + self.center
        spread = z.std(0, correction=min(1, len(z) - 1))
        self.center.copy_(z.mean(0))
        self.spread.copy_(spread.clamp(min=max(STILL, LEAST_SPREAD * float(spread.square().mean().sqrt()))))
        _see_widest(self)

    def fit(self, generated: Tensor, public: NDArray[np.uint8]) -> None:
        """Set the tone curve from generated coefficients [n, C*k*k] and public images, by matching quantiles."""
        at = np.linspace(0, 1, TONES)
        raw = np.quantile(self._raw(generated).cpu().numpy(), at)
        raw = np.maximum.accumulate(raw) + np.arange(TONES) * 1e-6  # strictly rising, for the search
        self.raw_tones.copy_(torch.from_numpy(raw))
        self.tones.copy_(torch.from_numpy(np.quantile(public, at) / 255))


def _see_widest(codec: DctCodec, _: object = None) -> None:
    """Read the largest deviation, where it may have changed."""
    codec.widest = codec.widest if codec.spread.is_meta else float(codec.spread.max())
