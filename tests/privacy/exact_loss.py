"""Exact epsilons of subsampled Gaussians by Laplace's inversion: no grid, no convolution, nothing of the accountant.

With M(s) = E_P[exp(s L)] of the whole privacy loss L = ln(P/Q), and any c > 0,

    delta(e) = E_P[(1 - exp(e - L))+] = 1 / (2 pi i) int_{c - i inf}^{c + i inf} exp(-s e) M(s) / (s (s + 1)) ds,

because 1 / (s (s + 1)) is the Laplace transform of (1 - exp(-t))+. M multiplies over accesses; c is the saddle point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from privimage.privacy.budget import Event

Array = NDArray[np.float64]
NODES, CELLS, STRETCH = 700, 1500, 8.0


def exact_epsilon(events: Sequence[Event], delta: float, *, finer: float = 1.0) -> float:
    """Epsilon at `delta` of events of one split, to about 1e-6 of itself; 0 where there is none.

    `finer` grids and a longer line give the same where it is exact: see `agrees`. There have to be several accesses, or
    one with q 1 (M falls too slowly along the line otherwise), or exactly one.
    """
    if len(events) == 1 and events[0].steps == 1:
        return _one(events[0], delta)
    return max(_epsilon(events, delta, add=add, finer=finer) for add in (False, True))


def agrees(events: Sequence[Event], delta: float) -> bool:
    """Whether it is exact: of few examples in a batch M falls slowly along the line, and what is cut off shows."""
    return math.isclose(exact_epsilon(events, delta), exact_epsilon(events, delta, finer=1.3), rel_tol=5e-8)


def _one(event: Event, delta: float) -> float:
    """Of one step: the best test is a threshold on the noisy value."""
    sigma, q = event.sigma, event.q

    def excess(e: float) -> float:
        x = sigma**2 * math.log((math.exp(e) - (1 - q)) / q) + 0.5
        present = (1 - q) * norm.sf(x / sigma) + q * norm.sf((x - 1) / sigma)
        found = present - math.exp(e) * norm.sf(x / sigma)
        if math.exp(-e) > 1 - q:  # for add the loss is at most -ln(1 - q)
            x = sigma**2 * math.log((math.exp(-e) - (1 - q)) / q) + 0.5
            absent, mixed = norm.cdf(x / sigma), (1 - q) * norm.cdf(x / sigma) + q * norm.cdf((x - 1) / sigma)
            found = max(found, absent - math.exp(e) * mixed)
        return float(found - delta)

    return 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, 700.0, xtol=1e-13))


def _epsilon(events: Sequence[Event], delta: float, *, add: bool, finer: float) -> float:
    def log_M(s: NDArray[np.complex128]) -> NDArray[np.complex128]:
        return np.sum(
            [event.steps * _log_mgf(s, event.sigma, event.q, add=add, finer=finer) for event in events], axis=0
        )

    orders = np.geomspace(1e-2, 1e6, 64)
    bound = (np.array([log_M(np.array([order + 0j]))[0].real for order in orders]) - math.log(delta)) / orders
    c = float(orders[np.argmin(bound)])
    h = 3e-2 * c
    below, here, above = (log_M(np.array([order + 0j]))[0].real for order in (c - h, c, c + h))
    width = h / math.sqrt(above + below - 2 * here)
    u = np.linspace(0, STRETCH * finer, round(NODES * finer**2))
    s, weight = c + 1j * width * np.sinh(u), width * np.cosh(u) * (u[1] - u[0]) / math.pi
    weight[0] /= 2
    logs = log_M(s) - np.log(s * (s + 1))

    def excess(e: float) -> float:
        value = logs - s * e
        top = value.real.max()
        return float(np.log(max((np.exp(value - top).real * weight).sum(), 1e-300)) + top - math.log(delta))

    step = 0.02 * max(float(bound.min()), 1e-6)  # from the bound down: along the line of c it is exact near its saddle
    low = float(bound.min())
    while low > 0 and excess(low) <= 0:
        low = max(0.0, low - step)
    return 0.0 if excess(low) <= 0 else float(brentq(excess, low, low + step, xtol=1e-13))


def _log_mgf(s: NDArray[np.complex128], sigma: float, q: float, *, add: bool, finer: float) -> NDArray[np.complex128]:
    """ln E_P[exp(s L)] of one step for s of one real part, by the trapezoidal rule in the noise."""
    if q == 1:
        return np.asarray(s * (s + 1) / (2 * sigma**2))
    order = float(s[0].real)
    wide = np.concatenate([-np.geomspace(20 * sigma, 1e-3 * sigma, 300), np.linspace(0, 1, 100), [1.0]])
    wide = np.concatenate([wide, 1 + np.geomspace(1e-3 * sigma, order + 20 * sigma, 1500)])
    P, L = _densities(wide, sigma, q, add=add)
    exponent = P + order * L
    near = np.flatnonzero(exponent > exponent.max() - 60)
    x = np.linspace(
        wide[max(near[0] - 2, 0)] - sigma, wide[min(near[-1] + 2, len(wide) - 1)] + sigma, round(CELLS * finer**2)
    )
    P, L = _densities(x, sigma, q, add=add)
    found = []
    for part in np.array_split(s, max(1, len(s) // 100)):
        exponents = P + part[:, None] * L
        top = exponents.real.max(axis=1, keepdims=True)
        found.append(np.log(np.exp(exponents - top).sum(axis=1) * (x[1] - x[0])) + top[:, 0])
    return np.concatenate(found)


def _densities(x: Array, sigma: float, q: float, *, add: bool) -> tuple[Array, Array]:
    """ln P(x) and the privacy loss."""
    t = (x - 0.5) / sigma**2
    L = np.where(t < 30, np.log1p(q * np.expm1(np.minimum(t, 30))), t + np.log(q))
    absent = -(x**2) / (2 * sigma**2) - 0.5 * math.log(2 * math.pi * sigma**2)
    return (absent, -L) if add else (absent + L, L)
