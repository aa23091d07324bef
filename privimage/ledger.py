"""Ledger: one append-only, hash-chained file per sensitive set, charged before the data is touched.

One JSON line a charge. A charge has an id (what is asked, of what); charging the same id again costs nothing and
writes nothing, which is what makes a killed run resumable without paying twice. All sweeps on a set share its ledger.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from privimage.accounting import epsilon
from privimage.budget import Cost, Event
from privimage.errors import InputError
from privimage.schema import Frozen, digest

GENESIS = "0" * 64


class Charge(Frozen):
    """One line of a ledger: what was asked, the events it cost, and the chain's hash up to here."""

    number: int
    id: str
    what: str
    events: tuple[Cost, ...]
    at: str
    previous: str
    hash: str

    def expected_hash(self) -> str:
        """The hash that this line must carry given its other fields."""
        return digest(self.model_dump(mode="json", exclude={"hash"}))


class Ledger:
    """The charges against one sensitive set, in the file `path`. Safe for concurrent processes on one file system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(str(path) + ".lock")

    def charge(self, *, id: str, what: str, events: Sequence[Cost]) -> bool:
        """True if the charge was written (and is on disk), False if this id had been charged before.

        Call it before the data is touched. Raises InputError if the ledger is damaged, or if the id was charged
        with other events.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            charges = self.charges()
            for old in charges:
                if old.id == id:
                    if old.events != tuple(events):
                        raise InputError(f"{self.path}: charge {id[:12]} exists with other events")
                    return False
            previous = charges[-1].hash if charges else GENESIS
            fields: dict[str, Any] = {
                "number": len(charges),
                "id": id,
                "what": what,
                "events": tuple(events),
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "previous": previous,
            }
            draft = Charge(**fields, hash="")
            self._append(draft.model_copy(update={"hash": draft.expected_hash()}))
        return True

    def charged(self, id: str) -> bool:
        """Whether this id was charged before."""
        return any(charge.id == id for charge in self.charges())

    def _append(self, charge: Charge) -> None:
        with self.path.open("ab") as file:
            file.write((charge.model_dump_json() + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def charges(self) -> list[Charge]:
        """All charges, oldest first. Raises InputError naming the line where the chain is broken.

        A last line without its newline was cut while being written, so nothing was asked on it: it is dropped.
        """
        if not self.path.exists():
            return []
        raw = self.path.read_bytes()
        if raw and not raw.endswith(b"\n"):
            raw = self._drop_torn_line(raw)
        charges: list[Charge] = []
        for number, line in enumerate(raw.splitlines()):
            try:
                charge = Charge.model_validate_json(line)
            except ValueError:
                raise InputError(f"{self.path}: line {number + 1} is not a charge; the ledger is damaged") from None
            previous = charges[-1].hash if charges else GENESIS
            if charge.number != number or charge.previous != previous or charge.hash != charge.expected_hash():
                raise InputError(f"{self.path}: line {number + 1} breaks the hash chain; the ledger was changed")
            charges.append(charge)
        return charges

    def _drop_torn_line(self, raw: bytes) -> bytes:
        with self._lock:  # re-entrant: charge() already holds it
            raw = self.path.read_bytes()
            whole = raw[: raw.rfind(b"\n") + 1]
            os.truncate(self.path, len(whole))
        return whole

    def epsilon(self, delta: float) -> float:
        """Total epsilon at `delta` of every private charge; non-private diagnostics are listed, not covered."""
        events = [event for charge in self.charges() for event in charge.events if event.private]
        return epsilon(events, delta)


def render(charges: Sequence[Charge]) -> list[dict[str, Any]]:
    """Rows for a table: number, time, what was asked, and its events as (purpose, sigma, q, steps)."""
    return [
        {
            "#": charge.number,
            "at": charge.at,
            "what": charge.what,
            "events": "; ".join(
                f"{e.purpose} sigma={e.sigma:.4g} q={e.q:.4g} steps={e.steps}" if e.private else "NOT PRIVATE"
                for e in charge.events
                if isinstance(e, Event)
            ),
        }
        for charge in charges
    ]
