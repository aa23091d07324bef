"""What a line of the ledger may be: a charge, a look without noise, a cap, a reservation, or the end of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, TypeAdapter, field_validator

from privimage.privacy.accounting.costs import Cost
from privimage.privacy.cap import Cap
from privimage.privacy.looks import Part
from privimage.schema import Frozen


class _Sealed(Frozen):
    """What every line has: its number from 0, when it was written, the hash of the line before it and its own."""

    number: int
    at: str
    previous: str
    hash: str


class Charge(_Sealed):
    """What was asked and its price.

    `under` is the reservation, if any, that it was planned in; `division` is how the set was split when it was asked,
    and `revision` says which images it was. `noise` is the mark of the entropy that the answer's noise comes from.
    """

    kind: Literal["charge"]
    id: str
    what: str
    events: tuple[Cost, ...]
    under: str | None = None
    division: str | None = None
    revision: int = 0
    noise: str | None = None

    @field_validator("events")
    @classmethod
    def _with_a_price(cls, events: tuple[Cost, ...]) -> tuple[Cost, ...]:
        if not all(event.private for event in events):
            raise ValueError("an access without noise has no price: it is a look, not a charge")
        return events


class LookLine(_Sealed):
    """A use of a split without noise, by the sweep that holds the reservation `under`; no epsilon covers it."""

    kind: Literal["look"]
    id: str
    what: str
    split: Part
    under: str | None = None


class NoLooks(_Sealed):
    """From here on, no look without noise is admitted."""

    kind: Literal["no-looks"]


class CapLine(_Sealed):
    """From here on, all charges together keep within `cap`."""

    kind: Literal["cap"]
    cap: Cap


class Reserve(_Sealed):
    """What somebody is about to ask, at most; it replaces an earlier reservation of the same id."""

    kind: Literal["reserve"]
    id: str
    what: str
    events: tuple[Cost, ...]


class Close(_Sealed):
    """The end of the reservation `id`."""

    kind: Literal["close"]
    id: str


def _kind(line: Any) -> Any:
    return line.get("kind") if isinstance(line, dict) else line.kind


Entry = Annotated[
    Annotated[Charge, Tag("charge")]
    | Annotated[LookLine, Tag("look")]
    | Annotated[NoLooks, Tag("no-looks")]
    | Annotated[CapLine, Tag("cap")]
    | Annotated[Reserve, Tag("reserve")]
    | Annotated[Close, Tag("close")],
    Discriminator(_kind),
]
Line = Charge | LookLine | NoLooks | CapLine | Reserve | Close
ENTRY: TypeAdapter[Line] = TypeAdapter(Entry)
Lines = tuple[Line, ...]
