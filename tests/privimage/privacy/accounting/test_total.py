"""PLD against RDP, Opacus's PRV and the exact Gaussian mechanism; calibration."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant
from scipy.optimize import brentq
from scipy.stats import norm

from privimage.errors import BudgetExceeded
from privimage.privacy.accounting import TOLERANCE, calibrate, epsilon, epsilon_rdp
from privimage.privacy.budget import Access, Budget, Event

DELTA = 1e-5
FOUR = Access(purpose="dp-sgd", q=1, steps=4)


def query(sigma: float) -> Event:
    return Event(purpose="query", split="train", sigma=sigma)


def sgd(sigma: float, q: float, steps: int) -> Event:
    return Event(purpose="dp-sgd", split="train", sigma=sigma, q=q, steps=steps)


LISTS = {
    "query": (query(5),),
    "queries": (query(8), query(20)),
    "paper": (query(484), sgd(3.74, 0.328, 152)),
    "low noise": (sgd(0.7, 0.01, 300),),
    "query and dp-sgd": (query(5), sgd(2, 0.5, 50)),
    "many steps": (query(10), sgd(1.5, 0.05, 2000)),
    "full batches": (sgd(2, 1, 3),),
    "two trainings": (sgd(4, 0.2, 30), sgd(3, 0.5, 10), query(12)),
}


def exact_gaussian(sigmas: list[float], delta: float) -> float:
    """Epsilon of composed Gaussian mechanisms, exactly (Balle and Wang 2018)."""
    mu = math.sqrt(sum(s**-2 for s in sigmas))

    def excess(e: float) -> float:
        return float(norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu)) - delta

    return float(brentq(excess, 1e-9, 60))


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.thorough
def test_pld_lies_between_prv_and_rdp(name: str) -> None:
    events = LISTS[name]
    accountant = PRVAccountant()
    accountant.history = [(event.sigma, event.q, event.steps) for event in events]
    prv = accountant.get_epsilon(DELTA)  # its upper end, with an error of 0.01
    pld, rdp = epsilon(events, DELTA), epsilon_rdp(events, DELTA)
    assert prv - 0.05 <= pld <= prv + 0.01
    assert pld <= rdp


@given(st.lists(st.floats(0.8, 60), min_size=1, max_size=4), st.sampled_from([1e-6, 1e-5, 1e-3]))
@settings(max_examples=15, deadline=None)
def test_pld_bounds_the_exact_gaussian_from_above_and_closely(sigmas: list[float], delta: float) -> None:
    exact = exact_gaussian(sigmas, delta)
    assert exact - 1e-9 <= epsilon([query(s) for s in sigmas], delta) <= exact + 0.005


def test_epsilon_does_not_depend_on_the_order_or_the_grouping() -> None:
    a, b = sgd(2, 0.3, 10), query(7)
    assert epsilon([a, b], DELTA) == epsilon([b, a], DELTA)
    assert epsilon([sgd(2, 0.3, 4), b, sgd(2, 0.3, 6)], DELTA) == epsilon([a, b], DELTA)
    assert epsilon_rdp([a, b], DELTA) == epsilon_rdp([b, a], DELTA)


def test_more_access_costs_more() -> None:
    base = epsilon([sgd(2, 0.3, 10)], DELTA)
    for more in ([sgd(2, 0.3, 11)], [sgd(2, 0.31, 10)], [sgd(1.9, 0.3, 10)], [sgd(2, 0.3, 10), query(100)]):
        assert epsilon(more, DELTA) > base


def test_without_noise_epsilon_is_infinite_and_without_access_it_is_zero() -> None:
    none = Event(purpose="training", split="train", sigma=0)
    for account in (epsilon, epsilon_rdp):
        assert account([none, query(5)], DELTA) == math.inf
        assert account([], DELTA) == 0.0


@pytest.mark.parametrize(("target", "sigma"), [(1, 15.18), (5, 3.74), (10, 2.17)])
def test_sigmas_of_the_paper(target: float, sigma: float) -> None:
    budget = Budget(epsilon=target, delta=DELTA)
    event = calibrate(budget=budget, access=Access(purpose="dp-sgd", q=0.328, steps=152), others=(query(484),))
    assert event.sigma == pytest.approx(sigma, rel=0.02)
    assert (event.q, event.steps, event.purpose) == (0.328, 152, "dp-sgd")


@pytest.mark.parametrize(("target", "q", "steps"), [(0.3, 0.25, 16), (1.0, 1.0, 1), (2.0, 0.05, 20), (6.0, 0.5, 4)])
def test_calibration_ends_just_below_the_target_never_above(target: float, q: float, steps: int) -> None:
    budget, others = Budget(epsilon=target, delta=DELTA), (query(40),)
    event = calibrate(budget=budget, access=Access(purpose="dp-sgd", q=q, steps=steps), others=others)
    total = epsilon((*others, event), DELTA)
    assert budget.epsilon - TOLERANCE < total <= budget.epsilon
    assert TOLERANCE <= 1e-3


def test_the_query_takes_its_share_of_the_budget() -> None:
    budget = Budget(epsilon=2, delta=DELTA)
    sigmas = [calibrate(budget=budget, access=FOUR, others=o).sigma for o in ((), (query(20),), (query(4),))]
    assert sigmas[0] < sigmas[1] < sigmas[2]


def test_an_impossible_budget_is_refused_with_the_fix() -> None:
    with pytest.raises(BudgetExceeded, match=r"shared answers alone cost .*give them more noise"):
        calibrate(budget=Budget(epsilon=0.5, delta=DELTA), access=FOUR, others=(query(5),))
    with pytest.raises(BudgetExceeded):
        none = (Event(purpose="training", split="train", sigma=0),)
        calibrate(budget=Budget(epsilon=10, delta=DELTA), access=FOUR, others=none)
    with pytest.raises(BudgetExceeded, match="noise multiplier up to"):
        calibrate(budget=Budget(epsilon=1e-8, delta=1e-12), access=Access(purpose="dp-sgd", q=1, steps=1))
