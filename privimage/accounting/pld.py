"""The privacy loss of costs as pairs of distributions (PLD), by Google's dp-accounting: upper bounds, both directions.

The PLD of one event comes from the library, discretised pessimistically ("connect the dots", Doroshenko et al. 2022).
The other two costs are bounds on the hockey-stick divergences that an adversary can reach, on a grid of epsilons;
connecting their dots gives a pair of distributions that dominates them, which composes with everything else.

AnyOf. Fix a direction of neighbours and let h(e) be the largest hockey-stick divergence at e of any event that may be
chosen. h is convex in exp(e), falling, and at least (1 - exp(e))+, so some pair (P, Q) has exactly this curve, and it
dominates every event (Zhu, Dong and Wang 2022, Prop. 8). If each of `times` accesses is dominated by (P, Q) whatever
was answered before, their adaptive composition is dominated by `times` copies of it (ibid., Thm. 10). So the number of
accesses is fixed beforehand, the choice among the events is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from dp_accounting.pld import pld_pmf
from dp_accounting.pld import privacy_loss_distribution as dpa
from numpy.typing import NDArray

from privimage.budget import BestOf, Cost, Event, Split
from privimage.tuning import bounds
from privimage.tuning.law import Law

Array = NDArray[np.float64]

GRID = 5e-4  # of the privacy loss; one value everywhere, so that calibrating then accounting agree exactly
TAIL = 1e-14  # the privacy loss beyond the grid of a bound, taken as infinite
STRIDE = 8  # of the grid, for a bound: chords so short cost 1e-6 of its height, and finer ones drown in rounding


@lru_cache(maxsize=256)
def of_event(event: Event) -> Any:
    """The PLD of an event, all its steps."""
    if event.cap is not None:
        once = dpa.from_truncated_subsampled_gaussian_mechanism(
            dataset_size=event.n,
            sampling_probability=event.q,
            truncated_batch_size=event.cap,
            noise_multiplier=event.sigma,
            value_discretization_interval=GRID,
        )
    else:
        once = dpa.from_gaussian_mechanism(event.sigma, sampling_prob=event.q, value_discretization_interval=GRID)
    return once if event.steps == 1 else once.self_compose(event.steps)


def of_costs(costs: Sequence[Cost], split: Split) -> Any | None:
    """The PLD of everything that these costs ask of one split, composed; None if they do not ask it anything."""
    parts = [part for cost in costs if (part := _of_cost(cost, split)) is not None]
    if not parts:
        return None
    total = parts[0]
    for part in parts[1:]:
        total = total.compose(part)
    return total


def _of_cost(cost: Cost, split: Split) -> Any | None:
    if isinstance(cost, Event):
        return of_event(cost) if cost.split == split else None
    events = (cost.score,) if isinstance(cost, BestOf) and split == "validation" else cost.events
    events = tuple(dict.fromkeys(event for event in events if event.split == split))
    if not events:
        return None
    return _best_of(cost.law, events) if isinstance(cost, BestOf) else _any_of(events, cost.times)


@lru_cache(maxsize=64)
def _any_of(events: tuple[Event, ...], times: int) -> Any:
    if len(events) == 1:
        (event,) = events
        return of_event(event.model_copy(update={"steps": event.steps * times}))
    plds = [of_event(event) for event in events]
    most = max(_reach(pld) for pld in plds) // STRIDE + 1
    index = np.arange(-most, most + 1) * STRIDE
    remove, add = (
        _dots(index, np.max([getattr(pld, side).get_delta_for_epsilon(index * GRID) for pld in plds], axis=0))
        for side in ("_pmf_remove", "_pmf_add")
    )
    once = dpa.PrivacyLossDistribution(remove, add)
    return once if times == 1 else once.self_compose(times)


@lru_cache(maxsize=64)
def _best_of(law: Law, events: tuple[Event, ...]) -> Any:
    """See `tuning.bounds`; the bound is the same in both directions.

    Below 0 it follows from above 0: H_{-e}(P, P') = 1 - exp(-e) (1 - H_e(P', P)).
    """
    plds = [of_event(event) for event in events]
    epsilons = _multiples(max(_reach(pld) for pld in plds) // STRIDE + 2)
    deltas: Array = np.max([pld.get_delta_for_epsilon(epsilons) for pld in plds], axis=0)  # of the worse direction
    most = len(epsilons) + int(bounds.log_ratio(law, epsilons, deltas) / GRID / STRIDE)
    at = _multiples(most + 1)
    above = bounds.profile(law, epsilons, deltas, at).clip(0, 1)
    below = 1 - np.exp(-at[:0:-1]) * (1 - above[:0:-1])
    pmf = _dots(np.arange(-most, most + 1) * STRIDE, np.concatenate([below, above]))
    return dpa.PrivacyLossDistribution(pmf)


def _multiples(count: int) -> Array:
    return np.arange(count, dtype=np.float64) * (STRIDE * GRID)


def _reach(pld: Any) -> int:
    """Steps of the grid up to where at most TAIL, or what is infinite anyway, lies beyond."""
    tail = max(TAIL, 1.5 * float(pld.get_delta_for_epsilon(1e4)))
    return int(np.ceil(pld.get_epsilon_for_delta(tail) / GRID)) + 1


def _dots(index: NDArray[np.int_], deltas: Array) -> Any:
    falling = np.minimum.accumulate(deltas.clip(0, 1))  # against rounding errors: the curves fall from 1
    return pld_pmf.create_pmf_pessimistic_connect_dots(GRID, index, falling)
