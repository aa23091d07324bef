"""What a sweep shows while it runs: trials done of every row, the stage of every running trial, the time left."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import RayError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from privimage import record as records
from privimage.cluster.resources import SHARES, Resources
from privimage.privacy.statement import epsilon
from privimage.progress import Progress
from privimage.record import Record
from privimage.sweeps import progress
from privimage.sweeps.phase import at
from privimage.sweeps.progress import Running, Standing, remaining
from privimage.sweeps.sweep import Sweep
from privimage.sweeps.tally import Tally
from privimage.sweeps.work import Work
from privimage.text import PLAIN, count

EVERY = 30.0  # seconds between two lines where there is no terminal
WAITING = 60.0  # seconds without a running trial after which the reason is said

HIDDEN = "a private selection: the number of its trials and their scores are not shown"


class Display:
    """A live bar on a terminal, else one line a finished trial. Never private pixels, labels or per-image values.

    Of a `hidden` phase (a private selection) no count, no score, no stage and no time is shown but those of comparison
    rows: whoever sees when its trials begin can count them. `labels` are the rows of trials that were fixed beforehand.
    """

    def __init__(
        self, work: Work, *, actor: Any, tally: Tally, labels: Mapping[str, str], phase: str, hidden: bool
    ) -> None:
        self._work, self._actor, self._tally, self._labels = work, actor, tally, labels
        self._phase, self._hidden = phase, hidden
        self._path = work.folder.internal_progress if hidden else work.folder.progress
        self._console = Console(file=sys.stderr, quiet=work.quiet)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._seen: set[str] = set()
        self._told, self._idle = time.monotonic(), time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=3)

    def _loop(self) -> None:
        counts = () if self._hidden else (MofNCompleteColumn(),)
        elapsed = () if self._hidden else (TimeElapsedColumn(),)
        columns = (TextColumn("{task.description}"), BarColumn(), *counts, *elapsed)
        if self._hidden:
            self._console.print(f"  {HIDDEN}", **PLAIN)
        silent = not self._console.is_terminal
        with Bar(*columns, console=self._console, disable=silent, transient=self._hidden) as bar:
            task = bar.add_task(self._work.sweep.name, total=None)
            while True:
                ending = self._stop.is_set()
                found = progress.load_records(self._work.folder.records)
                now = self._now(found, ending=ending)
                progress.write(self._path, now)
                self._tell_finished(found, bar.console)
                self._show(now, found, bar, task)
                if ending:
                    return
                self._stop.wait(1.0)

    def _now(self, found: list[Record], *, ending: bool) -> Standing:
        return Standing(
            at=time.time(),
            phase=self._phase,
            rows=self._tally.rows(found),
            running=() if ending else self._running(),
            left=None if self._hidden else self._tally.left(found),
        )

    def _tell_finished(self, found: list[Record], console: Console) -> None:
        for record in found:
            if record.id not in self._seen:
                self._seen.add(record.id)
                console.print(describe(record, self._work.sweep), **PLAIN)

    def _show(self, now: Standing, found: list[Record], bar: Bar, task: Any) -> None:
        what = now.under_way() or self._waiting() or "starting"
        if self._hidden:
            bar.update(task, description=self._phase if what == "starting" else f"{self._phase}: {what}")
            return
        done, total = sum(row.done for row in now.rows), sum(row.total for row in now.rows)
        what += f"{remaining(now.left)} | {best_so_far(found, self._work.sweep)}"
        bar.update(task, completed=done, total=total, description=what)
        if not self._console.is_terminal and time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            self._console.print(f"  {done} of {count(total, 'trial')} done, {total - done} left; {what}", **PLAIN)

    def _waiting(self) -> str:
        """After a minute without a running trial: for what it waits."""
        if time.monotonic() - self._idle < WAITING:
            return ""
        try:
            free = ray.available_resources()
        except RayError:
            return "waiting for Ray"
        return f"waiting for Ray to start a trial: it needs {needs(self._work.sweep.resources)}; free are " + (
            f"{free.get('CPU', 0):g} CPU and {free.get('GPU', 0):g} GPU in all"
        )

    def _running(self) -> tuple[Running, ...]:
        """What the board shows; of a private selection the comparison rows only."""
        try:
            board: dict[str, Progress] = ray.get(self._actor.board.remote(), timeout=5)
        except RayError:
            return ()
        if board:
            self._idle = time.monotonic()
        running = []
        for shown, now in sorted(board.items()):
            id, _, label = shown.partition(" ")
            if id in self._labels or not self._hidden:
                running.append(Running(label=self._labels.get(id, label), now=now))
        return tuple(running)


def needs(resources: Resources) -> str:
    """What one trial needs, in words."""
    return ", or ".join(dict.fromkeys(f"{resources.share(name)}" for name in SHARES)) + ", each on one node"


def best_so_far(found: list[Record], sweep: Sweep) -> str:
    """The best search trial of every budget by the first objective, in a few words."""
    metric, direction = next(iter(sweep.objectives.items()))
    parts = []
    for budget in sweep.budgets:
        mine = [record for record in found if record.role == "search" and record.budget == budget]
        top = records.best(mine, metric=metric, direction=direction)
        if top is not None:
            parts.append(f"{top.value(metric):.3f} {at(budget, sweep)}")
    return f"best {metric} " + ", ".join(parts) if parts else f"no {metric} yet"


def describe(record: Record, sweep: Sweep) -> str:
    """One line on a finished trial: what it was, what it cost, how good it is."""
    price = f"alone epsilon {epsilon(record.epsilon_alone)}" if record.epsilon_alone is not None else "NOT private"
    values = "  ".join(f"{m.name} {m.value:.3f}" for m in record.metrics)
    searched = (
        "  ".join(f"{dotted.removeprefix('method.')}={record.setting(dotted)}" for dotted in sweep.search)
        if record.role == "search"
        else ""
    )
    built = sum(stage.origin == "built" for stage in record.stages)
    took = f"({record.seconds:.0f} s, {built}/{len(record.stages)} stages computed)"
    took = "" if sweep.tuning.hidden else took  # trials of the selection run beside it
    return f"  {record.id[:4]}  {record.method:<17} {price:<15} {values}  {searched}  {took}".rstrip()
