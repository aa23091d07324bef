"""What a sweep shows while it runs: trials done, the stage of every running trial, and the best so far."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import RayError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from privimage import record as records
from privimage.paths import RunFolder
from privimage.record import Record
from privimage.statement import epsilon
from sweeps.sweep import Sweep

PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}  # "[" in a name is no markup


HIDDEN = "a private selection: the number of its trials and their scores are not shown"


class Display:
    """A live bar on a terminal, else one line a finished trial. Never private pixels, labels or per-image values.

    Without a total (a private selection) no count, no score and no name of a trial is shown.
    """

    def __init__(self, *, sweep: Sweep, folder: RunFolder, actor: Any, total: int | None, quiet: bool) -> None:
        self._sweep, self._folder, self._actor, self._total = sweep, folder, actor, total
        self._quiet = quiet
        self._console = Console(file=sys.stderr)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3)

    def _loop(self) -> None:
        counts = (MofNCompleteColumn(),) if self._total is not None else ()
        columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeElapsedColumn())
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as progress:
            task = progress.add_task(self._sweep.name, total=self._total)
            last = time.monotonic()
            while True:
                ending = self._stop.is_set()
                found = self._records()
                for record in found:
                    if record.id not in self._seen:
                        self._seen.add(record.id)
                        progress.console.print(describe(record, self._sweep), **PLAIN)
                running = self._running()
                best = best_so_far(found, self._sweep) if self._total is not None else HIDDEN
                done = len(found) if self._total is not None else 0
                progress.update(task, completed=done, description=f"{running or 'starting'} | {best}")
                if not self._console.is_terminal and time.monotonic() - last > 30:
                    last = time.monotonic()
                    counted = f"{done}/{self._total} trials done; " if self._total is not None else ""
                    self._console.print(f"  {counted}running: {running} | {best}", **PLAIN)
                if ending:
                    return
                self._stop.wait(1.0)

    def _records(self) -> list[Record]:
        return records.load(self._folder.records) if self._folder.records.exists() else []

    def _running(self) -> str:
        try:
            board = ray.get(self._actor.board.remote(), timeout=5)
        except RayError:
            return ""
        parts = [
            (f"{trial[:4]} " if self._total is not None else "") + stage + (f" {100 * done // total}%" if total else "")
            for trial, (stage, done, total) in sorted(board.items())
        ]
        return ", ".join(parts)


def best_so_far(found: list[Record], sweep: Sweep) -> str:
    """The best search trial of every budget by the first objective, in a few words."""
    metric, direction = next(iter(sweep.objectives.items()))
    parts = []
    for budget in sweep.budgets:
        mine = [record for record in found if record.role == "search" and record.budget == budget]
        top = records.best(mine, metric=metric, direction=direction)
        if top is not None:
            parts.append(f"{top.value(metric):.3f} at epsilon {budget.epsilon:g}")
    return f"best {metric} " + ", ".join(parts) if parts else f"no {metric} yet"


def describe(record: Record, sweep: Sweep) -> str:
    """One line on a finished trial: what it was, what it cost, how good it is."""
    price = f"alone epsilon {epsilon(record.epsilon_alone)}" if record.epsilon_alone is not None else "NOT private"
    values = "  ".join(f"{m.name} {m.value:.3f}" for m in record.metrics)
    searched = (
        "  ".join(f"{dotted.removeprefix('method.')}={_at(record.config, dotted)}" for dotted in sweep.search)
        if record.role == "search"
        else ""
    )
    built = sum(stage.origin == "built" for stage in record.stages)
    return (
        f"  {record.id[:4]}  {record.method:<17} {price:<15} {values}  {searched}"
        f"  ({record.seconds:.0f} s, {built}/{len(record.stages)} stages computed)"
    )


def _at(config: dict[str, Any], dotted: str) -> Any:
    for part in dotted.split("."):
        config = config[part]
    return config
