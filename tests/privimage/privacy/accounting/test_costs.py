"""Accesses chosen on the way and private selections, against what is known otherwise."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from dp_accounting import dp_event as dpe
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from privimage.privacy.accounting import calibrate, deltas, epsilon, epsilon_rdp, pld, tpr
from privimage.privacy.accounting.costs import AnyOf, BestOf
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Access, Budget, Event

DELTA = 1e-5


def sgd(sigma: float, q: float = 0.1, steps: int = 20) -> Event:
    return Event(purpose="dp-sgd", split="train", sigma=sigma, q=q, steps=steps)


def score(sigma: float) -> Event:
    return Event(purpose="score", split="validation", sigma=sigma)


def best(event: Event, *, mean: float, eta: float = 0, sigma: float = 1e4) -> BestOf:
    return BestOf(law=Law(mean=mean, eta=eta), events=(event,), score=score(sigma))


@given(sigma=st.floats(0.8, 4), times=st.integers(1, 6))
@settings(max_examples=10, deadline=None)
def test_accesses_of_one_kind_cost_what_so_many_events_cost(sigma: float, times: int) -> None:
    several = [AnyOf(events=(sgd(sigma),), times=times)]
    assert epsilon(several, DELTA) == pytest.approx(epsilon([sgd(sigma)] * times, DELTA), abs=1e-9)


def test_a_choice_of_accesses_costs_at_least_every_sequence_that_may_be_chosen() -> None:
    a, b = sgd(1.1, 0.05, 60), sgd(2.0, 0.4, 6)  # curves that cross
    total = epsilon([AnyOf(events=(a, b), times=3)], DELTA)
    paths = [epsilon([a] * i + [b] * (3 - i), DELTA) for i in range(4)]
    assert max(paths) <= total <= 1.15 * max(paths)


def test_the_dominating_pair_lies_above_every_event_in_both_directions() -> None:
    events = (sgd(1.1, 0.05, 60), sgd(2.0, 0.4, 6))
    pair = pld.of_costs([AnyOf(events=events, times=1)], "train")
    assert pair is not None
    at = np.arange(0, 12, 0.05)  # below 0 the two directions mirror each other
    for event in events:
        for side, mine in zip(pair, pld.of_event(event), strict=True):
            assert (side.deltas(at) >= mine.deltas(at) - 1e-12).all()


def test_a_stronger_choice_changes_nothing() -> None:
    assert epsilon([AnyOf(events=(sgd(1.5), sgd(3.0)), times=2)], DELTA) == pytest.approx(
        epsilon([sgd(1.5)] * 2, DELTA), abs=1e-3
    )


@pytest.mark.parametrize("law", [Law(mean=1), Law(mean=4), Law(mean=4, eta=1), Law(mean=30)])
def test_a_selection_lies_between_one_trial_and_the_bound_of_papernot_and_steinke(law: Law) -> None:
    event = sgd(1.3, 0.05, 100)
    found = epsilon([BestOf(law=law, events=(event,), score=score(1e4))], DELTA)
    assert found >= epsilon([event], DELTA) - 1e-9
    if law.mean == 1:
        assert found == pytest.approx(epsilon([event], DELTA), abs=1e-3)
    accountant = RdpAccountant()
    once = dpe.SelfComposedDpEvent(dpe.PoissonSampledDpEvent(0.05, dpe.GaussianDpEvent(1.3)), 100)
    accountant.compose(dpe.RepeatAndSelectDpEvent(once, law.mean, law.eta))
    assert found <= accountant.get_epsilon(DELTA) + 0.01
    assert epsilon_rdp([BestOf(law=law, events=(event,), score=score(1e4))], DELTA) == pytest.approx(
        accountant.get_epsilon(DELTA), rel=0.01
    )


def test_a_query_before_a_selection_composes_below_the_sum() -> None:
    query, selection = Event(purpose="query", split="train", sigma=6.0), best(sgd(1.5), mean=10)
    both = epsilon([query, selection], DELTA)
    assert max(epsilon([query], DELTA), epsilon([selection], DELTA)) < both
    assert both < epsilon([query], DELTA / 2) + epsilon([selection], DELTA / 2)


@given(mean=st.floats(1, 50), more=st.floats(0.5, 50), eta=st.sampled_from([-0.5, 0, 1]), sigma=st.floats(1, 3))
@settings(max_examples=15, deadline=None)
def test_more_trials_cost_more(mean: float, more: float, eta: float, sigma: float) -> None:
    few, many = (epsilon([best(sgd(sigma), mean=m, eta=eta)], DELTA) for m in (mean, mean + more))
    assert few <= many + 1e-9


def test_disjoint_splits_are_charged_in_parallel() -> None:
    training, scores = sgd(1.5), [score(3.0)] * 4
    assert epsilon([training, *scores], DELTA) == max(epsilon([training], DELTA), epsilon(scores, DELTA))
    selection = BestOf(law=Law(mean=5), events=(training,), score=score(0.5))
    dear = BestOf(law=Law(mean=5), events=(sgd(1e3),), score=score(0.5))
    assert epsilon([selection], DELTA) == pytest.approx(epsilon([dear], DELTA)), "here the score is the dearer one"


@given(sigma=st.floats(0.5, 10))
@settings(max_examples=20, deadline=None)
def test_curve_and_attack_of_a_gaussian_are_exact(sigma: float) -> None:
    query, at = Event(purpose="query", split="train", sigma=sigma), np.array([0.0, 0.5, 2.0])
    exact = norm.cdf(0.5 / sigma - at * sigma) - np.exp(at) * norm.cdf(-0.5 / sigma - at * sigma)
    assert np.all(deltas([query], at) >= exact - 1e-9) and np.allclose(deltas([query], at), exact, atol=1e-4)
    for fpr in (0.001, 0.01):
        power = norm.cdf(norm.ppf(fpr) + 1 / sigma)
        assert power - 1e-6 <= tpr([query], fpr) <= power * 1.02 + 1e-4


def test_epsilon_and_delta_are_two_readings_of_one_curve() -> None:
    costs = [Event(purpose="query", split="train", sigma=6.0), best(sgd(1.5), mean=10)]
    at = epsilon(costs, DELTA)
    assert deltas(costs, np.array([at]))[0] == pytest.approx(DELTA, rel=1e-3)


def test_a_cost_without_noise_is_infinite_wherever_it_hides() -> None:
    none = Event(purpose="training", split="train", sigma=0)
    for cost in (AnyOf(events=(sgd(1), none), times=1), BestOf(law=Law(mean=2), events=(none,), score=score(1))):
        assert epsilon([cost], DELTA) == math.inf == epsilon_rdp([cost], DELTA)
        assert deltas([cost], np.array([1.0])) == 1


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.5, 1.0, 10.0, 20.0])
def test_calibration_takes_seconds_cold(target: float) -> None:
    calibrate.cache_clear()
    start = time.process_time()
    calibrate(
        budget=Budget(epsilon=target, delta=DELTA),
        access=Access(purpose="dp-sgd", q=0.328, steps=152),
        others=(Event(purpose="query", split="train", sigma=484),),
    )
    assert time.process_time() - start < 6  # 3 s on a core of its own; twice that on a shared one
