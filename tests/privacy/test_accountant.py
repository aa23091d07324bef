"""The stated epsilon is the truth: never below the exact cost, within 1% above it, or a refusal in one line."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from privimage.errors import InputError
from privimage.privacy.accounting import calibrate, epsilon, gaussian, pld, total
from privimage.privacy.accounting.costs import AnyOf, BestOf, Cost
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Access, Budget, Event


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


exact_loss = _beside("exact_loss")
agrees, exact_epsilon = exact_loss.agrees, exact_loss.exact_epsilon


def sgd(sigma: float, q: float = 1.0, steps: int = 1) -> Event:
    return Event(purpose="dp-sgd", split="train", sigma=sigma, q=q, steps=steps)


def query(sigma: float) -> Event:
    return Event(purpose="query", split="train", sigma=sigma)


def assert_true(events: list[Cost], delta: float) -> None:
    stated, exact = epsilon(events, delta), exact_epsilon(events, delta)
    assert exact * (1 - 1e-7) <= stated <= exact * 1.002 + 1e-9, (events, delta, stated / exact)


@given(
    q=st.floats(math.log(1e-3), math.log(1.4)).map(lambda x: min(1.0, math.exp(x))),
    steps=st.floats(math.log(5), math.log(1e4)).map(lambda x: round(math.exp(x))),
    delta=st.floats(-10, -3).map(lambda x: 10**x),
    target=st.floats(math.log(0.05), math.log(100)).map(math.exp),
)
@settings(max_examples=4, deadline=None, derandomize=True)
def test_a_calibrated_budget_is_met_within_a_percent(q: float, steps: int, delta: float, target: float) -> None:
    event = calibrate(budget=Budget(epsilon=target, delta=delta), access=Access(purpose="dp-sgd", q=q, steps=steps))
    stated, exact = epsilon([event], delta), exact_epsilon([event], delta)
    assume(event.sigma > 0.1)  # else even next to no noise meets the budget
    assert exact * (1 - 1e-7) <= stated <= target
    assert exact >= 0.99 * target


@given(
    sigma=st.floats(math.log(0.3), math.log(300)).map(math.exp),
    q=st.floats(math.log(1e-3), math.log(1.4)).map(lambda x: min(1.0, math.exp(x))),
    steps=st.sampled_from([1, 6, 40, 500, 4000]),
    delta=st.sampled_from([1e-3, 1e-5, 1e-7, 1e-10, 1e-15]),
    asked=st.sampled_from([None, 5.0, 40.0]),
)
@settings(max_examples=8, deadline=None, derandomize=True)
def test_the_stated_epsilon_is_the_exact_one(
    sigma: float, q: float, steps: int, delta: float, asked: float | None
) -> None:
    events = [sgd(sigma, q, steps)] if asked is None else [sgd(sigma, q, steps), query(asked)]
    assume(len(events) == 1 or steps > 1)
    assume(0.01 < exact_epsilon(events, delta) < 200 and agrees(events, delta))
    assert_true(events, delta)


def test_the_exact_epsilon_says_where_it_is_exact() -> None:
    """Two events for which it was not: a line that ends too early, and a root that was looked for too far below."""
    few = [sgd(0.47107446502331685, 0.0013400006207344738, 40)]
    assert not agrees(few, 1e-5) and exact_epsilon(few, 1e-5) == pytest.approx(epsilon(few, 1e-5), rel=1e-4)
    dear = [sgd(math.exp(-1), math.exp(-1), 500)]
    assert agrees(dear, 1e-3)
    assert_true(dear, 1e-3)


def test_the_case_that_was_seen() -> None:
    """At epsilon 0.1 a grid of one width took 8% more noise than was needed."""
    event = calibrate(budget=Budget(epsilon=0.1, delta=1e-7), access=Access(purpose="dp-sgd", q=0.02, steps=2000))
    assert 0.0998 < exact_epsilon([event], 1e-7) <= epsilon([event], 1e-7) <= 0.1
    assert event.sigma == pytest.approx(37.04, abs=0.02)


@pytest.mark.parametrize("sigma", [1e-3, 0.01, 0.05, 1.0, 1e3])
def test_a_query_of_any_noise_is_exact_and_small(sigma: float) -> None:
    pair = pld.of_event(query(sigma))
    assert max(len(side.mass) for side in pair) < 100_000, "sigma 0.001 asked for 15 GiB"
    if sigma >= 0.05:
        assert_true([query(sigma)], 1e-5)
    mu = 1 / sigma
    assert epsilon([query(sigma)], 1e-5) <= mu**2 / 2 + 6 * mu + 1


@pytest.mark.parametrize("target", [1e-4, 1e-2, 100.0])
def test_budgets_far_out_are_met(target: float) -> None:
    event = calibrate(budget=Budget(epsilon=target, delta=1e-9), access=Access(purpose="dp-sgd", q=0.1, steps=50))
    exact = exact_epsilon([event], 1e-9)
    assert 0.99 * target <= exact <= epsilon([event], 1e-9) <= target


def test_a_tiny_delta_costs_no_more_noise_than_it_must() -> None:
    """Delta 1e-15 gave 250 times the noise."""
    event = calibrate(budget=Budget(epsilon=1, delta=1e-15), access=Access(purpose="dp-sgd", q=0.02, steps=200))
    assert exact_epsilon([event], 1e-15) > 0.99


WAYS: dict[str, list[Cost]] = {
    "steps": [sgd(1.0, 0.1, 10**9)],
    "sampling": [sgd(1.0, 1e-12, 10)],
    "no noise to speak of": [query(1e-9)],
    "noise beyond numbers": [query(1e300)],
    "a grid without end": [sgd(10.0, 0.001, 10**8)],
    "choices without end": [AnyOf(events=(sgd(100.0, 0.1, 20), sgd(50.0, 0.4, 6)), times=10**9)],
}


@pytest.mark.parametrize("name", WAYS)
def test_what_cannot_be_computed_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(InputError, match=r"cannot be accounted.*(must lie in|ask for)") as refused:
        epsilon(WAYS[name], 1e-5)
    assert "\n" not in str(refused.value)


def test_a_delta_below_what_is_rounded_is_refused_by_name() -> None:
    for ask in (
        lambda: epsilon([sgd(2.0)], 1e-16),
        lambda: epsilon([AnyOf(events=(sgd(2.0), sgd(3.0, 0.5, 2)), times=2)], 1e-300),
        lambda: calibrate(
            budget=Budget.model_construct(epsilon=1.0, delta=1e-20), access=Access(purpose="dp-sgd", q=0.1, steps=10)
        ),
    ):
        with pytest.raises(InputError, match=r"delta 1e-\d+: smaller than .*; use at least 1e-15"):
            ask()


def test_a_budget_that_no_noise_meets_is_refused_for_that_reason() -> None:
    with pytest.raises(InputError, match=r"100 steps at q 1 cost more with any noise multiplier up to 1e\+07"):
        calibrate(budget=Budget(epsilon=1e-6, delta=1e-12), access=Access(purpose="dp-sgd", q=1.0, steps=100))


@given(
    sigma=st.floats(1, 20),
    other=st.floats(1, 20),
    q=st.floats(0.01, 0.5),
    steps=st.integers(1, 40),
    times=st.sampled_from([1, 3, 200]),
    delta=st.sampled_from([1e-3, 1e-5, 1e-10]),
)
@settings(max_examples=3, deadline=None, derandomize=True)
def test_a_choice_lies_above_what_can_be_chosen(
    sigma: float, other: float, q: float, steps: int, times: int, delta: float
) -> None:
    a, b = sgd(sigma, q, 5 * steps), sgd(other, q / 2, 7 * steps)
    chosen = epsilon([AnyOf(events=(a, b), times=times)], delta)
    always = [exact_epsilon([e.model_copy(update={"steps": e.steps * times})], delta) for e in (a, b)]
    assert chosen >= max(always) * (1 - 1e-7)


@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-10])
def test_a_selection_of_one_is_its_trial(delta: float) -> None:
    event, score = sgd(2.0, 0.1, 60), Event(purpose="score", split="validation", sigma=1e3)
    exact = exact_epsilon([event], delta)
    assert exact <= epsilon([BestOf(law=Law(mean=1), events=(event,), score=score)], delta) <= 1.002 * exact


# --- planted faults: each must break a check above


def forget() -> None:
    for remembered in (calibrate, total._epsilon, total._pld, pld.of_event):
        remembered.cache_clear()


def a_grid_of_one_width(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pld, "LEAST_STEP", 5e-4)


def losses_are_rounded_down(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gaussian, "_dots", lambda P, Q, losses, step: np.append(P, 0.0))


def only_removal_counts(patch: pytest.MonkeyPatch) -> None:
    real = gaussian.once
    patch.setattr(gaussian, "once", lambda event, step: (real(event, step)[1],) * 2)


@pytest.mark.parametrize(
    "fault", [a_grid_of_one_width, losses_are_rounded_down, only_removal_counts], ids=lambda fault: fault.__name__
)
def test_the_check_sees_the_fault(fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    forget()
    try:
        with pytest.raises(AssertionError):
            assert_true([sgd(37.04, 0.02, 2000)], 1e-7)
            assert_true([sgd(1.5, 0.02, 40)], 1e-5)
    finally:
        forget()
