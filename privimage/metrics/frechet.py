"""The Frechet distance between Gaussians fitted to two sets of features.

    d(a, b) = |m_a - m_b|^2 + tr C_a + tr C_b - 2 tr (C_a C_b)^(1/2)
    tr (C_a C_b)^(1/2) = sum sqrt eig (C_a^(1/2) C_b C_a^(1/2))

torch_fidelity takes the eigenvalues of the product C_a C_b, which is not symmetric: 3.9 s for 1,280 features
on one core. The second line is the same number from symmetric matrices in 1.1 s, without imaginary parts, and
for singular covariances too. Features that never vary are left out of it, which changes nothing (under 0.1 s
then). `tests/privimage/metrics/test_frechet.py` compares the two.
The value is biased upwards for few images: compare only at equal n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privimage.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Mean [d] and covariance [d, d] (float64, unbiased) of the features of `n` images."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    n: int

    @staticmethod
    def of(features: NDArray[Any]) -> Statistics:
        """The statistics of features [n, d]."""
        if features.ndim != 2 or len(features) < 2:
            raise InputError(f"fid: needs features of at least 2 images, got shape {features.shape}")
        values = features.astype(np.float64)
        if not np.isfinite(values).all():
            raise InputError("fid: features are not finite")
        return Statistics(mean=values.mean(0), covariance=np.atleast_2d(np.cov(values, rowvar=False)), n=len(values))

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Statistics:
        """The statistics that `arrays` wrote."""
        return Statistics(mean=arrays["mean"], covariance=arrays["covariance"], n=int(arrays["n"]))

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The same as named arrays, for a store."""
        return {"mean": self.mean, "covariance": self.covariance, "n": np.asarray(self.n)}

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """Which features vary; the others have no part in the trace of the root."""
        live: NDArray[np.bool_] = np.diag(self.covariance) > 0
        return live

    @cached_property
    def root(self) -> NDArray[np.float64]:
        """The symmetric square root of the covariance of the live features, computed once."""
        values, vectors = _eigh(torch.from_numpy(self.covariance[np.ix_(self.live, self.live)]))
        root: NDArray[np.float64] = ((vectors * _sqrt(values)) @ vectors.T).numpy()
        return root


def distance(a: Statistics, b: Statistics, *, device: str | torch.device = "cpu") -> float:
    """The squared Frechet distance, >= 0. `a` is the side to keep: its square root is computed once."""
    if a.mean.shape != b.mean.shape:
        raise InputError(f"fid: got {len(a.mean)} features against {len(b.mean)}; use one feature network")
    root = torch.from_numpy(a.root).to(device)
    product = root @ torch.from_numpy(b.covariance[np.ix_(a.live, a.live)]).to(device) @ root
    overlap = float(_sqrt(torch.linalg.eigvalsh((product + product.T) / 2)).sum())
    gap = a.mean - b.mean
    found = gap @ gap + np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap
    return max(0.0, float(found))


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors; by numpy's LAPACK where torch's gives up on repeated eigenvalues."""
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        found = np.linalg.eigh(matrix.numpy())
        values, vectors = torch.from_numpy(found.eigenvalues), torch.from_numpy(found.eigenvectors)
    return values, vectors


def _sqrt(eigenvalues: Tensor) -> Tensor:
    """Square roots of the eigenvalues of a semidefinite matrix; those below its rounding error are zero."""
    if len(eigenvalues) == 0:
        return eigenvalues
    floor = eigenvalues.abs().max() * len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps
    return torch.where(eigenvalues > floor, eigenvalues, 0).sqrt()
