"""Anchors: public images that drawing starts from, each for one label."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privimage.errors import InputError
from privimage.generators import Shape

KEPT = 5000  # of all labels together; a generator that starts from them holds them


class Anchors(nn.Module):
    """Public images `x` uint8 [m, C, H, W] with the label `y` [m] that each is for; part of a generator's state."""

    x: Tensor
    y: Tensor

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x)
        self.register_buffer("y", y)

    @staticmethod
    def within(state: Mapping[str, Tensor], name: str, *, shape: Shape, n_classes: int) -> Anchors | None:
        """Those of the module of that name in the state of a generator; None if it has none.

        Raises RuntimeError if they are not images of that shape, each with a label.
        """
        x, y = (state.get(f"{name}.{part}") for part in "xy")
        if x is None and y is None:
            return None
        if x is None or y is None or (x.dtype, y.dtype) != (torch.uint8, torch.int64) or x.ndim != 4:
            raise RuntimeError(f"{name}: not uint8 images and int64 labels")
        if y.shape != (len(x),):
            raise RuntimeError(f"{name}: not one label for every image")
        if x.shape[1:] != shape or not ((y >= 0) & (y < n_classes)).all():
            raise RuntimeError(f"{name}: not images of {shape} with labels below {n_classes}")
        return Anchors(torch.empty_like(x), torch.empty_like(y))

    def draw(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """One of the images for every label [n], any of them equally likely: uint8 [n, C, H, W]."""
        order, counts = self.y.argsort(stable=True).cpu(), torch.bincount(self.y).cpu()
        if labels.max() >= len(counts) or (counts[labels.cpu()] == 0).any():
            raise InputError("method.sample.start: anchors: there is no public image for some label; use noise")
        place = (torch.rand(len(labels), generator=rng) * counts[labels.cpu()]).long()
        return self.x[order[(counts.cumsum(0) - counts)[labels.cpu()] + place].to(self.x.device)]


def spread(y: NDArray[np.int64], weights: NDArray[np.float64] | None, *, seed: int) -> NDArray[np.int64]:
    """Places of at most KEPT images with labels y [n] and these weights (None: even): as many for every label."""
    rng, labels = np.random.default_rng((seed, 5)), np.unique(y)
    weights = np.ones(len(y)) if weights is None else weights
    each = max(1, KEPT // len(labels))
    kept = [np.flatnonzero(y == label) for label in labels]
    return np.concatenate([rng.choice(of, size=each, p=weights[of] / weights[of].sum()) for of in kept])
