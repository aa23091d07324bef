"""Watching a run: the same as `status`, shown again and again until the sweep ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from privimage.analysis import facts, so_far
from privimage.analysis.facts import Facts
from privimage.paths import RunFolder
from privimage.sweeps import progress
from privimage.sweeps.cli.documents.status import StatusDocument, status_document
from privimage.sweeps.cli.terminal import out
from privimage.sweeps.interrupt import Stopped
from privimage.sweeps.progress import NOT_RUNNING, Standing, remaining
from privimage.text import count

EVERY = 1.0  # seconds between two looks
MOST = 12  # rows with trials at work, or left, that are shown; the others are counted
Made = TypeVar("Made")


def watch(folder: RunFolder) -> None:
    """Show how far the run is until its sweep ends, or Ctrl-C: that leaves the sweep alone.

    Where standard output is no terminal, what is shown at the end is printed. Raises InputError if there is no run,
    and Stopped after Ctrl-C.
    """
    found = _Remembered(lambda: facts.begun(folder))
    view = _Remembered(lambda: status_document(found.value, _standing(folder, found.value)))
    try:
        with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                of = found.of(*_records(folder))
                ledgers = [folder.root.ledger(id) for id in so_far.sensitive_of(of)]
                told = [folder.progress, folder.internal_progress]
                seen = view.of(*_records(folder), *ledgers, *told, at=int(time.time() / progress.SILENT))
                live.update(shown(seen), refresh=True)
                if seen.state != "running":
                    return
                time.sleep(EVERY)
    except KeyboardInterrupt:
        raise Stopped("no longer watched; the sweep goes on") from None


def _standing(folder: RunFolder, found: Facts) -> Standing | None:
    return progress.of_run(folder, found.records, mode=found.bill.mode)


def _records(folder: RunFolder) -> list[Path]:
    return [folder.records, folder.bill, folder.sweep, folder.stand_in.records]


class _Remembered(Generic[Made]):
    """What was made of some files, made anew when one of them has changed: nothing is parsed every second."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make, self._seen = make, object()
        self.value: Made

    def of(self, *files: Path, at: int = 0) -> Made:
        """What is made of the files as they are now; made anew also where `at` has changed."""
        seen = (at, *map(_mark, files))
        if seen != self._seen:
            self.value, self._seen = self._make(), seen
        return self.value


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def shown(now: StatusDocument) -> Group:
    """What the terminal shows: the price first, then the rows, then what the run has come to."""
    said = [*now.warnings, *now.statement, "", _headline(now)]
    parts = [Text(line) for line in said]
    table = Table("row", "done", "running", "waiting", "at work")
    for column in table.columns[1:4]:
        column.justify = "right"
    rows = sorted(now.rows, key=lambda row: (not row.running, not row.waiting))
    for row in rows[:MOST]:
        stages = [one.stage + _share(one.done, one.total) for one in now.running if one.row == row.row]
        numbers = (f"{row.done}/{row.total}", str(row.running or ""), str(row.waiting or ""))
        table.add_row(*map(Text, (row.row, *numbers, ", ".join(stages))))
    more = [Text(f"and {count(len(rows) - MOST, 'row')} more")] if len(rows) > MOST else []
    below = [Text(line) for line in _below(now)]
    return Group(*parts, *([table] if rows else []), *more, *below)


def _headline(now: StatusDocument) -> str:
    """One line on all rows together."""
    if now.state == "unknown":
        return "this run has left no word on how far it is"
    done, total = sum(row.done for row in now.rows), sum(row.total for row in now.rows)
    rate = f", {now.trials_per_hour:.3g} trials an hour" if now.trials_per_hour is not None else ""
    counted = f"{done} of {count(total, 'trial')} done{rate}{remaining(now.seconds_left)}"
    if now.state == "running":
        return f"{now.phase}: {counted}"
    return f"done: {counted}" if now.state == "done" else f"{counted}; {NOT_RUNNING}"


def _below(now: StatusDocument) -> list[str]:
    return [
        *(f"best so far: {best}" for best in now.best),
        *([f"stages: {'; '.join(map(str, now.stages))}"] if now.stages else []),
        *map(str, now.spent),
    ]


def _share(done: int, total: int) -> str:
    return f" {100 * done // total}%" if total else ""


def results(found: Facts) -> list[str]:
    """What `status` says of the results of a run: the best of every budget, and stages computed and found."""
    stages = so_far.stage_uses(found)
    return [
        *(f"best so far: {best}" for best in so_far.best_so_far(found)),
        *([f"stages: {'; '.join(map(str, stages))}"] if stages else []),
    ]
