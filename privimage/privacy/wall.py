"""Wall: whether what was charged under a bill is among what the bill counts. A bill is a limit, not a forecast.

Every access that was charged takes one place of the bill that admits it: an Event one place for an access that reveals
no more, AnyOf(events, times) `times` places for any of its events each, BestOf one for the same selection. Several
places may admit one access, so who takes which is a matching, found exactly (maximum flow). Where there is one, each
access is dominated by its place: so together they cost no more than the bill, in whatever order they came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from privimage.privacy.accounting.costs import AnyOf, Cost
from privimage.privacy.budget import Event


def dominates(counted: Cost, cost: Cost) -> bool:
    """Whether `counted` reveals at least as much as `cost`: the same, or the same access with no more noise.

    >>> asked = Event(purpose="query", sigma=5.0, split="train")
    >>> dominates(asked, asked.scaled(2)), dominates(asked, asked.scaled(0.5))
    (True, False)
    """
    if not isinstance(counted, Event) or not isinstance(cost, Event):
        return counted == cost
    return 0 < counted.sigma <= cost.sigma and counted == cost.model_copy(update={"sigma": counted.sigma})


def places(bill: Sequence[Cost]) -> int:
    """How many accesses a bill counts; a selection is one."""
    return sum(cost.times if isinstance(cost, AnyOf) else 1 for cost in bill)


def admits(bill: Sequence[Cost], charged: Iterable[Cost]) -> bool:
    """Whether every one of the costs that were charged finds a place of its own in the bill.

    >>> quiet = Event(purpose="dp-sgd", sigma=4.0, split="train")
    >>> loud = quiet.scaled(0.5)
    >>> bill = (quiet, AnyOf(events=(quiet, loud), times=2))
    >>> admits(bill, [quiet, loud, loud]), admits(bill, [loud, loud, quiet]), admits(bill, [loud, loud, loud])
    (True, True, False)
    """
    kinds = Counter(_who_admits(tuple(bill), cost) for cost in charged)  # those that the same places admit are alike
    if () in kinds:
        return False
    return _flow(kinds, [cost.times if isinstance(cost, AnyOf) else 1 for cost in bill]) == kinds.total()


@lru_cache(maxsize=2**16)
def _who_admits(bill: tuple[Cost, ...], cost: Cost) -> tuple[int, ...]:
    """Which lines of the bill have places that admit this cost. A charge that leaves a choice open finds none."""
    if isinstance(cost, AnyOf):
        return ()
    return tuple(i for i, counted in enumerate(bill) if any(dominates(one, cost) for one in options([counted])))


def options(bill: Sequence[Cost]) -> tuple[Cost, ...]:
    """Everything that one of these costs may turn out to be."""
    return tuple(one for cost in bill for one in (cost.events if isinstance(cost, AnyOf) else (cost,)))


def _flow(kinds: Counter[tuple[int, ...]], capacities: list[int]) -> int:
    """The most charges that can be placed at once: source -> kinds -> lines of the bill -> sink."""
    if not kinds:
        return 0
    from scipy.sparse import csr_array  # here: who only reads a ledger needs no matching
    from scipy.sparse.csgraph import maximum_flow

    source, first = 0, 1 + len(kinds)
    sink = first + len(capacities)
    edges = [(source, 1 + k, count) for k, count in enumerate(kinds.values())]
    edges += [(1 + k, first + i, count) for k, (lines, count) in enumerate(kinds.items()) for i in lines]
    edges += [(first + i, sink, capacity) for i, capacity in enumerate(capacities)]
    start, end, capacity = (np.array(column, np.int32) for column in zip(*edges, strict=True))
    graph = csr_array((capacity, (start, end)), shape=(sink + 1, sink + 1))
    return int(maximum_flow(graph, source, sink).flow_value)
