"""Central images: the noisy mean image of every label, the first thing that a generator is shown. (DP-FETA.)

    phi(x) = lowest DCT coefficients of x / clip          x in [0, 1], clipped to root mean square `clip`

An image adds phi to the row of its label: one Gaussian over all rows, as of any noisy mean. Of the mean, a frequency
that the noise hides is taken down by its share of signal, which is post-processing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privimage.generators import Shape
from privimage.generators.codec import dct_basis
from privimage.generators.config import COEFFICIENTS
from privimage.means.answer import Means


class LowPass:
    """See above: a Phi."""

    def __init__(self, *, shape: Shape, clip: float, device: torch.device) -> None:
        self.arrays: Mapping[str, NDArray[Any]] = {}
        self.shape, self._norm = shape, clip * float(np.prod(shape)) ** 0.5
        k, m = (min(COEFFICIENTS, side) for side in shape[1:])
        self._low = (shape[0], k, m)
        self.d = shape[0] * k * m
        self._rows, self._columns = dct_basis(k, shape[1]).to(device), dct_basis(m, shape[2]).to(device)

    def __call__(self, x: Tensor) -> Tensor:
        """See Phi."""
        z = (self._rows @ x @ self._columns.T).flatten(1) / self._norm
        phi: Tensor = z / z.norm(dim=1, keepdim=True).clamp(min=1.0)
        return phi

    def images(self, means: Means) -> NDArray[np.uint8]:
        """The central image of every label [labels, C, H, W]."""
        z = torch.from_numpy(shrunk(means, self._low)).float().unflatten(1, self._low) * self._norm
        x = self._rows.T.cpu() @ z @ self._columns.cpu()
        drawn: NDArray[np.uint8] = (x.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        return drawn


def shrunk(means: Means, low: tuple[int, int, int]) -> NDArray[np.float64]:
    """M [labels, d], every coefficient times the share of signal among those of all labels and about its frequency.

    Signal is what their mean square is above that of the noise (as of Wiener): nothing where that is all of it.
    """
    band = np.hypot(*np.meshgrid(np.arange(low[1]), np.arange(low[2]), indexing="ij")).round().astype(np.int64)
    band = np.tile(band.ravel(), low[0])
    share = np.zeros_like(means.M)
    for at in range(int(band.max()) + 1):
        here = band == at
        power = (means.M[:, here] ** 2).mean()
        share[:, here] = max(0.0, power - (means.noise**2).mean()) / max(power, 1e-30)
    kept: NDArray[np.float64] = means.M * share
    return kept
