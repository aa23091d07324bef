"""Generators by the name of their size: a network, the diffusion constants it is trained with, and its image codec."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn

from privimage.errors import InputError
from privimage.generators import unet
from privimage.generators.codec import COEFFICIENTS, DctCodec, PixelCodec
from privimage.generators.dct_mlp import DctMLP
from privimage.generators.edm import EDM

Shape = tuple[int, int, int]  # (channels, height, width)


class Generator(nn.Module):
    """A network F_theta with its codec and its diffusion constants.

    F is what is trained. `detail`, if kept, is F as it was before fine-tuning: DP-SGD moves the shapes, which are
    decided at high noise levels, while its noise spoils the fine strokes; below a noise level of the sampler's choice
    the strokes can be left to the public weights.
    """

    def __init__(self, *, F: nn.Module, codec: PixelCodec | DctCodec, edm: EDM, n_classes: int) -> None:
        super().__init__()
        self.F = F
        self.codec = codec
        self.edm = edm
        self.n_classes = n_classes
        self.detail: nn.Module | None = None

    def keep_detail(self) -> None:
        """Keep a copy of F as it is now for the low noise levels."""
        self.detail = copy.deepcopy(self.F)

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor, *, detail_below: float = 0.0) -> Tensor:
        """F_theta for scaled inputs [B, ...] that all have one noise level; `detail` where that is low."""
        low = self.detail is not None and detail_below > 0 and c_noise[0].item() < math.log(detail_below) / 4
        network = self.detail if low and self.detail is not None else self.F
        out: Tensor = network(x, c_noise, label)
        return out

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load a state dict of a whole generator, with or without `detail`. Raises RuntimeError if it does not fit."""
        if self.detail is None and any(name.startswith("detail.") for name in state):
            self.keep_detail()
        self.load_state_dict(dict(state))

    @property
    def null(self) -> int:
        """The label that means "no label"."""
        return self.n_classes

    def latent_shape(self, shape: Shape) -> tuple[int, ...]:
        """Shape of one encoded image."""
        device = next(self.F.parameters()).device
        return tuple(self.codec.encode(torch.zeros(1, *shape, dtype=torch.uint8, device=device)).shape[1:])


def _dct(width: int) -> Callable[[Shape, int], Generator]:
    def make(shape: Shape, n_classes: int) -> Generator:
        if min(shape[1:]) < COEFFICIENTS:
            raise InputError(f"a dct-mlp needs at least {COEFFICIENTS} pixels a side")
        F = DctMLP(channels=shape[0], n_classes=n_classes, width=width, blocks=3, k=COEFFICIENTS)
        edm = EDM(sigma_data=1.0, P_mean=-0.6, P_std=1.1)
        return Generator(F=F, codec=DctCodec(shape=shape), edm=edm, n_classes=n_classes)

    return make


def _unet(size: unet.Size) -> Callable[[Shape, int], Generator]:
    def make(shape: Shape, n_classes: int) -> Generator:
        if shape[1] != shape[2]:
            raise InputError("a UNet needs square images")
        F = size.make(channels=shape[0], image_size=shape[1], n_classes=n_classes)
        return Generator(F=F, codec=PixelCodec(), edm=EDM(), n_classes=n_classes)

    return make


SIZES: dict[str, Callable[[Shape, int], Generator]] = {
    "dct-mlp-192": _dct(192),
    "dct-mlp-512": _dct(512),
    **{name: _unet(size) for name, size in unet.SIZES.items()},
}


@lru_cache(maxsize=256)
def check(size: str, shape: Shape) -> None:
    """Raise InputError if there is no generator of that size for images of `shape`. Allocates nothing."""
    try:
        with torch.device("meta"):
            SIZES[size](shape, 1)
    except InputError as error:
        raise InputError(
            f"method.model.size: {size} does not fit images of {shape[1]} x {shape[2]} pixels: {error}; set size of "
            "data.sensitive and data.public, or take another model"
        ) from None


def build(size: str, *, shape: Shape, n_classes: int, seed: int) -> Generator:
    """A freshly initialised generator of that size for images of `shape`; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SIZES[size](shape, n_classes)
