"""Whatever is charged, reserved and closed in whatever order: what a cap admits never costs more than the cap."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from capped_ledger import CAP, SGD, capped, part
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage.errors import BudgetExceeded
from privimage.privacy.accounting import epsilon
from privimage.privacy.accounting.costs import AnyOf, Cost
from privimage.privacy.budget import Budget, Event

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["charge", "charge", "reserve", "close"]), st.sampled_from("abc"), st.booleans(),
        st.integers(1, 12), st.sampled_from(["query", "score"]),
    ),
    max_size=14,
)  # fmt: skip


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_any_sequence_is_admitted_as_by_an_independent_count(steps: list[tuple[str, str, bool, int, str]]) -> None:
    """Prices in thirtieths of the cap, as integers: what counts is recomputed from the whole history each time."""
    charges: list[tuple[str | None, str, int]] = []
    reserved: dict[str, tuple[str, int]] = {}

    def within_bills() -> bool:
        """A bill of one access counts one charge, of the same split, that is no larger."""
        under = {id: [(s, n) for u, s, n in charges if u == id] for id in reserved}
        return all(
            not mine or (len(mine) == 1 and mine[0][0] == reserved[id][0] and mine[0][1] <= reserved[id][1])
            for id, mine in under.items()
        )

    def counted(split: str) -> int:
        total = sum(n for under, s, n in charges if s == split and under not in reserved)
        for id, (s, n) in reserved.items():
            total += max(n if s == split else 0, sum(m for u, t, m in charges if u == id and t == split))
        return total

    with tempfile.TemporaryDirectory() as folder:
        ledger = capped(Path(folder))
        for number, (verb, id, cites, size, split) in enumerate(steps):
            event = part(size / 30, split)
            if verb == "close":
                assert ledger.close(id) == (reserved.pop(id, None) is not None)
                continue
            if verb == "charge":
                charges.append((id if cites else None, split, size))
                undo: Callable[[], Any] = charges.pop
                act = lambda: ledger.charge(  # noqa: E731
                    id=str(number), what="x", events=(event,), under=id if cites else None  # noqa: B023
                )  # fmt: skip
            else:
                old, reserved[id] = reserved.get(id), (split, size)
                undo = lambda: reserved.pop(id) if old is None else reserved.update({id: old})  # noqa: E731, B023
                act = lambda: ledger.reserve(id=id, what="x", events=(event,))  # noqa: E731, B023
            orphan = verb == "charge" and cites and id not in reserved
            if not orphan and within_bills() and max(counted("query"), counted("score")) <= 30:
                act()
            else:
                undo()
                with pytest.raises(BudgetExceeded):
                    act()
            spending = ledger.spending()
            assert spending is not None
            assert np.allclose(spending.counted * 30 / CAP.rho, [counted("query"), counted("score")])
        assert ledger.verify() == "agrees"


COSTS = st.one_of(
    st.builds(lambda s: Event(purpose="query", split="train", sigma=s), st.floats(0.5, 20)),
    st.builds(
        lambda s, q: Event(purpose="dp-sgd", split="train", sigma=s, q=q, steps=20),
        st.floats(0.8, 8),
        st.floats(0.05, 1),
    ),
    st.builds(lambda s: Event(purpose="score", split="validation", sigma=s), st.floats(0.5, 20)),
    st.builds(
        lambda s, n: AnyOf(events=(SGD, Event(purpose="query", split="train", sigma=s)), times=n),
        st.floats(1, 9),
        st.just(2),
    ),
)


@given(st.lists(COSTS, max_size=6), st.floats(1, 15))
@settings(max_examples=25, deadline=None)
def test_what_is_admitted_never_costs_more_than_the_cap(costs: list[Cost], target: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = capped(Path(folder), Budget(epsilon=target, delta=1e-5))
        for i, cost in enumerate(costs):
            with suppress(BudgetExceeded):
                ledger.charge(id=str(i), what="x", events=(cost,))
        assert ledger.epsilon(1e-5) <= target  # by PLD, which knows nothing of the filter
        assert epsilon([e for c in ledger.charges() for e in c.events], 1e-5) <= target
