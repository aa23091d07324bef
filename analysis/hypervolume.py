"""Hypervolume: how much of a box a front dominates, as one number, with its interval over repetitions.

The box reaches from the best corner to the reference point, which is the worst: what a front dominates of it, as a
share of the whole. 1 would be the best corner itself, 0 a front that is nowhere better than the reference point. The
number says nothing alone: two fronts are compared in one box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from privimage.analysis.pareto import undominated

CONFIDENCE = 0.95


def hypervolume(points: Sequence[Sequence[float]], *, reference: Sequence[float]) -> float:
    """The volume that the points dominate up to the reference point, where smaller is better in every coordinate.

    Points that are not better than the reference in all coordinates, or that another dominates, add nothing. By slices
    of the first coordinate: exact, and for the few points of a front.

    >>> hypervolume([(0, 2), (1, 1), (1, 3)], reference=(3, 3))
    5.0
    """
    within = sorted({tuple(p) for p in points if all(x < r for x, r in zip(p, reference, strict=True))})
    inside = [within[i] for i in undominated(within, directions=["min"] * len(reference))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return float(reference[0] - inside[0][0])
    ends = [*(point[0] for point in inside[1:]), reference[0]]
    return sum(
        (end - point[0]) * hypervolume([other[1:] for other in inside[: i + 1]], reference=reference[1:])
        for i, (point, end) in enumerate(zip(inside, ends, strict=True))
        if end > point[0]
    )


@dataclass(frozen=True, kw_only=True)
class Box:
    """The best corner and the reference point, smaller being better in every coordinate."""

    best: tuple[float, ...]
    reference: tuple[float, ...]

    def share(self, points: Sequence[Sequence[float]]) -> float:
        """The part of the box that the points dominate, in [0, 1]."""
        sides = [r - b for b, r in zip(self.best, self.reference, strict=True)]
        inside = [[max(x, b) for x, b in zip(point, self.best, strict=True)] for point in points]
        return hypervolume(inside, reference=self.reference) / math.prod(sides)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The mean of repetitions, and half the width of its interval (None for a single one: nothing is known of it)."""

    mean: float
    half: float | None
    n: int

    @staticmethod
    def of(values: Sequence[float]) -> Interval:
        """By Student's t, at CONFIDENCE."""
        n = len(values)
        if n < 2:
            return Interval(mean=values[0], half=None, n=n)
        return Interval(mean=fmean(values), half=_t(n - 1) * math.sqrt(variance(values) / n), n=n)

    def __sub__(self, other: Interval) -> Interval:
        """The difference of two independent means, by Welch's t; `n` is the smaller of both."""
        n = min(self.n, other.n)
        if self.half is None or other.half is None:
            return Interval(mean=self.mean - other.mean, half=None, n=n)
        parts = [(self.half / _t(self.n - 1)) ** 2, (other.half / _t(other.n - 1)) ** 2]
        total = sum(parts)
        if total == 0:
            return Interval(mean=self.mean - other.mean, half=None, n=n)  # no spread was seen: how sure is not known
        freedom = total**2 / (parts[0] ** 2 / (self.n - 1) + parts[1] ** 2 / (other.n - 1))
        return Interval(mean=self.mean - other.mean, half=_t(freedom) * math.sqrt(total), n=n)


def _t(freedom: float) -> float:
    from scipy.stats import t  # here: half a second

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))
