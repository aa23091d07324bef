"""The one epsilon of a ledger holds: for what was planned, for what was chosen on the way, and under a cap."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from privimage.errors import BudgetExceeded
from privimage.privacy import statement
from privimage.privacy.accounting import epsilon, odometer
from privimage.privacy.accounting.costs import AnyOf
from privimage.privacy.budget import Budget, Event
from privimage.privacy.ledger import Ledger

QUERY = Event(purpose="query", split="train", sigma=5)
LOUD = Event(purpose="query", split="train", sigma=1)
DELTA = 1e-2


def test_one_bill_costs_what_it_says_and_a_second_may_have_been_chosen(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    assert statement.total(ledger.lines(), 1e-5) == (0.0, "nothing was asked")
    bill = (AnyOf(events=(QUERY,), times=3),)
    ledger.reserve(id="a", what="sweep a", events=bill)
    for number in range(2):
        ledger.charge(id=str(number), what="x", events=(QUERY,), under="a")
    value, why = statement.total(ledger.lines(), 1e-5)
    assert value == epsilon(bill, 1e-5) and "planned" in why, "the bill, of which one access is not asked yet"
    ledger.reserve(id="a", what="sweep a", events=(AnyOf(events=(QUERY,), times=4),))
    assert "however" in statement.total(ledger.lines(), 1e-5)[1], "a bill that grew was not fixed beforehand"
    ledger.reserve(id="b", what="sweep b", events=(LOUD,))
    ledger.charge(id="b", what="x", events=(LOUD,), under="b")
    value, why = statement.total(ledger.lines(), 1e-5)
    assert "however each access was chosen" in why and value > ledger.epsilon(1e-5)
    assert value == odometer.epsilon(odometer.divergences([QUERY, QUERY, LOUD]), 1e-5)


def test_a_cap_that_was_set_first_bounds_the_reading(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    ledger.set_cap(Budget(epsilon=6, delta=1e-5))
    with pytest.raises(BudgetExceeded):
        for number in range(99):
            ledger.charge(id=str(number), what="x", events=(QUERY.scaled(0.6),))
    charged = [QUERY.scaled(0.6)] * len(ledger.charges())
    assert odometer.epsilon(odometer.divergences(charged), 1e-5) > 6
    value, why = statement.total(ledger.lines(), 1e-5)
    assert value == 6 and "cap" in why
    late = Ledger(tmp_path / "late.jsonl")
    for number in range(2):
        late.charge(id=str(number), what="x", events=(QUERY,))
    late.set_cap(Budget(epsilon=1.9, delta=1e-5))
    assert "cap" not in statement.total(late.lines(), 1e-5)[1], "it may have been chosen by the answers"


def losses_at_stopping(rng: np.random.Generator, *, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of n adaptive analysts: the privacy loss that came out, and what the odometer read when they stopped.

    An analyst asks Gaussian accesses, louder after answers that told much, and stops where the loss stands high.
    """
    loss, sums = np.zeros(n), np.zeros((n, *odometer.NOTHING.shape))
    going = np.ones(n, bool)
    prices = {s: odometer.divergences([Event(purpose="query", split="train", sigma=s)]) for s in (1.0, 2.0, 4.0)}
    for _ in range(12):
        sigma = np.where(loss > 1, 1.0, np.where(loss > 0, 2.0, 4.0))
        answer = rng.normal(1, sigma)  # the example is there
        step = (2 * answer - 1) / (2 * sigma**2)
        loss = np.where(going, loss + step, loss)
        for s, price in prices.items():
            sums[going & (sigma == s)] += price
        readings = np.array([odometer.epsilon(one, DELTA) for one in sums])
        going &= loss < 0.9 * readings
    return loss, readings


def test_the_reading_is_rarely_passed_by_an_adaptive_analyst() -> None:
    loss, readings = losses_at_stopping(np.random.default_rng(0), n=3000)
    assert (loss > readings).mean() <= DELTA
    assert (loss > 0.7 * readings).mean() > 0, "not for want of trying"


def test_the_least_order_without_its_share_of_delta_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that the odometer exists to avoid: a bound far too small is passed often."""
    monkeypatch.setattr(odometer, "epsilon", lambda sums, delta: float(np.max(np.min(sums, axis=1))) + 1e-9)
    loss, readings = losses_at_stopping(np.random.default_rng(0), n=300)
    assert (loss > readings).mean() > DELTA


def test_what_the_cap_still_admits_is_admitted_and_no_more(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    ledger.set_cap(Budget(epsilon=8, delta=1e-5))
    ledger.charge(id="q", what="q", events=(QUERY,))
    cap, spending = ledger.cap(), ledger.spending()
    assert cap is not None and spending is not None
    room = cap.room(spending.counted)
    said = " ".join(statement.sentences(ledger))
    assert f"one more access of epsilon {math.floor(room * 1e3) / 1e3:.5g} by itself" in said
    left = cap.rho - spending.counted.max()
    sigma = math.sqrt(cap.order / (2 * left))
    assert cap.admits(spending.counted + cap.price([Event(purpose="query", split="train", sigma=sigma * 1.0001)]))
    assert not cap.admits(spending.counted + cap.price([Event(purpose="query", split="train", sigma=sigma * 0.999)]))
    assert epsilon([Event(purpose="query", split="train", sigma=sigma)], 1e-5) == pytest.approx(room)
