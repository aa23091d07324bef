"""One step of the Poisson-subsampled Gaussian mechanism as Losses in both directions, discretised to the safe side.

    remove   P = (1 - q) N(0, sigma^2) + q N(1, sigma^2),  Q = N(0, sigma^2)        add   the two exchanged

The loss rises with x (for add it falls), so a cell of the grid is an interval of x, whose probabilities under P and Q
are differences of normal tails. All that is in a cell moves to its two ends such that both are kept, which dominates
the pair that it stands for: "connect the dots" (Doroshenko et al. 2022). Done cell by cell, it keeps its digits in the
tails and on fine grids, where differences of the divergence curve lose them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from privimage.errors import InputError
from privimage.privacy.accounting.losses import Losses, points
from privimage.privacy.budget import Event

Array = NDArray[np.float64]
Pair = tuple[Losses, Losses]  # (remove, add)

LEAST_SIGMA, MOST_SIGMA, LEAST_Q, MOST_STEPS = 1e-4, 1e13, 1e-9, 10**8
REACH = 11.0  # standard deviations of the noise beyond which the loss counts as infinite (probability 2e-28)
TINY = 1e-290  # a probability that has lost digits


def check(event: Event) -> None:
    """Raise InputError for an access with noise, sampling or steps so extreme that its loss cannot be computed."""
    if not (LEAST_SIGMA <= event.sigma <= MOST_SIGMA and event.q >= LEAST_Q and event.steps <= MOST_STEPS):
        raise InputError(
            f"sigma {event.sigma:g}, q {event.q:g}, {event.steps} steps: cannot be accounted; sigma must lie in "
            f"{LEAST_SIGMA:g} .. {MOST_SIGMA:g}, q be at least {LEAST_Q:g}, and there may be {MOST_STEPS:g} steps"
        )


def once(event: Event, step: float) -> Pair:
    """(remove, add) of one step of the event, on the grid of `step`."""
    return _once(sigma=event.sigma, q=event.q, step=step)


def _once(*, sigma: float, q: float, step: float) -> Pair:
    low, high = _ends(sigma, q)
    places = math.floor(low / step) + np.arange(points((high - low) / step) + 2)
    losses = np.asarray(places * step, dtype=np.float64)
    x = _inverse(losses, sigma, q)
    x[0], x[-1] = -np.inf, np.inf
    absent = _between(x / sigma)
    mixed = (1 - q) * absent + q * _between((x - 1) / sigma)
    beyond = float(ndtr(-REACH))
    remove = _dots(mixed, absent, losses, step)
    add = _dots(absent[::-1], mixed[::-1], -losses[::-1], step)
    return (
        Losses(step=step, low=int(places[0]), mass=remove, infinite=beyond),
        Losses(step=step, low=-int(places[-1]), mass=add, infinite=beyond),
    )


def variance(*, sigma: float, q: float) -> float:
    """The variance of the loss of one step under P, by quadrature: for remove; that for add differs little."""
    z = np.linspace(-REACH, REACH, 1001)
    density = np.exp(-(z**2) / 2)
    weight = np.concatenate([(1 - q) * density, q * density]) / density.sum()
    loss = _loss(np.concatenate([sigma * z, 1 + sigma * z]), sigma, q)
    return float(weight @ (loss - weight @ loss) ** 2)


def span(*, sigma: float, q: float) -> float:
    """How far the losses of one step lie apart, those counted as infinite left out."""
    low, high = _ends(sigma, q)
    return high - low


def _ends(sigma: float, q: float) -> tuple[float, float]:
    low, high = _loss(np.array([-REACH * sigma, 1 + REACH * sigma]), sigma, q)
    return float(low), float(high)


def _loss(x: Array, sigma: float, q: float) -> Array:
    t = (x - 0.5) / sigma**2
    if q == 1:
        return np.asarray(t)
    near = np.log1p(q * np.expm1(np.minimum(t, 30.0)))
    return np.asarray(np.where(t < 30, near, t + np.log(q) + np.log1p((1 - q) / q * np.exp(-np.maximum(t, 30.0)))))


def _inverse(loss: Array, sigma: float, q: float) -> Array:
    """The x of a loss; minus infinity below ln(1 - q), the least of all losses."""
    if q == 1:
        return np.asarray(loss * sigma**2 + 0.5)
    with np.errstate(divide="ignore"):
        near = np.log1p(np.maximum(np.expm1(np.minimum(loss, 30.0)) / q, -1.0))
    far = loss - np.log(q) + np.log1p(-(1 - q) * np.exp(-np.maximum(loss, 30.0)))
    return np.asarray(np.where(loss < 30, near, far) * sigma**2 + 0.5)


def _between(z: Array) -> Array:
    """Normal probabilities of the intervals between neighbouring z, from the nearer tail."""
    return np.asarray(np.where(z[1:] <= 0, ndtr(z[1:]) - ndtr(z[:-1]), ndtr(-z[:-1]) - ndtr(-z[1:])))


def _dots(P: Array, Q: Array, losses: Array, step: float) -> Array:
    """Probabilities at `losses`, the ends of the cells that hold `P` and `Q`: those of P and of Q are both kept.

    Where Q has no digits left, the whole cell moves to its upper end.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        upper = (P - Q * np.exp(losses[:-1])) / -np.expm1(-step)
    upper = np.where((Q > TINY) & np.isfinite(upper), np.clip(upper, 0, P), P)
    return np.asarray(np.append(P - upper, 0.0) + np.append(0.0, upper))
