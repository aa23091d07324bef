"""Renyi divergences of costs, and their epsilon: the paper's accountant, and the ledger's filter.

RDP adds up over accesses whatever they are, also when each is chosen after the answers of those before it, as long as
the sum at one order, fixed beforehand, is kept below a number that was fixed beforehand: a filter (Feldman and Zrnic
2021, Thm. 4.3). A sum that is declared before the first access needs no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privimage.privacy.accounting import bounds
from privimage.privacy.accounting.costs import BestOf, Cost
from privimage.privacy.accounting.renyi import divergence
from privimage.privacy.budget import Event, Split

Array = NDArray[np.float64]

ORDERS: Array = np.array(
    [*np.arange(1.1, 4, 0.1), *np.arange(4, 11, 0.5), *range(11, 64), 80, 128, 256, 512, 1024, 2048, 4096]
)


@lru_cache(maxsize=256)
def _of_event(event: Event) -> Array:
    return event.steps * np.array([divergence(q=event.q, sigma=event.sigma, order=order) for order in ORDERS.tolist()])


def divergences(costs: Sequence[Cost], split: Split) -> Array:
    """Renyi divergences at ORDERS of everything that these costs ask of one split."""
    total = np.zeros(len(ORDERS))
    for cost in costs:
        total += _of_cost(cost, split)
    return total


def _of_cost(cost: Cost, split: Split) -> Array:
    if isinstance(cost, Event):
        return _of_event(cost) if cost.split == split else np.zeros(len(ORDERS))
    events = (cost.score,) if isinstance(cost, BestOf) and split == "validation" else cost.events
    values = [_of_event(event) for event in events if event.split == split]
    if not values:
        return np.zeros(len(ORDERS))
    worst = np.max(values, axis=0)
    return bounds.rdp(cost.law, ORDERS, worst) if isinstance(cost, BestOf) else cost.times * worst


def epsilon_at(values: Array, delta: float) -> Array:
    """Epsilon at `delta` that the divergence at each order implies alone (Balle et al. 2020, Thm. 21)."""
    return np.asarray(np.maximum(values + _conversion(delta), 0.0))


def divergences_at(epsilon: float, delta: float) -> Array:
    """The divergence at each order that implies `epsilon` at `delta`; not positive where the order cannot do so little.

    >>> bool(np.allclose(epsilon_at(divergences_at(3.0, 1e-5), 1e-5), 3.0))
    True
    """
    return np.asarray(epsilon - _conversion(delta))


def _conversion(delta: float) -> Array:
    return np.asarray(np.log1p(-1 / ORDERS) - (np.log(delta) + np.log(ORDERS)) / (ORDERS - 1))
