"""Bills: the noise that makes a study meet its budget, in every mode."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage.errors import BudgetExceeded
from privimage.privacy import bill
from privimage.privacy.accounting import TOLERANCE, epsilon
from privimage.privacy.accounting.costs import AnyOf, BestOf
from privimage.privacy.accounting.law import Law
from privimage.privacy.bill import Bill, Search, price_selection, price_sweep, price_trials
from privimage.privacy.budget import Access, Budget, Event
from privimage.privacy.noise import Noise

DELTA = 1e-5
ONE = Access(purpose="dp-sgd", q=0.2, steps=5)
QUERY = Event(purpose="query", split="train", sigma=8.0)


def budget(e: float = 4.0) -> Budget:
    return Budget(epsilon=e, delta=DELTA)


def search(*trainings: Access, **rest: object) -> Search:
    return Search.model_validate({"trainings": trainings or (ONE,), "shared": (QUERY,), "trials": 3} | rest)


def test_each_trial_meets_the_budget_and_the_study_costs_more() -> None:
    study = price_trials(budget(), search(scores=1))
    (training,), score = study.trainings, study.score
    assert score is not None
    assert 4 - TOLERANCE < epsilon([QUERY, training], DELTA) <= 4
    assert 4 - TOLERANCE < epsilon([score], DELTA) <= 4
    assert study.search == (AnyOf(events=(training,), times=3), AnyOf(events=(score,), times=3))
    made = Bill(mode="explore", covers="trial", queries=(QUERY,), studies=(study,))
    assert made.epsilon(DELTA) > 4


@pytest.mark.parametrize(("trials", "scores", "rows"), [(1, 0, 0), (5, 0, 2), (3, 2, 1), (0, 0, 2)])
def test_a_sweep_meets_the_budget_as_a_whole(trials: int, scores: int, rows: int) -> None:
    study = price_sweep(budget(), search(trials=trials, scores=scores), queries=(QUERY,), rows=(ONE,) * rows)
    made = Bill(mode="explore", covers="sweep", queries=(QUERY,), studies=(study,))
    assert 4 - TOLERANCE < made.epsilon(DELTA) <= 4, "never above, within the tolerance"
    assert len(study.rows) == rows
    events = [QUERY, *study.trainings * trials, *study.rows]
    assert epsilon(events, DELTA) <= 4, "also when it is counted event by event"
    if study.score is not None:
        assert epsilon([study.score] * trials * scores, DELTA) <= 4


@pytest.mark.thorough
def test_a_sweep_over_different_trainings_covers_every_path() -> None:
    study = price_sweep(budget(), search(ONE, Access(purpose="dp-sgd", q=0.05, steps=60)), queries=(QUERY,))
    assert len(study.trainings) == 2
    for i in range(4):
        path = [study.trainings[0]] * i + [study.trainings[1]] * (3 - i)
        assert epsilon([QUERY, *path], DELTA) <= 4


@given(mean=st.floats(1, 40), eta=st.sampled_from([0.0, 1.0]), e=st.floats(1.5, 6))
@settings(max_examples=4, deadline=None)
@pytest.mark.thorough
def test_a_selection_meets_the_budget_on_both_splits(mean: float, eta: float, e: float) -> None:
    law = Law(mean=mean, eta=eta)
    study = price_selection(budget(e), search(scores=1, law=law, trials=0), queries=(QUERY,), rows=())
    (cost,) = study.search
    assert isinstance(cost, BestOf) and cost.law == law
    assert e - TOLERANCE < epsilon([QUERY, cost], DELTA) <= e
    quiet = cost.model_copy(update={"score": Event(purpose="score", split="validation", sigma=1e6)})
    assert e - TOLERANCE < epsilon([QUERY, quiet], DELTA), "training spends the budget of its split"
    hushed = cost.model_copy(update={"events": (cost.events[0].scaled(1e6),)})
    assert e - TOLERANCE < epsilon([hushed], DELTA), "and so does the score"


@pytest.mark.thorough
def test_more_trials_and_fatter_tails_ask_for_more_noise() -> None:
    factors = [
        price_selection(budget(), search(scores=1, law=law, trials=0), queries=(QUERY,), rows=()).noise.training or 0
        for law in (Law(mean=1), Law(mean=3), Law(mean=10), Law(mean=10, eta=1))
    ]
    assert factors == sorted(factors) and len(set(factors)) == 4
    factors = [price_sweep(budget(), search(trials=n), queries=(QUERY,)).noise.training or 0 for n in (1, 2, 8)]
    assert factors == sorted(set(factors))


def test_comparison_rows_stand_outside_a_selection() -> None:
    row = Noise().solve(budget(), ONE)
    law = Law(mean=4)
    study = price_selection(budget(), search(scores=1, law=law, trials=0), queries=(QUERY,), rows=(row,))
    made = Bill(mode="select", covers="selection", queries=(QUERY,), studies=(study,))
    assert made.epsilon_of(study) <= 4 < made.epsilon(DELTA)


def test_two_budgets_share_the_query() -> None:
    studies = tuple(price_trials(budget(e), search()) for e in (2.0, 4.0))
    made = Bill(mode="explore", covers="trial", queries=(QUERY,), studies=studies)
    assert made.costs.count(QUERY) == 1
    assert made.epsilon(DELTA) < sum(made.epsilon_of(study) for study in studies)
    assert made.study(budget(2.0)) is made.studies[0]


def test_what_no_noise_can_meet_is_refused_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BudgetExceeded, match=r"shared answers alone cost .*give them more noise"):
        price_sweep(budget(0.3), search(), queries=(QUERY,))
    monkeypatch.setattr(bill, "MOST_NOISE", 1.5)
    with pytest.raises(BudgetExceeded, match=r"fewer trials or a larger budget"):
        price_sweep(budget(), search(trials=10), queries=(QUERY,))


def test_a_bill_survives_its_file() -> None:
    law = Law(mean=4)
    study = price_selection(budget(), search(scores=1, law=law, trials=0), queries=(QUERY,), rows=())
    made = Bill(mode="select", covers="selection", queries=(QUERY,), studies=(study,))
    again = Bill.model_validate_json(made.model_dump_json())
    assert again == made and again.epsilon(DELTA) == made.epsilon(DELTA)


@pytest.mark.parametrize("lost", ["law", "query"])
def test_a_price_that_leaves_something_out_is_seen(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of `test_a_selection_meets_the_budget_on_both_splits` fails where law or query is left out."""
    real = epsilon

    def cheap(costs: tuple[object, ...], delta: float) -> float:
        if lost == "query":
            return real([c for c in costs if not (isinstance(c, Event) and c.purpose == "query")], delta)  # type: ignore[misc]
        return real([c.model_copy(update={"law": Law(mean=1)}) if isinstance(c, BestOf) else c for c in costs], delta)  # type: ignore[misc]

    monkeypatch.setattr(bill, "epsilon", cheap)
    study = price_selection(budget(), search(scores=1, law=Law(mean=9), trials=0), queries=(QUERY,), rows=())
    assert real([QUERY, *study.search], DELTA) > 4
