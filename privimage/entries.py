"""What a line of the ledger may be: a charge, a cap, a reservation, or the end of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, TypeAdapter

from privimage.budget import Cost
from privimage.cap import Cap
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
    and `revision` says which images it was.
    """

    kind: Literal["charge"] = "charge"  # absent in the lines of older versions, which knew no other kind
    id: str
    what: str
    events: tuple[Cost, ...]
    under: str | None = None
    division: str | None = None
    revision: int = 0


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
    return line.get("kind", "charge") if isinstance(line, dict) else line.kind


Entry = Annotated[
    Annotated[Charge, Tag("charge")]
    | Annotated[CapLine, Tag("cap")]
    | Annotated[Reserve, Tag("reserve")]
    | Annotated[Close, Tag("close")],
    Discriminator(_kind),
]
ENTRY: TypeAdapter[Charge | CapLine | Reserve | Close] = TypeAdapter(Entry)
Lines = tuple[Charge | CapLine | Reserve | Close, ...]
