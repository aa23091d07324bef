"""How far a sweep is: trials done of every row, what runs now, and about how long the rest takes.

The process that runs a sweep writes this beside its records every second or two, so that `status` in another terminal
knows it. Of a private selection it tells the comparison rows only: nothing here depends on the number of its trials.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from privimage.errors import InputError
from privimage.paths import RunFolder
from privimage.privacy.budget import Budget
from privimage.privacy.modes import ModeName
from privimage.progress import Progress
from privimage.record import Record
from privimage.record_file import so_far
from privimage.schema import Frozen
from privimage.text import count, duration

SILENT = 30.0  # seconds after which a sweep that wrote nothing is taken for ended
STARTING = "starting"  # the phase before the first: data are read, Ray is started, and nothing is written meanwhile
PATIENCE = 900.0  # the same seconds, for that phase
NOT_RUNNING = "not running now; run the sweep's command again to go on"
SEARCH, FINAL = "search", "final run"  # how rows begin that are no comparison
SHOWN = 3  # rows under way that one line names


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
        return not self.ended and time.time() - self.at < (PATIENCE if self.phase == STARTING else SILENT)

    @property
    def whole(self) -> bool:
        """Whether it has ended with every trial done."""
        return self.ended and all(row.done == row.total for row in self.rows)

    def at_work(self, row: RowDone) -> tuple[Running, ...]:
        """The trials of this row that run now; none where nothing runs any more."""
        return tuple(one for one in self.running if one.label == row.label) if self.alive else ()

    def counted(self, found: Sequence[Record], *, search: str) -> Standing:
        """Itself while it runs; after that, with what records tell beyond it: who was killed wrote no last word.

        `search` is what rows of the search are called.
        """
        if self.alive:
            return self
        labels = {row.label for row in self.rows}
        done = Counter(next((one for one in _labels(record, search) if one in labels), None) for record in found)
        rows = (row.model_copy(update={"done": min(row.total, max(row.done, done[row.label]))}) for row in self.rows)
        return self.model_copy(update={"rows": tuple(rows)})

    def under_way(self) -> str:
        """What runs now in one short line: the first rows of which trials run, and how far each is; or nothing."""
        rows = [(row, mine) for row in self.rows if (mine := self.at_work(row))]
        said = [f"{row.label} {row.done}/{row.total} ({_stages_of(mine)})" for row, mine in rows[:SHOWN]]
        known = {row.label for row in self.rows}
        said += [str(one) for one in self.running if one.label not in known][: SHOWN - len(said)]
        more = len(rows) - SHOWN
        return ", ".join(said) + (f" and {count(more, 'more row')}" if more > 0 else "")

    def lines(self) -> list[str]:
        """What `status` says: one line a row, one for what runs, one for the time left."""
        width = max((len(row.label) for row in self.rows), default=0)
        said = [f"{row.label:<{width}}  {row.done} of {count(row.total, 'trial')}" for row in self.rows]
        if self.whole:
            return said
        if not self.alive:
            return [*said, NOT_RUNNING]
        stages = ", ".join(map(str, self.running))
        return [*said, f"{self.phase}: {stages or 'nothing has started yet'}{remaining(self.left)}"]


def at(budget: Budget, *, delta: bool) -> str:
    """At which budget, in words of a row; with its delta where its epsilon is not enough."""
    return f"at epsilon {budget.epsilon:g}" + (f", delta {budget.delta:g}" if delta else "")


def _labels(record: Record, search: str) -> list[str]:
    """What the row of a record may be called, by whether it depends on the budget, and whether epsilon says which."""
    name = search if record.role == "search" else record.method
    return [name, *(f"{name} {at(record.budget, delta=delta)}" for delta in (False, True))]


def _stages_of(running: Sequence[Running]) -> str:
    """How far the trials of one row are: one by its own words, several by how many are in each stage."""
    if len(running) == 1:
        return str(running[0].now)
    return ", ".join(f"{n} in {stage}" for stage, n in Counter(one.now.stage for one in running).items())


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


@contextmanager
def told(folder: RunFolder, *, hidden: bool) -> Iterator[None]:
    """While this lasts, another terminal is told that the sweep runs, also between its phases; then that it has ended.

    Of a private selection (`hidden`) both are told in the internal folder only. A run that has left no account of
    itself, so that nobody watches it yet, gets none here.
    """
    path = folder.internal_progress if hidden else folder.progress
    _change(path, phase=STARTING, running=(), left=None, ended=False)
    try:
        yield
    finally:
        _change(path, running=(), ended=True)


def _change(path: Path, **fields: object) -> None:
    known = _written(path)
    if known is not None:
        write(path, known.model_copy(update={**fields, "at": time.time()}))


def _written(path: Path) -> Standing | None:
    try:
        return Standing.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def read(folder: RunFolder) -> Standing | None:
    """What the sweep of this run wrote last; None if it wrote nothing that can be read."""
    return _written(folder.progress) or _written(folder.internal_progress)


def of_run(folder: RunFolder, found: Sequence[Record], *, mode: ModeName) -> Standing | None:
    """What the sweep wrote last, and once it does not run any more what its records tell beyond that."""
    now = read(folder)
    return None if now is None else now.counted(found, search=FINAL if mode == "public" else SEARCH)


def by_method(found: Sequence[Record]) -> list[str]:
    """What is known of a run that left no account of how far it is: how many trials of each method have ended."""
    ended = Counter(record.method for record in found)
    return [f"{method:<18} {count(n, 'trial')}" for method, n in ended.items()] or ["no finished trial yet"]


def load_records(path: Path) -> list[Record]:
    """The records that can be read now: while a sweep runs, none is no error."""
    try:
        return so_far(path)
    except InputError:
        return []
