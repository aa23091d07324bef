"""The noise of a shared answer that follows from the budget: asked once for all budgets, each derives its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant

from privimage.errors import BudgetExceeded, InputError
from privimage.methods.method import load
from privimage.methods.resolve import resolve
from privimage.paths import Root
from privimage.privacy.budget import Budget
from privimage.privacy.noise import Noise
from privimage.schema import parse
from privimage.sweeps.plan import make_plan
from privimage.sweeps.price import bill_of, least_sigmas
from privimage.sweeps.sweep import Sweep

IDENTITY = {"sensitive": "a", "public": "b"}


def exact(*sigmas: float) -> float:
    """Epsilon at 1e-5 of one Gaussian answer each, by another library."""
    accountant = PLDAccountant()
    for sigma in sigmas:
        accountant.compose(dp_event.GaussianDpEvent(sigma))
    return accountant.get_epsilon(1e-5)


def sweep_of(**changed: Any) -> Sweep:
    values: dict[str, Any] = {
        "name": "toy",
        "data": {"sensitive": {"name": "digits", "id": "digits-v1"}, "public": {"name": "glyphs"}},
        "budgets": [{"epsilon": epsilon, "delta": 1e-5} for epsilon in (0.2, 1, 10)],
        "method": {"name": "privimage+m"},
        "search": {"method.sample.guidance": {"uniform": [0, 3]}},
        "objectives": {"accuracy[cnn]": "max"},
        "trials": 50,
    }
    return parse(Sweep, values | changed)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_a_trial_meets_its_budget(epsilon: float) -> None:
    method, budget = resolve({"name": "privimage+m"}), Budget(epsilon=epsilon, delta=1e-5)
    (event,) = method.member.shared(method, budget, identity=IDENTITY).values()
    assert event.shared is not None
    assert 0.998 * epsilon < exact(event.sigma) <= epsilon


def test_a_whole_search_at_many_budgets_costs_the_largest_of_them() -> None:
    sweep = sweep_of()
    (sigma,) = least_sigmas(sweep).values()
    bill = bill_of(sweep, asked_sigma=least_sigmas(sweep))
    assert [cost.sigma for cost in bill.costs] == [sigma]
    assert bill.epsilon(1e-5) == pytest.approx(exact(sigma), abs=2e-3) and bill.epsilon(1e-5) <= 10


def test_trials_of_all_budgets_ask_one_question_and_derive_their_own() -> None:
    sweep = sweep_of()
    asked = least_sigmas(sweep)
    trials = [sweep.trial(budget=b, seed=0, asked_sigma=asked, noise=bill_of(sweep, asked_sigma=asked).study(b).noise)
              for b in sweep.budgets]  # fmt: skip
    assert len({tuple(trial.questions) for trial in trials}) == 1
    assert [trial.asked_sigma for trial in trials] == [asked] * 3
    own = [next(iter(trial.questions.values())) for trial in trials]
    assert own == sorted(own, reverse=True) and own[-1] == next(iter(asked.values()))
    assert [exact(sigma) <= budget.epsilon for sigma, budget in zip(own, sweep.budgets, strict=True)] == [True] * 3


@pytest.mark.parametrize(
    "searched", [{"choice": [None, 2.0]}, {"choice": [2.0, 50.0]}, {"uniform": [2.0, 50.0]}, {"choice": [None]}]
)
def test_the_question_is_asked_as_the_most_demanding_trial_needs(searched: dict[str, Any]) -> None:
    sweep = sweep_of(search={"method.means.sigma": searched})
    (sigma,) = least_sigmas(sweep).values()
    own = load("privimage+m").shared(resolve({"name": "privimage+m"}), sweep.budgets[-1], identity=IDENTITY)
    assert sigma == min(
        [2.0] * ([None] != searched.get("choice")) + [own["means"].sigma] * (None in searched.get("choice", []))
    )


def test_everything_together_may_be_what_meets_the_budget() -> None:
    sweep = sweep_of(budgets=[{"epsilon": 1, "delta": 1e-5}], tuning={"covers": "sweep"})
    assert bill_of(sweep, asked_sigma=least_sigmas(sweep)).epsilon(1e-5) <= 1


def test_rows_at_every_budget_cost_nothing_more() -> None:
    sweep = sweep_of(compare=["privimage+m"], trials=0, search={})
    assert [budget.epsilon for _, _, budget in sweep.rows()] == [0.2, 1, 10]
    assert len(bill_of(sweep, asked_sigma=least_sigmas(sweep)).costs) == 1
    fixed = sweep_of(compare=[{"method": "privimage+m", "set": {"method.means.sigma": 5}}], trials=0, search={})
    assert [budget.epsilon for _, _, budget in fixed.rows()] == [10]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("own", "search"),
    [
        ({"means": {"sigma": 0.9}}, {}),
        ({}, {"method.means.sigma": {"choice": [None, 0.9, 50]}}),
        ({}, {"method.means.sigma": {"uniform": [0.9, 50]}}),
    ],
)
def test_noise_that_a_budget_cannot_pay_is_refused_at_that_budget(
    own: dict[str, Any], search: dict[str, Any], tmp_path: Path
) -> None:
    """Or plan would say that every trial meets its budget alone, and none does."""
    sweep = sweep_of(method={"name": "privimage+m"} | own, search=search)
    small, middle, large = make_plan(sweep, root=Root(path=tmp_path)).quotes
    assert large.refusal is None and exact(0.9) < 10
    for quote in (small, middle):
        least = load("privimage+m").shared(resolve({"name": "privimage+m"}), quote.budget, identity=IDENTITY)
        at_least = f"use at least {least['means'].sigma:g}, or null for what the budget allows"
        assert quote.refusal is not None and quote.refusal.startswith("method.means.sigma: got 0.9, which costs")
        assert f"above the budget {quote.budget}; {at_least}" in quote.refusal
        for sigma in (least["means"].sigma, 0.999 * least["means"].sigma):
            named = sweep.example(budget=quote.budget, overrides={"method.means.sigma": sigma})
            if sigma == least["means"].sigma:
                assert exact(named.events[0].sigma) <= quote.budget.epsilon
            else:
                with pytest.raises(BudgetExceeded, match=r"^method\.means\.sigma"):
                    named.events  # noqa: B018


def test_a_row_with_fixed_noise_stands_at_the_largest_budget() -> None:
    budgets = [{"epsilon": epsilon, "delta": 1e-5} for epsilon in (10, 0.2)]
    sweep = sweep_of(budgets=budgets, compare=["selection-only"], trials=0, search={})
    ((row, seed, budget),) = sweep.rows()
    assert budget.epsilon == 10 and sweep.row_trial(row, seed, budget, noise=Noise()).events


def test_a_private_selection_refuses_it_by_name() -> None:
    sweep = sweep_of(tuning={"mode": "select"}, objectives={"dp-accuracy[cnn]": "max"}, trials=10)
    with pytest.raises(InputError, match=r"method.name: got privimage\+m; in mode select"):
        bill_of(sweep, asked_sigma=least_sigmas(sweep))


def test_what_is_derived_follows_from_the_budget_and_what_is_asked_does_not() -> None:
    declaration = load("privimage+m").declaration
    kinds = [stage.kind for stage in declaration.stages]
    budgeted = {
        sigma: [kind for kind in kinds if declaration.budgeted(kind, {"means.sigma": sigma})] for sigma in (None, 3.0)
    }
    assert budgeted[None] == kinds[kinds.index("means-derived") :] and budgeted[3.0] == []
