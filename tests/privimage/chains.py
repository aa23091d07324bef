"""A ledger with charges in it."""

from __future__ import annotations

from privimage.privacy.budget import Event
from privimage.privacy.ledger import Ledger

QUERY = Event(purpose="query", split="train", sigma=5)
IDS = ("a", "b", "c", "d")


def fill(ledger: Ledger, ids: tuple[str, ...] = IDS) -> None:
    for id in ids:
        ledger.charge(id=id, what=f"access {id}, 'é'", events=(QUERY,))
