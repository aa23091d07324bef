"""Losses: a privacy loss distribution on a grid, one direction of neighbours; composed by FFT, read at any delta.

A pair of distributions (P, Q) is known by the law of L = ln(P/Q) under P: its hockey-stick divergence at e is
E[(1 - exp(e - L))+]. Here L lies on multiples of `step`, or is infinite. Every operation errs to the safe side: what
is cut off is counted as infinite loss, and what an FFT may have rounded away is added to each probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from privimage.errors import InputError

Array = NDArray[np.float64]

TAIL = 1e-24  # probability on either side of the window of a composition, counted as infinite loss
NOTHING = 1e-32  # so little probability may be left away MOST_POINTS times
DEEP = 1e-9  # the tail probability about which a composition is most precise
ORDERS = 32  # that are tried for the bounds on tails
MORE = 2.0 ** np.arange(-6, 4)  # of the bound on the tail of a tilted law, over its order
FARTHEST = 700.0  # exp of it is still a double
MOST_POINTS = 2**22  # of a grid: half a GiB and seconds


@dataclass(frozen=True, kw_only=True)
class Losses:
    """P[L = (low + i) step] = `mass[i]`, P[L infinite] at most `infinite`."""

    step: float
    low: int
    mass: Array
    infinite: float

    @property
    def values(self) -> Array:
        """The losses of `mass`."""
        return np.asarray((self.low + np.arange(len(self.mass))) * self.step)

    @cached_property
    def log_mass(self) -> Array:
        """Natural logarithms of `mass`."""
        with np.errstate(divide="ignore"):
            return np.log(self.mass)

    def delta(self, epsilon: float) -> float:
        """The hockey-stick divergence at one epsilon."""
        first = min(max(0, math.floor(epsilon / self.step) + 1 - self.low), len(self.mass))
        above = -np.expm1(epsilon - (self.low + np.arange(first, len(self.mass))) * self.step)
        return min(1.0, float(self.mass[first:] @ above.clip(min=0)) + self.infinite)

    def deltas(self, epsilons: Array) -> Array:
        """The hockey-stick divergences at many epsilons >= 0, in one pass; beyond FARTHEST that at FARTHEST."""
        at = np.minimum(epsilons, FARTHEST)
        scaled = self.mass * np.exp(-self.values.clip(-FARTHEST, None))
        upper, lower = (np.append(part[::-1].cumsum()[::-1], 0.0) for part in (self.mass, scaled))
        first = np.clip(np.floor(at / self.step).astype(np.int64) + 1 - self.low, 0, len(self.mass))
        return np.asarray((upper[first] - np.exp(at) * lower[first]).clip(min=0) + self.infinite).clip(max=1)

    def epsilon(self, delta: float) -> float:
        """The smallest epsilon >= 0 whose divergence is at most `delta`; infinite where none is."""
        if self.infinite > delta:
            return math.inf
        if self.delta(0.0) <= delta:
            return 0.0
        low, high = max(-1, -self.low), len(self.mass) - 1  # places: the divergence there is too large, small enough
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.delta((self.low + middle) * self.step) <= delta else (middle, high)
        end = (self.low + high) * self.step  # up to here it is U + infinite - exp(e - end) V
        upper, lower = self.mass[high:].sum(), self.mass[high:] @ np.exp(end - self.values[high:])
        return max(0.0, end + math.log((upper + self.infinite - delta) / lower))


def points(count: float) -> int:
    """So many points of a grid, rounded up. Raises InputError if they are more than MOST_POINTS."""
    if not count <= MOST_POINTS:
        raise InputError(
            f"these accesses cannot be accounted: their privacy loss needs {count:.3g} points, of {MOST_POINTS:.3g} at "
            "most; ask for fewer steps, a larger sampling probability q or more noise"
        )
    return math.ceil(count)


def from_curve(curve: Array, *, low: int, step: float) -> Losses:
    """The losses on the places `low`, `low` + 1, ... whose hockey-stick divergences there are `curve`.

    Between two places the divergence is the chord, linear in exp(epsilon), so a larger curve was never meant. What
    rounding makes of a curve that should fall and be convex is taken upwards.
    """
    falling = -np.diff(np.minimum.accumulate(curve))
    down, up = falling / -math.expm1(-step), falling / math.expm1(step)
    mass = np.concatenate([[1 - curve[0]], down]) - np.concatenate([up, [0.0]])
    return Losses(step=step, low=low, mass=mass.clip(min=0), infinite=float(curve[-1]))


def compose(parts: Sequence[tuple[Losses, int]]) -> Losses:
    """The losses of all parts together, each so many times; all on one grid.

    Rounding errors of an FFT are of one size everywhere, so a far tail would drown in them. Hence it is done twice, the
    second time on probabilities tilted by exp(order * loss), whose bulk is that tail: where the tilt makes the bound
    on its error, `share`, smaller than 1, the second one counts.
    """
    (first, once), times = parts[0], sum(count for _, count in parts)
    if times == once == 1:
        return first
    low, high, order = _window(parts)
    places = low + np.arange(points(high - low) + 1)
    share = np.exp(np.minimum(_log_mgfs(parts, order) - order * places, 0.0))
    mass = np.where(share < 1, share * _convolved(parts, low, high, order), _convolved(parts, low, high, 0.0))
    mass = mass.clip(min=0) + 2.0**-51 * (times + 10) / len(places) * share  # several times the largest error seen
    kept = slice(np.flatnonzero(mass > NOTHING)[-1] + 1)  # what lies beyond comes to less than TAIL
    infinite = 3 * TAIL - math.expm1(sum(count * math.log1p(-part.infinite) for part, count in parts))
    return Losses(step=first.step, low=low, mass=mass[kept], infinite=infinite)


def _convolved(parts: Sequence[tuple[Losses, int]], low: int, high: int, order: float) -> Array:
    """The probabilities of the sum at places low .. high, each under its part's tilted law."""
    size = int(fft.next_fast_len(high - low + 1, real=True))
    product = np.ones(size // 2 + 1, np.complex128)
    for part, count in parts:
        tilted = np.exp(order * _places(part) + part.log_mass - _log_mgf(part, order)) if order else part.mass
        wrapped = np.bincount(_places(part) % size, weights=tilted, minlength=size)  # read in the window alone
        product *= fft.rfft(wrapped) ** count
    return np.asarray(np.roll(fft.irfft(product, size), -(low % size))[: high - low + 1])


def _window(parts: Sequence[tuple[Losses, int]]) -> tuple[int, int, float]:
    """Places between which all but TAIL on either side lies, also when tilted by the order that is best for DEEP.

    By Chernoff's bound: P[S >= x] <= exp(K(t) - t x), and K(order + t) - K(order) in place of K(t) when tilted.
    """
    need, variance = -math.log(TAIL), sum(count * _variance(part) for part, count in parts)
    widest = max(len(part.mass) for part, _ in parts)
    orders = np.geomspace(1 / max(widest, 64 * math.sqrt(variance)), 64 / math.sqrt(variance), ORDERS)
    up, down = (np.array([_log_mgfs(parts, sign * order) for order in orders]) for sign in (1, -1))
    best = int(np.argmin((up - math.log(DEEP)) / orders))
    more = orders[best] * MORE
    tilted = np.array([_log_mgfs(parts, orders[best] + order) for order in more]) - up[best]
    low = sum(count * part.low for part, count in parts)
    last = low + sum(count * (len(part.mass) - 1) for part, count in parts)
    high = min(last, math.ceil(max(np.min((up + need) / orders), np.min((tilted + need) / more))))
    return max(low, math.floor(np.max(-(down + need) / orders))), high, float(orders[best])


def _places(part: Losses) -> NDArray[np.int64]:
    return part.low + np.arange(len(part.mass))


def _variance(part: Losses) -> float:
    mean = part.mass @ _places(part) / part.mass.sum()
    return float(part.mass @ (_places(part) - mean) ** 2) + 1e-12


def _log_mgfs(parts: Sequence[tuple[Losses, int]], order: float) -> float:
    return sum(count * _log_mgf(part, order) for part, count in parts)


def _log_mgf(part: Losses, order: float) -> float:
    """ln E[exp(order * place)]."""
    exponent = order * _places(part) + part.log_mass
    most = float(exponent.max())
    return most + math.log(float(np.exp(exponent - most).sum()))
