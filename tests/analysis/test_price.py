"""The price in the words of each mode: every number from the bill, and nothing that a selection must hide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from opacus.accountants import RDPAccountant

from privimage.analysis import price, words
from privimage.privacy.accounting.law import Law
from privimage.privacy.bill import Bill, Search, Study, price_selection, price_trials
from privimage.privacy.budget import Access, Budget, Event

BUDGET = Budget(epsilon=4, delta=1e-5)
QUERY = Event(purpose="query", split="train", sigma=8.0)
SEARCH = Search(trainings=(Access(purpose="dp-sgd", q=0.2, steps=5),), trials=3, shared=(QUERY,))


def bill(mode: str, study: Study, covers: str = "trial") -> Bill:
    return Bill.model_validate({"mode": mode, "covers": covers, "queries": (QUERY,), "studies": (study,)})


@pytest.fixture(scope="module")
def selection() -> Bill:
    search = SEARCH.model_copy(update={"trials": 0, "scores": 1, "law": Law(mean=10)})
    return bill("select", price_selection(BUDGET, search, queries=(QUERY,), rows=()), "selection")


def test_explore_states_the_total_of_the_bill_first(make_record: Any, make_facts: Any) -> None:
    made = bill("explore", price_trials(BUDGET, SEARCH))
    trial = make_record("a", budget=BUDGET, events=(QUERY, *made.studies[0].trainings))
    found = replace(make_facts([trial]), bill=made)
    state, why, _ = price.opening(found)
    total = words.epsilon(made.epsilon(1e-5))
    assert state == f"State epsilon {total} at delta 1e-05 beside anything of the run, be it one generator alone."
    assert why == (
        "It pays for 1 noisy answer and 3 search trials: the budget of epsilon 4 is met by each trial alone, but "
        "whoever chooses one has seen all."
    )
    assert "So far 1 of 3 search trials has a result" in " ".join(price.terms(found))
    by_hand = RDPAccountant()
    by_hand.history = [(e.sigma, e.q, e.steps) for e in (QUERY, *made.studies[0].trainings * 3)]
    total = price.lines(found)[-1]
    assert total.epsilon == made.epsilon(1e-5) <= by_hand.get_epsilon(1e-5) <= total.epsilon * 1.2


def test_a_selection_states_its_law_and_hides_the_rest(make_record: Any, make_facts: Any, selection: Bill) -> None:
    (study,) = selection.studies
    winner = make_record("a", budget=BUDGET).model_copy(update={"selection": study.search[0]})
    found = replace(make_facts([winner]), bill=selection)
    said = " ".join(price.terms(found))
    assert f"costs epsilon {words.epsilon(selection.epsilon_of(study))} at delta 1e-05 in all" in said
    assert "mean 10" in said and "are not shown: showing them would void these numbers" in said
    assert "half of the time at most 4, nine times out of ten at most 26" in said
    (line, total) = price.lines(found)
    assert "its selection included" in line.what and line.epsilon == total.epsilon <= 4


def test_a_total_without_the_query_would_be_seen(
    make_record: Any, make_facts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bill("explore", price_trials(BUDGET, SEARCH))
    honest = made.epsilon(1e-5)
    monkeypatch.setattr(Bill, "costs", property(lambda self: tuple(c for s in self.studies for c in s.search)))
    found = replace(make_facts([make_record("a", budget=BUDGET)]), bill=made)
    assert price.lines(found)[-1].epsilon < honest
