"""How far a sweep is: trials done of every row, what runs now, and about how long the rest takes.

The process that runs a sweep writes this beside its records every second or two, so that `status` in another terminal
knows it. Of a private selection it tells the comparison rows only: nothing here depends on the number of its trials.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from privimage import record as records
from privimage.errors import InputError
from privimage.paths import RunFolder
from privimage.progress import Progress
from privimage.record import Record
from privimage.schema import Frozen
from privimage.text import count, duration

SILENT = 30.0  # seconds after which a sweep that wrote nothing is taken for ended


class RowDone(Frozen):
    """So many trials of one kind: the search at a budget, or a comparison row (`compared`)."""

    label: str
    done: int
    total: int
    compared: bool = False


class Running(Frozen):
    """A trial that runs now: its row, and how far its stage is."""

    label: str
    now: Progress

    def __str__(self) -> str:
        return f"{self.label}: {self.now}"


class Standing(Frozen):
    """How far a sweep was at the time `at` (seconds since 1970); `left` is about how many seconds the rest takes."""

    at: float
    phase: str
    rows: tuple[RowDone, ...]
    running: tuple[Running, ...]
    left: float | None
    ended: bool = False

    @property
    def alive(self) -> bool:
        """Whether the sweep that wrote this still runs."""
        return not self.ended and time.time() - self.at < SILENT

    def lines(self) -> list[str]:
        """What `status` says: one line a row, one for what runs, one for the time left."""
        width = max((len(row.label) for row in self.rows), default=0)
        said = [f"{row.label:<{width}}  {row.done} of {count(row.total, 'trial')}" for row in self.rows]
        if all(row.done == row.total for row in self.rows) and self.ended:
            return said
        if not self.alive:
            return [*said, "not running now; run the sweep's command again to go on"]
        stages = ", ".join(map(str, self.running))
        return [*said, f"{self.phase}: {stages or 'nothing has started yet'}{remaining(self.left)}"]


def remaining(seconds: float | None) -> str:
    """The time left as the end of a line; nothing while it is not known.

    >>> remaining(40), remaining(400), remaining(40_000), remaining(None)
    ('; about 40 s left', '; about 7 min left', '; about 11.1 h left', '')
    """
    if seconds is None:
        return ""
    return f"; about {duration(seconds if seconds >= 90 else max(10, round(seconds, -1)))} left"


def write(path: Path, standing: Standing) -> None:
    """Put it in the place of what was written before. It is a courtesy: nothing is synced, no error is raised."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.write_text(standing.model_dump_json(), encoding="utf-8")
        os.replace(draft, path)
    except OSError:
        return


def read(folder: RunFolder) -> Standing | None:
    """What the sweep of this run wrote last; None if it wrote nothing that can be read."""
    for path in (folder.progress, folder.internal_progress):
        try:
            return Standing.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            continue
    return None


def by_method(found: Sequence[Record]) -> list[str]:
    """What is known of a run that left no account of how far it is: how many trials of each method have ended."""
    ended = Counter(record.method for record in found)
    return [f"{method:<18} {count(n, 'trial')}" for method, n in ended.items()] or ["no finished trial yet"]


def load_records(path: Path) -> list[Record]:
    """The records that can be read now: while a sweep runs, none is no error."""
    try:
        return records.so_far(path)
    except InputError:
        return []
