"""Features of a neural tangent kernel: the gradient of a fixed network at an image. (Yang et al. 2023, DP-NTK.)

f(x) = sum over j of a_j relu(w_j . x~)       x~ the pixels in [0, 1] and 1, w_j normal, a_j = +-1: the same for all
phi(x) = grad f(x) / |grad f(x)|              with respect to all w_j and a_j
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privimage.generators import Shape
from privimage.matching.features import TINY


class Ntk:
    """See above: a Phi."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], *, device: torch.device) -> None:
        self.arrays: Mapping[str, NDArray[Any]] = {name: arrays[name] for name in ("weights", "signs")}
        self._W, self._a = (torch.from_numpy(array).to(device) for array in self.arrays.values())
        self.d = self._W.numel() + len(self._a)

    @staticmethod
    def drawn(*, width: int, shape: Shape) -> dict[str, NDArray[np.float32]]:
        """The network: the same for everybody."""
        rng, inputs = np.random.default_rng(0), int(np.prod(shape)) + 1
        W = rng.standard_normal((width, inputs)) / inputs**0.5
        return {"weights": W.astype(np.float32), "signs": rng.choice([-1.0, 1.0], width).astype(np.float32)}

    def __call__(self, x: Tensor) -> Tensor:
        """See Phi."""
        x = torch.cat([x.flatten(1), torch.ones_like(x[:, 0, 0, :1])], dim=1)
        h = x @ self._W.T
        inner = (self._a * (h > 0))[:, :, None] * x[:, None, :]
        g = torch.cat([inner.flatten(1), h.relu()], dim=1)
        phi: Tensor = g / (g.square().sum(1, keepdim=True) + TINY).sqrt()  # no unit may be on
        return phi
