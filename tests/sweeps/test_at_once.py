"""How many trials are begun together: as many as there is room for, and those that are to queue beside them."""

from __future__ import annotations

from typing import Any

import pytest
from ray.tune.execution.tune_controller import _get_max_pending_trials
from ray.tune.search import Searcher, SearchGenerator

from privimage.sweeps.at_once import MOST, RoomLimiter


class Endless(Searcher):  # type: ignore[misc]
    """Has always another trial."""

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"trial": trial_id}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to learn."""


@pytest.mark.parametrize("queued", [0, 4])
def test_those_that_fit_and_those_that_queue(queued: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune itself holds back none of them: it begins as many at once as the limiter gives."""
    monkeypatch.delenv("TUNE_MAX_PENDING_TRIALS_PG", raising=False)
    room = [3]
    limiter = RoomLimiter(Endless(), room=lambda: room[0], queued=queued)
    assert _get_max_pending_trials(SearchGenerator(limiter)) == MOST
    assert [limiter.suggest(str(i)) is not None for i in range(10)] == [i < 3 + queued for i in range(10)]
    room[0] = 5  # a node joined
    assert [limiter.suggest(f"more {i}") is not None for i in range(3)] == [True, True, False]
    limiter.on_trial_complete("0", {})
    assert limiter.suggest("next") is not None
