"""The privacy loss of costs as pairs of distributions (PLD), one for each direction of neighbours: upper bounds.

One grid for all that is composed, and it follows from what is composed: its step is FINE of the standard deviation that
one access adds on average. To move a loss to the ends of its cell adds about a sixth of the step's square to the
variance, so over all accesses FINE^2 / 6 of the variance of the whole, and half that share to its epsilon.

An event is discretised in `gaussian`. The other two costs are bounds on the hockey-stick divergences that an adversary
can reach, at the points of the grid; connecting their dots gives a pair of distributions that dominates them, which
composes with everything else.

AnyOf. Fix a direction of neighbours and let h(e) be the largest hockey-stick divergence at e of any event that may be
chosen. h is convex in exp(e), falling, and at least (1 - exp(e))+, so some pair (P, Q) has exactly this curve, and it
dominates every event (Zhu, Dong and Wang 2022, Prop. 8). If each of `times` accesses is dominated by (P, Q) whatever
was answered before, their adaptive composition is dominated by `times` copies of it (ibid., Thm. 10). So the number of
accesses is fixed beforehand, the choice among the events is free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from privimage.privacy.accounting import bounds, gaussian
from privimage.privacy.accounting.costs import BestOf, Cost
from privimage.privacy.accounting.gaussian import Pair
from privimage.privacy.accounting.law import Law
from privimage.privacy.accounting.losses import Losses, compose, from_curve, points
from privimage.privacy.budget import Event, Split

Array = NDArray[np.float64]

FINE = 0.03
COARSE = 2.0**-18  # least step over the range of one access's loss: where large losses are rare, this is fine enough
LEAST_STEP = 1e-11  # finer, and the probabilities of a cell under P and Q cannot be told apart in double precision
TAIL = 1e-22  # the privacy loss of a choice or a selection beyond which it is taken as infinite


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Something that is composed `times` times: variance and range of its loss, and its losses on a grid."""

    times: int
    variance: float
    span: float
    on_grid: Callable[[float], Pair]


def of_costs(costs: Sequence[Cost], split: Split) -> Pair | None:
    """The PLD of everything that these costs ask of one split, composed; None if they do not ask it anything."""
    parts = [part for cost in costs if (part := _part(cost, split)) is not None]
    return _composed(parts) if parts else None


@lru_cache(maxsize=64)
def of_event(event: Event) -> Pair:
    """The PLD of an event, all its steps, on a grid of its own."""
    return _composed([_part_of_event(event)])


def _composed(parts: Sequence[_Part]) -> Pair:
    variance, times = sum(part.times * part.variance for part in parts), sum(part.times for part in parts)
    step = max(LEAST_STEP, FINE * math.sqrt(variance / times), COARSE * max(part.span for part in parts))
    pairs = [(part.on_grid(step), part.times) for part in parts]
    remove, add = (compose([(pair[side], times) for pair, times in pairs]) for side in (0, 1))
    return remove, add


def _part(cost: Cost, split: Split) -> _Part | None:
    if isinstance(cost, Event):
        return _part_of_event(cost) if cost.split == split else None
    events = (cost.score,) if isinstance(cost, BestOf) and split == "validation" else cost.events
    events = tuple(dict.fromkeys(event.mechanism for event in events if event.split == split))
    if not events:
        return None
    parts = [_part_of_event(event) for event in events]
    variance, span = max(part.times * part.variance for part in parts), max(part.span for part in parts)
    if isinstance(cost, BestOf):
        return _Part(times=1, variance=variance, span=span, on_grid=partial(_best_of, cost.law, events))
    if len(events) == 1:
        return _part_of_event(events[0].model_copy(update={"steps": events[0].steps * cost.times}))
    return _Part(times=cost.times, variance=variance, span=span, on_grid=partial(_any_of, events))


def _part_of_event(event: Event) -> _Part:
    gaussian.check(event)
    variance, span = gaussian.variance(sigma=event.sigma, q=event.q), gaussian.span(sigma=event.sigma, q=event.q)
    return _Part(times=event.steps, variance=variance, span=span, on_grid=partial(gaussian.once, event))


def _any_of(events: tuple[Event, ...], step: float) -> Pair:
    plds = [of_event(event) for event in events]
    at = _grid(max(map(_reach, plds)), step)
    remove, add = (np.max([pld[side].deltas(at) for pld in plds], axis=0) for side in (0, 1))
    return _from_curve(remove, add, at, step), _from_curve(add, remove, at, step)


def _best_of(law: Law, events: tuple[Event, ...], step: float) -> Pair:
    """See `tuning.bounds`; the bound is the same in both directions."""
    plds = [of_event(event) for event in events]
    epsilons = _grid(max(map(_reach, plds)) + step, step)
    deltas: Array = np.max([losses.deltas(epsilons) for pld in plds for losses in pld], axis=0)
    at = _grid(float(epsilons[-1]) + bounds.log_ratio(law, epsilons, deltas), step)
    curve = bounds.profile(law, epsilons, deltas, at).clip(0, 1)
    both = _from_curve(curve, curve, at, step)
    return both, both


def _grid(end: float, step: float) -> Array:
    """0, step, ... up to `end` or just beyond."""
    return np.asarray(np.arange(points(end / step) + 1) * step, dtype=np.float64)


def _from_curve(curve: Array, other: Array, at: Array, step: float) -> Losses:
    """The losses with divergences `curve` at the epsilons `at` = 0, step, ...; `other` is that of the other direction.

    Below 0 the one follows from the other: H_{-e}(P, P') = 1 - exp(-e) (1 - H_e(P', P)).
    """
    below = 1 - np.exp(-at[:0:-1]) * (1 - other[:0:-1])
    return from_curve(np.concatenate([below, curve]), low=1 - len(at), step=step)


def _reach(pld: Pair) -> float:
    """The epsilon up to which more than TAIL, or than what is infinite anyway, lies beyond."""
    return max(losses.epsilon(max(TAIL, 1.5 * losses.infinite)) for losses in pld)
