"""Tilt: weights over public images under which the mean of phi is the noisy mean of a label.

    w_i = b_i exp(lambda . phi_i) / Z          the weights closest to the base b (in KL) with their mean
    lambda = argmin  log Z(lambda) - lambda . M + rho / 2 |lambda|^2

The ridge rho is the largest with which the weighted mean misses M by no more than the noise that is known to be in it,
|sum_i w_i phi_i - M|^2 <= d noise^2 (the discrepancy principle of Morozov), or little more than what no weights reach.
What is fitted closer is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

ITERATIONS = 60
SLACK = 1.5  # of the least square that can be missed: closer is bought with ever fewer images
RIDGES = tuple(10.0**power for power in np.arange(0, -4.01, -0.5))  # from coarse to fine


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """Weights [n] over the pool that sum to 1, the ridge they were found with, and how far their mean is from M."""

    weights: NDArray[np.float64]
    ridge: float
    gap: float

    @property
    def effective(self) -> float:
        """The number of images that would have this spread with even weights: 1 / sum w^2."""
        return float(1 / np.square(self.weights).sum())


def tilt(phi: NDArray[np.float32], M: NDArray[np.float64], *, noise: float, base: NDArray[np.float64]) -> Weighted:
    """The weights over images with phi [n, d] for a mean M [d] with `noise` in each entry; `base` [n] sums to 1."""
    prior, lam, path = np.log(base), np.zeros(phi.shape[1]), list[Weighted]()
    for ridge in RIDGES:
        lam, weights = _solve(phi, M, ridge, prior, lam)
        gap = float(np.linalg.norm(weights @ phi - M))
        path.append(Weighted(weights=weights, ridge=ridge, gap=gap))
        if gap <= noise * phi.shape[1] ** 0.5:
            break
    allowed = max(phi.shape[1] * noise**2, SLACK * path[-1].gap ** 2)
    return next(tilted for tilted in path if tilted.gap**2 <= allowed)


def _solve(
    phi: NDArray[np.float32],
    M: NDArray[np.float64],
    ridge: float,
    prior: NDArray[np.float64],
    start: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(lambda, weights) of one ridge, begun at `start`."""

    def weights_of(lam: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        score = phi @ lam.astype(np.float32) + prior
        most = float(score.max())
        w = np.exp(score - most)
        total = float(w.sum())
        return w / total, most + np.log(total)

    def value(lam: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w, log_z = weights_of(lam)
        mean = (w.astype(np.float32) @ phi).astype(np.float64)
        return log_z - float(lam @ M) + ridge / 2 * float(lam @ lam), mean - M + ridge * lam

    found = minimize(value, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return found.x, weights_of(found.x)[0]
