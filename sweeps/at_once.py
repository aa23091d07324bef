"""How many trials run at once, while a sweep runs: as many as the nodes hold that there are now."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray.exceptions import RayError
from ray.tune.search import ConcurrencyLimiter, Searcher

from privimage.cluster.connect import nodes
from privimage.cluster.resources import Resources, trials_at_once
from privimage.errors import InputError

EVERY = 3.0  # seconds between two looks at the nodes
MOST = 1000  # trials that are begun together: Tune takes it from the limit that there is when it starts


class Capacity:
    """How many trials the cluster holds: as `trials_at_once`, of the nodes that are alive."""

    def __init__(self, resources: Resources) -> None:
        self._resources, self._fits, self._looked = resources, 1, -EVERY

    def __call__(self) -> int:
        """The number at this moment; at least one, which then waits for a node that holds it."""
        if time.monotonic() - self._looked >= EVERY:
            self._looked = time.monotonic()
            try:
                self._fits = trials_at_once(self._resources, nodes())
            except InputError:  # the nodes that held one have left
                self._fits = 1
            except RayError:
                pass  # the head does not answer: as it was
        return self._fits


class RoomLimiter(ConcurrencyLimiter):  # type: ignore[misc]
    """Ray's limit of a searcher, which stays as it was when Tune began, set anew at every trial that is asked for.

    `queued` trials more than there is room for are begun and wait: an autoscaler adds nodes for these, and no others.
    """

    def __init__(self, searcher: Searcher, *, room: Callable[[], int], queued: int = 0) -> None:
        super().__init__(searcher, max_concurrent=MOST)
        self._room, self._queued = room, queued

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial; None while there is no room for it."""
        self.max_concurrent = min(MOST, self._room() + self._queued)
        found: dict[str, Any] | str | None = super().suggest(trial_id)
        return found
