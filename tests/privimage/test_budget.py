"""Budget, Event and Release; errors survive processes."""

from __future__ import annotations

import pickle

import pytest
import torch
from pydantic import ValidationError

from privimage.budget import Budget, Event, Release
from privimage.entropy import generator
from privimage.errors import BudgetExceeded, InputError, LostAnswer, PrivImageError, TrialFailed


@pytest.mark.parametrize("values", [(0, 1e-5), (1001, 1e-5), (1, 0), (1, 1), (float("inf"), 1e-5), (-1, 0.1)])
def test_impossible_budgets_are_refused(values: tuple[float, float]) -> None:
    with pytest.raises(ValidationError):
        Budget(epsilon=values[0], delta=values[1])


@pytest.mark.parametrize(
    "wrong", [{"sigma": -1}, {"q": 0}, {"q": 1.1}, {"steps": 0}, {"sigma": float("inf")}, {"noise": 1}]
)
def test_impossible_events_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Event(**({"purpose": "query", "sigma": 1.0} | wrong))  # type: ignore[arg-type]


def test_perturb_adds_independent_noise_of_the_declared_std() -> None:
    event, value = Event(purpose="query", sigma=3.0), torch.full((200, 300), 7.0)
    noise = event.perturb(value, sensitivity=2.0, generator=generator(1, "test")) - value
    assert noise.dtype == torch.float64
    assert noise.std().item() == pytest.approx(6.0, rel=0.02) and abs(noise.mean().item()) < 0.1
    assert abs(torch.corrcoef(noise[:2])[0, 1].item()) < 0.2


def test_without_sigma_there_is_no_guarantee() -> None:
    paid, free = Event(purpose="query", sigma=1), Event(purpose="none", sigma=0)
    assert paid.private and not free.private
    assert Release(value=1, events=(paid,)).private and not Release(value=1, events=(paid, free)).private


def test_an_event_shows_its_cost_and_nothing_else() -> None:
    assert (
        repr(Event(purpose="query", sigma=5)) == "Event(purpose='query', sigma=5.0, q=1.0, steps=1, n=None, cap=None)"
    )


@pytest.mark.parametrize("error", [InputError, BudgetExceeded, LostAnswer, TrialFailed])
def test_errors_survive_pickling(error: type[PrivImageError]) -> None:
    again = pickle.loads(pickle.dumps(error("one message")))
    assert type(again) is error and str(again) == "one message" and isinstance(again, PrivImageError)
