"""Looks: uses of private images without noise, which no epsilon covers, and the proof that one stands in the ledger.

Whatever reads private images wants to be told by what it may: an Event, whose noise makes the answer a release, or a
Seen, which a ledger gives out when the line of the look is on disk. So a read without either is an error, not a habit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from privimage.errors import Violation
from privimage.privacy.budget import Event
from privimage.schema import Frozen, digest

if TYPE_CHECKING:
    from privimage.data.sets import PrivateSet

Part = Literal["train", "validation", "test"]


class Look(Frozen):
    """What is about to be looked at: the split, what for (a metric, a row), and the settings if there are several."""

    split: Part
    what: str
    settings: str | None = None  # a digest

    def id(self, *, by: str | None) -> str:
        """The name of its line: one for every sweep `by` which it is looked at."""
        return digest({"look": self, "by": by})


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The proof that a look at this split was written down (or that the images are public: a stand-in)."""

    split: Part


def may_read(images: PrivateSet, by: Event | Seen | None) -> None:
    """Nothing, if `by` allows to read this split. Raises Violation if it is of another one, or nothing allows it."""
    if by is None or (isinstance(by, Event) and not by.private):
        raise Violation(f"{images.id}: images would be read without noise, and no line of the ledger says so")
    images.must_be(by.split)
