"""Tilt: weights over public images under which the mean of phi is the noisy mean of a label.

    w_i = b_i exp(theta . phi_i) / Z           of all weights with their mean, those nearest to b
    theta = argmin  log Z(theta) - theta . M + rho / 2 |theta|^2

The ridge rho is the largest with which the weighted mean misses M by no more than the noise that is known to be in it,
|sum_i w_i phi_i - M|^2 <= d noise^2 (the discrepancy principle of Morozov), or little more than what no weights reach.
What is fitted closer is noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

ITERATIONS = 60
SLACK = 1.5  # of the least square that can be missed: closer is bought with ever fewer images
FEW = 20_000  # images that are looked at with finer ridges, if these have all weight but LEFT_OUT with a coarser one
LEFT_OUT = 1e-3
RIDGES = tuple(10.0**power for power in np.arange(0, -4.01, -0.5))  # from coarse to fine


def tilt(
    phi: NDArray[np.float32], M: NDArray[np.float64], *, noise: float, base: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """The weights [n], which sum to 1, over images with phi [n, d] for a mean M [d] with `noise` in each entry.

    They begin with the weights `base` [n]; None: with even ones.
    """
    b = np.ones(len(phi)) if base is None else base
    log_b = np.log(np.maximum(b, 1e-30)).astype(np.float32)
    theta, path = np.zeros(phi.shape[1]), list[tuple[float, NDArray[np.int64], NDArray[np.float64]]]()
    index, near = np.arange(len(phi)), phi
    if len(phi) > 2 * FEW:  # begun with few of them, all need hardly any iterations
        step = len(phi) // FEW
        theta, _ = _solve(phi[::step], log_b[::step], M, RIDGES[0], theta)
    for ridge in RIDGES:
        theta, w = _solve(near, log_b[index], M, ridge, theta)
        missed = float(np.square(w @ near - M).sum())
        path.append((missed, index, w))
        if missed <= phi.shape[1] * noise**2:
            break
        if len(w) > FEW:
            kept = _heaviest(w)
            index, near = index[kept], near[kept]
    allowed = max(phi.shape[1] * noise**2, SLACK * missed)
    _, index, w = next(found for found in path if found[0] <= allowed)
    weights = np.zeros(len(phi))
    weights[index] = w
    return weights


def _heaviest(w: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of the fewest weights, but at least of FEW, that lack LEFT_OUT of the sum."""
    order = np.argsort(w)[::-1]
    enough = int(np.searchsorted(np.cumsum(w[order]), 1 - LEFT_OUT)) + 1
    kept: NDArray[np.int64] = np.sort(order[: max(FEW, enough)])
    return kept


def _solve(
    phi: NDArray[np.float32],
    log_b: NDArray[np.float32],
    M: NDArray[np.float64],
    ridge: float,
    start: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(theta, weights) of one ridge, begun at `start`."""

    def weights_of(theta: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        score = phi @ theta.astype(np.float32) + log_b
        most = float(score.max())
        w = np.exp(score - most, dtype=np.float64)
        total = float(w.sum())
        return w / total, most + np.log(total)

    def value(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w, log_z = weights_of(theta)
        mean = (w.astype(np.float32) @ phi).astype(np.float64)
        return log_z - float(theta @ M) + ridge / 2 * float(theta @ theta), mean - M + ridge * theta

    found = minimize(value, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return found.x, weights_of(found.x)[0]
