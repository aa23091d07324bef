"""Effort of a subset: what choosing takes; drawing takes next to nothing."""

from __future__ import annotations

from collections.abc import Sequence

from privimage.methods.config import DiffusionConfig
from privimage.methods.effort import DiffusionEffort, StepSeconds, query_seconds, seen_seconds
from privimage.progress import Tell


class SubsetEffort(DiffusionEffort):
    """See Effort."""

    def measure(self, configs: Sequence[DiffusionConfig], tell: Tell) -> None:
        """See Effort."""
        self._speed["query-function"] = query_seconds(self.shape, configs[0].query)
        tell(1, 2)
        each = seen_seconds(configs[0].means.seen_by(self.shape[0]), self.shape, configs[0].query)
        self._speed["pool"] = StepSeconds(step=0.0, unit=each)
        tell(2, 2)
