"""The document of `ledger show`: every line of a ledger, what is spent, and the cap."""

from __future__ import annotations

from typing import Literal

from privimage.privacy import statement
from privimage.privacy.budget import Budget
from privimage.privacy.ledger import Ledger
from privimage.record import finite
from privimage.schema import Frozen
from privimage.sweeps.cli.documents.document import Document

Kind = Literal["charge", "look", "no-looks", "cap", "reserve", "close"]


class LedgerRow(Frozen):
    """One line: what it is, when it was written, what was asked, and its price in noise, in the words of the text."""

    number: int  # from 1
    kind: Kind
    at: str
    what: str
    events: str


class LedgerDocument(Document):
    """`epsilon` is spent at `delta`, `why` by which rule; None where it is infinite. `statement` says it all."""

    document: Literal["ledger"] = "ledger"
    path: str
    epsilon: float | None
    delta: float
    why: str
    cap: Budget | None
    lines: tuple[LedgerRow, ...]
    details: tuple[str, ...]


def ledger_document(ledger: Ledger, *, delta: float | None, details: bool) -> LedgerDocument:
    """What the ledger says at `delta` (that of the cap if None, else 1e-5). Raises InputError if it is damaged."""
    lines, cap = ledger.lines(), ledger.cap()
    if delta is None:
        delta = statement.usual_delta(cap)
    value, why = statement.total(lines, delta)
    rows = zip(lines, statement.rows(lines), strict=True)
    return LedgerDocument(
        path=str(ledger.path),
        statement=tuple(statement.sentences(ledger, delta=delta)),
        warnings=(),
        epsilon=finite(value),
        delta=delta,
        why=why,
        cap=None if cap is None else cap.budget,
        lines=tuple(
            LedgerRow(number=line.number + 1, kind=line.kind, at=at, what=what, events=events)
            for line, (_, at, what, events) in rows
        ),
        details=tuple(statement.details(ledger, delta=delta)) if details else (),
    )
