"""Budget, Event and Release; errors survive processes."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import entropy
from pydantic import ValidationError

from privimage.errors import BudgetExceeded, InputError, LostAnswer, PrivImageError, TrialFailed
from privimage.privacy.budget import Budget, Event, Release, grid_step


@pytest.mark.parametrize("values", [(0, 1e-5), (1001, 1e-5), (1, 0), (1, 1), (float("inf"), 1e-5), (-1, 0.1)])
def test_impossible_budgets_are_refused(values: tuple[float, float]) -> None:
    with pytest.raises(ValidationError):
        Budget(epsilon=values[0], delta=values[1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"sigma": -1},
        {"q": 0},
        {"q": 1.1},
        {"steps": 0},
        {"sigma": float("inf")},
        {"noise": 1},
        {"split": "test"},
        {"purpose": ""},
    ],
)
def test_impossible_events_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Event(**({"purpose": "query", "sigma": 1.0, "split": "train"} | wrong))  # type: ignore[arg-type]


def test_perturb_adds_independent_noise_of_the_declared_std() -> None:
    event, value = Event(purpose="query", split="train", sigma=3.0), np.full((200, 300), 7)
    noise = event.perturb(value, sensitivity=2.0, stream=entropy(1).stream("test")) - value
    assert noise.dtype == np.float64
    assert noise.std() == pytest.approx(6.0, rel=0.02) and abs(noise.mean()) < 0.1
    assert abs(np.corrcoef(noise[:2])[0, 1]) < 0.2


def test_without_sigma_there_is_no_guarantee() -> None:
    paid, free = Event(purpose="query", split="train", sigma=1), Event(purpose="training", split="train", sigma=0)
    assert paid.private and not free.private
    assert Release(value=1, events=(paid,)).private and not Release(value=1, events=(paid, free)).private


def test_an_event_shows_its_cost_and_nothing_else() -> None:
    assert (
        repr(Event(purpose="query", split="train", sigma=5))
        == "Event(purpose='query', sigma=5.0, q=1.0, steps=1, split='train', shared=None)"
    )


@pytest.mark.parametrize("error", [InputError, BudgetExceeded, LostAnswer, TrialFailed])
def test_errors_survive_pickling(error: type[PrivImageError]) -> None:
    again = pickle.loads(pickle.dumps(error("one message")))
    assert type(again) is error and str(again) == "one message" and isinstance(again, PrivImageError)


# ---- the grid of an answer


@given(st.floats(1e-6, 1e6))
def test_the_step_is_a_power_of_two_far_below_the_sensitivity(sensitivity: float) -> None:
    step = grid_step(sensitivity)
    assert math.frexp(step)[0] == 0.5 and step <= min(1.0, sensitivity * 2**-10)
    assert step > sensitivity * 2**-11 or step == 1


@given(
    st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=8),
    st.sampled_from([1.0, 2**0.5, 3.0, 100.0, 2.0**12]),
    st.floats(0.01, 1e6),
    st.integers(0, 2**32),
)
@settings(deadline=None)
def test_an_answer_is_a_sum_without_rounding_on_the_grid(
    counts: list[int], sensitivity: float, sigma: float, number: int
) -> None:
    event, step = Event(purpose="query", split="train", sigma=sigma), grid_step(sensitivity)
    answer = event.perturb(np.array(counts), sensitivity=sensitivity, stream=entropy(number).stream("x"))
    noise = event.perturb(np.array(counts) * 0, sensitivity=sensitivity, stream=entropy(number).stream("x"))
    for a, count, z in zip(answer.tolist(), counts, noise.tolist(), strict=True):
        assert Fraction(a) == count + Fraction(z), "exact: its last bits tell nothing"
        assert Fraction(a) % Fraction(step) == 0
    normals = entropy(number).stream("x").normals(len(counts)) * (sigma * sensitivity)
    assert abs(noise - normals).max() <= step / 2 * (1 + 1e-9)


def test_a_value_that_is_not_whole_is_rounded_and_pays_for_it() -> None:
    value, event = np.full((100, 100), 0.3), Event(purpose="query", split="train", sigma=2.0)
    answer = event.perturb(value, sensitivity=1.0, stream=entropy(1).stream("x"))
    assert ((answer * 2**10) % 1 == 0).all()
    exact = event.perturb((value * 0).astype(np.int64), sensitivity=1 + 100 * 2**-10, stream=entropy(1).stream("x"))
    assert (answer - exact).std() < 1e-12 and (answer - exact).mean() == pytest.approx(0.3, abs=2**-11)


def test_the_grid_of_a_value_follows_from_its_type_and_not_from_its_content() -> None:
    whole, event = np.ones(3), Event(purpose="query", split="train", sigma=2.0)
    one, other = (
        event.perturb(value, sensitivity=1.0, stream=entropy(1).stream("x")) - value
        for value in (whole, whole + 2**-10)
    )
    assert np.array_equal(one, other), "a look at the content would be an access of its own"
