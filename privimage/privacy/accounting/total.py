"""What a list of costs costs: epsilon at a delta, delta at an epsilon, and what an adversary can tell. One place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privimage.errors import InputError
from privimage.privacy.accounting import pld, rdp
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.accounting.gaussian import Pair
from privimage.privacy.budget import Event, Split

LEAST_DELTA = 1e-15  # what is rounded and cut off may come to a twentieth of it
SPLITS: tuple[Split, ...] = ("train", "validation")
Array = NDArray[np.float64]


def epsilon(costs: Sequence[Cost], delta: float) -> float:
    """Upper bound on the total epsilon at `delta` of all costs together, by PLD; infinite without noise.

    For accesses of fixed noise it is less than 0.1% above the exact cost. Raises InputError for a delta, a noise or a
    number of accesses beyond what can be computed (`gaussian.check`, `losses.MOST_POINTS`).

    For a selection and for accesses that are chosen on the way, RDP is a bound of its own: the smaller one is taken.

    >>> from privimage.privacy.accounting.costs import AnyOf, BestOf
    >>> from privimage.privacy.accounting.law import Law
    >>> sgd = Event(purpose="dp-sgd", sigma=1.0, q=0.02, steps=1000, split="train")
    >>> score = Event(purpose="score", sigma=10.0, split="validation")
    >>> costs = {"one run": sgd, "ten, all seen": AnyOf(events=(sgd,), times=10)}
    >>> costs["best of ten"] = BestOf(law=Law(mean=10), events=(sgd,), score=score)
    >>> {name: round(epsilon([cost], 1e-5), 2) for name, cost in costs.items()}
    {'one run': 3.9, 'ten, all seen': 14.24, 'best of ten': 5.56}
    >>> epsilon([Event(purpose="training", sigma=0, split="train")], 1e-5)
    inf
    >>> epsilon([], 1e-5)
    0.0
    """
    if delta < LEAST_DELTA:
        raise InputError(f"delta {delta:g}: smaller than double precision can account; use at least {LEAST_DELTA:g}")
    if not all(cost.private for cost in costs):
        return math.inf
    merged = _merged(costs)
    simple = all(isinstance(cost, Event) for cost in merged)
    return max(_least_bound(merged, split, delta, simple=simple) for split in SPLITS)


def epsilon_rdp(costs: Sequence[Cost], delta: float) -> float:
    """Total epsilon at `delta` by RDP, the paper's accountant: looser than `epsilon`, shown beside it.

    >>> round(epsilon_rdp([Event(purpose="dp-sgd", sigma=1.0, q=0.02, steps=1000, split="train")], 1e-5), 2)
    4.32
    """
    if not all(cost.private for cost in costs):
        return math.inf
    return max(_rdp(_merged(costs), split, delta) for split in SPLITS)


def deltas(costs: Sequence[Cost], epsilons: Array) -> Array:
    """The privacy curve: the smallest delta at each of `epsilons`, by PLD; 1 without noise.

    >>> deltas([Event(purpose="query", sigma=2.0, split="train")], np.array([0.0, 1.0, 2.0])).round(5)
    array([1.9741e-01, 6.8300e-03, 1.0000e-05])
    """
    if not all(cost.private for cost in costs):
        return np.ones(len(epsilons))
    found = [p for split in SPLITS if (p := _pld(_merged(costs), split)) is not None]
    curves = [losses.deltas(epsilons) for pair in found for losses in pair]
    return np.asarray(np.max(curves, axis=0, initial=0.0)) if curves else np.zeros(len(epsilons))


def tpr(costs: Sequence[Cost], fpr: float) -> float:
    """The most that an adversary can hope for: true positives at a rate of false positives, in membership inference.

    With any test of "was this example there?", whatever else the adversary knows.

    >>> round(tpr([Event(purpose="dp-sgd", sigma=1.0, q=0.02, steps=1000, split="train")], 0.001), 3)
    0.013
    """
    epsilons = np.arange(0, 60, 0.01)
    return float(np.min(np.minimum(1.0, np.exp(epsilons) * fpr + deltas(costs, epsilons))))


def _merged(costs: Sequence[Cost]) -> tuple[Cost, ...]:
    """The same costs with equal mechanisms as one event of more steps, in a fixed order: faster to compose."""
    steps: dict[Event, int] = {}
    others: list[Cost] = []
    for cost in costs:
        if isinstance(cost, Event):
            same = cost.mechanism.model_copy(update={"steps": 1})
            steps[same] = steps.get(same, 0) + cost.steps
        else:
            others.append(cost)
    events = [event.model_copy(update={"steps": n}) for event, n in steps.items()]
    return (*sorted(events, key=repr), *sorted(others, key=repr))


def _least_bound(costs: tuple[Cost, ...], split: Split, delta: float, *, simple: bool) -> float:
    by_pld = _epsilon(costs, split, delta)
    return by_pld if simple else min(by_pld, _rdp(costs, split, delta))


@lru_cache(maxsize=16)
def _pld(costs: tuple[Cost, ...], split: Split) -> Pair | None:
    return pld.of_costs(costs, split)


@lru_cache(maxsize=4096)
def _epsilon(costs: tuple[Cost, ...], split: Split, delta: float) -> float:
    total = _pld(costs, split)
    return 0.0 if total is None else max(losses.epsilon(delta) for losses in total)


@lru_cache(maxsize=4096)
def _rdp(costs: tuple[Cost, ...], split: Split, delta: float) -> float:
    values = rdp.divergences(costs, split)
    return float(rdp.epsilon_at(values, delta).min()) if values.any() else 0.0
