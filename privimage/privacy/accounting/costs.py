"""Costs: what a price is a list of.

An Event is one access; AnyOf is a number of accesses that were chosen on the way; BestOf is a whole private selection,
of which only the winner leaves.
"""

from __future__ import annotations

from pydantic import Field

from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Event
from privimage.schema import Frozen


class AnyOf(Frozen):
    """`times` accesses, each one of `events`, each chosen after the answers to those before it were seen."""

    events: tuple[Event, ...] = Field(min_length=1)
    times: int = Field(ge=1)

    @property
    def private(self) -> bool:
        """Whether every event that may be chosen has a guarantee."""
        return all(event.private for event in self.events)


class BestOf(Frozen):
    """The best of K trials, by a noisy `score`, K drawn from `law`: only the winner is released.

    A trial draws its configuration from a fixed distribution; its training is then one of `events`.
    """

    law: Law
    events: tuple[Event, ...] = Field(min_length=1)
    score: Event

    @property
    def private(self) -> bool:
        """Whether training and score have a guarantee whatever the configuration."""
        return self.score.private and all(event.private for event in self.events)


Cost = Event | AnyOf | BestOf
