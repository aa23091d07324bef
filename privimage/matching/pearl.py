"""PEARL: the characteristic function of the images of a label at random frequencies, and a critic that weighs these.

    phi(x) = [cos(W x), sin(W x)] / sqrt(frequencies)       rows of W of many lengths        (Liew et al. 2022)
    w_j(v) = exp(B tanh(v . u_j / B)), their mean made 1     u_j what is public of frequency j

The generator makes sum_j w_j |M_j - mean phi_j|^2 small, the critic makes it large by v. It sees the noisy answer
alone, so it costs nothing. u_j: how long frequency j is, and how much of it lies in each band of a cosine transform.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privimage.generators import Shape
from privimage.generators.codec import dct_basis
from privimage.matching.features import Fourier

BANDS, BOUND = 6, 1.5  # of the cosine transform; of the logarithm of a weight


def frequencies(*, features: int, length: float, spread: float, shape: Shape) -> NDArray[np.float32]:
    """Rows of W [features / 2, pixels], as of a Gaussian kernel, each longer or shorter by exp(spread z), z normal."""
    W = Fourier.drawn(features=features, length=length, shape=shape)
    scale = np.exp(spread * np.random.default_rng(1).standard_normal((len(W), 1)))
    drawn: NDArray[np.float32] = (W * scale).astype(np.float32)
    return drawn


class Critic(nn.Module):
    """The weights of frequencies, and v."""

    u: Tensor

    def __init__(self, W: NDArray[np.float32], *, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("u", torch.from_numpy(told(W, shape)), persistent=False)
        self.v = nn.Parameter(torch.zeros(self.u.shape[1]))

    def forward(self) -> Tensor:
        """w [frequencies], 1 in the mean."""
        w = (BOUND * torch.tanh(self.u @ self.v / BOUND)).exp()
        weights: Tensor = w / w.mean()
        return weights


def told(W: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
    """u [frequencies, 1 + BANDS], every column of mean 0 and standard deviation 1."""
    z = W.reshape(len(W), *shape)
    z = dct_basis(shape[1], shape[1]).numpy() @ z @ dct_basis(shape[2], shape[2]).numpy().T
    at = np.add.outer(np.arange(shape[1]) / shape[1], np.arange(shape[2]) / shape[2]) / 2 * BANDS
    energy = (z**2).sum(axis=1)
    length = energy.sum(axis=(1, 2))
    shares = [energy[:, at.astype(int) == band].sum(axis=1) / length for band in range(BANDS)]
    u = np.log(np.stack([length, *shares], axis=1) + 1e-12)
    u = (u - u.mean(axis=0)) / (u.std(axis=0) + 1e-9)
    found: NDArray[np.float32] = u.astype(np.float32)
    return found
