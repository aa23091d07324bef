"""The Renyi divergence of one step of the Poisson-subsampled Gaussian mechanism (Mironov, Talwar, Zhang 2019).

    A(order) = E_{z ~ N(0, s^2)} [ (1 - q + q exp((2 z - 1) / (2 s^2)))^order ],    divergence = ln A / (order - 1)

the larger of the two directions of neighbours. Section 3.3 has it as a finite sum for whole orders, and as an
alternating series for all others; both are summed here around their largest term.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import binom, gammaln, log_ndtr, logsumexp

Array = NDArray[np.float64]

NEGLIGIBLE = -30.0  # logarithm of the term at which a series is cut: the rest alternates, so it is less than that


def divergence(*, q: float, sigma: float, order: float) -> float:
    """The divergence at an order above 1 of a step with sampling rate `q` and noise multiplier `sigma`; may be inf.

    >>> divergence(q=1.0, sigma=2.0, order=8)
    1.0
    >>> round(divergence(q=0.01, sigma=1.0, order=8), 6), round(divergence(q=0.01, sigma=1.0, order=1.5), 6)
    (0.000894, 0.000127)
    """
    if sigma**2 == 0:
        return math.inf
    if q == 1:
        return order / (2 * sigma**2)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        moment = _whole(q, sigma, int(order)) if float(order).is_integer() else _fractional(q, sigma, order)
    return moment / (order - 1)


def _whole(q: float, sigma: float, order: int) -> float:
    k = np.arange(order + 1, dtype=np.float64)
    ways = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    return float(logsumexp(ways + _terms(q, sigma, k, np.asarray(order - k))))


def _fractional(q: float, sigma: float, order: float) -> float:
    """The integral below and above z0, where both terms of the power are equal, each as a binomial series."""
    z0 = sigma**2 * math.log(1 / q - 1) + 0.5
    count = 64
    while True:
        i = np.arange(count, dtype=np.float64)
        ways = binom(order, i)
        j = np.asarray(order - i)
        below = _terms(q, sigma, i, j) + log_ndtr((z0 - i) / sigma)
        above = _terms(q, sigma, j, i) + log_ndtr((j - z0) / sigma)
        series = np.log(np.abs(ways)) + np.stack([below, above])
        if not (series < math.inf).all():  # it overflowed
            return math.inf
        if series[:, -1].max() < NEGLIGIBLE:
            return float(logsumexp(series, b=np.sign(ways)))
        count *= 2


def _terms(q: float, sigma: float, k: Array, rest: Array) -> Array:
    """Logarithm of q^k (1 - q)^rest exp(k (k - 1) / (2 sigma^2))."""
    return np.asarray(k * math.log(q) + rest * math.log1p(-q) + k * (k - 1) / (2 * sigma**2))
