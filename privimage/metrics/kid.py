"""KID: the squared maximum mean discrepancy between features of the synthetic images and of the real test split.

    k(a, b) = (a . b / d + 1)^3
    KID = mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean k(x_i, y_j)      the first two over i != j

(Binkowski et al. 2018.) Unlike FID it is unbiased, so that it can be compared across numbers of images, and can be a
little below 0. Taken over all images at once: torch_fidelity takes the mean over random subsets of them, whose expected
value is the same. Fewer than 2 images a side have none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privimage.errors import InputError
from privimage.metrics.context import MetricContext
from privimage.metrics.distance import FeatureDistance, kept_features

ROWS = 1000  # of the kernel matrix at a time


def kid(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """The unbiased estimate from features [n, d] and [m, d]. Raises InputError for fewer than 2, or not finite ones."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise InputError(f"kid: needs features of at least 2 images a side, got shapes {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("kid: features are not finite")
    x, y = a.astype(np.float64), b.astype(np.float64)
    return _within(x) + _within(y) - 2 * _kernel_sum(x, y) / (len(x) * len(y))


def _within(a: NDArray[np.float64]) -> float:
    diagonal = float((((a * a).sum(1) / a.shape[1] + 1) ** 3).sum())
    return (_kernel_sum(a, a) - diagonal) / (len(a) * (len(a) - 1))


def _kernel_sum(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return sum(float(((a[i : i + ROWS] @ b.T / a.shape[1] + 1) ** 3).sum()) for i in range(0, len(a), ROWS))


class Kid(FeatureDistance):
    """kid[NETWORK]. The features of the real images are computed once a set."""

    what = "squared maximum mean discrepancy of features"

    def measure(self, variant: str, context: MetricContext) -> float:
        """The estimate."""
        return kid(context.features(variant), kept_features(context, variant))


MEMBERS = {"kid": Kid()}
