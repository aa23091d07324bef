"""Repetitions: which records of one or more runs are the same thing done again, and what they come to in a table.

Same thing: one method with the same settings (as far as it uses them), and where what it does depends on its whole
sweep, of the same kind of sweep. A row never mixes settings of a search in the open: whatever was tried has a row of
its own, so that no choice by figures hides in a mean. How the settings of the winner of a private selection, or of a
run after a search on public data, were chosen is no choice by what is in view (a noisy score that is paid for; public
data), and it is done anew in every run: there the row is the procedure, and the settings may differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

from privimage.analysis import methods, pareto
from privimage.analysis.facts import Facts
from privimage.plain_yaml import read_yaml
from privimage.privacy.budget import Event
from privimage.record import Record

PROCEDURE = ("search", "tuning", "trials", "objectives")  # parts of a sweep that decide what its search does
BILLED = ("compare", "seeds")  # and, where one budget pays for everything, how much noise there is


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The mean of a metric over `n` repetitions, its standard error, and how many draws of the noise they are of.

    Trials of one root that use one noisy answer are one draw. With several draws, mean and error are those of the means
    of the draws; with one, those of its repetitions. One number has no error (None).
    """

    mean: float
    error: float | None
    n: int
    draws: int

    @property
    def shares_noise(self) -> bool:
        """Whether several repetitions use one noisy answer."""
        return self.draws < self.n


def cell(values: Iterable[tuple[str, float]]) -> Cell | None:
    """The cell of (draw, value) pairs; None if there are none.

    >>> cell([("a", 1.0), ("b", 3.0)])
    Cell(mean=2.0, error=1.0, n=2, draws=2)
    """
    groups: dict[str, list[float]] = {}
    for draw, value in values:
        groups.setdefault(draw, []).append(value)
    if not groups:
        return None
    every = [value for group in groups.values() for value in group]
    units = [fmean(group) for group in groups.values()] if len(groups) > 1 else every
    error = stdev(units) / math.sqrt(len(units)) if len(units) > 1 else None
    return Cell(mean=fmean(units), error=error, n=len(every), draws=len(groups))


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """A record of a run, as something that may be repeated."""

    record: Record
    found: Facts

    @property
    def settled(self) -> str:
        """How its settings were chosen, if not in the open; see `Said`."""
        return self.found.said.settled if self.record.role == "search" else ""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What tells it from others of its method, by dotted names."""
        method = pareto.flatten(methods.whole(self.record.setting("method") or {}))
        used = {f"method.{k}": v for k, v in method.items() if k != "name" and methods.uses(self.record.method, k)}
        if self.settled:
            used = {path: value for path, value in used.items() if path not in self.found.searched}
        return used | self._procedure

    @property
    def _procedure(self) -> dict[str, Any]:
        """What it does beyond its settings: nothing, where a trial meets its budget whatever else is done."""
        together = self.found.bill.together
        if not (self.settled or (together and self.record.private)) or not self.found.folder.sweep.exists():
            return {}
        sweep = read_yaml(self.found.folder.sweep)
        parts = {key: sweep.get(key) for key in (*PROCEDURE, *(BILLED if together else ()))}
        return {key: value for key, value in pareto.flatten(parts).items() if key != "tuning.seed"}

    @property
    def row(self) -> str:
        """Names the row that it belongs to."""
        return json.dumps([self.record.method, self.settled, self.settings], sort_keys=True)

    @cached_property
    def by_budget(self) -> bool:
        """Whether its figures depend on the budget: else it is the same at every budget, at a price of its own."""
        record = self.record
        scored = self.settled or any(metric.event is not None for metric in record.metrics)
        fields = pareto.flatten(record.setting("method") or {})
        return record.private and bool(scored or methods.by_budget(record.method, fields))

    @property
    def draw(self) -> str:
        """Names the noise that it may have in common with others: that of a shared answer, as its root has it."""
        shared = sorted(
            access.id for access in self.record.paid
            if any(isinstance(cost, Event) and cost.shared is not None for cost in access.events)
        )  # fmt: skip
        return json.dumps([self._root, *(shared or [self._made])])

    @property
    def same(self) -> tuple[str, str]:
        """Names what is one and the same, however often it is recorded, in this root and in all."""
        record = self.record
        # Without noise it is the same wherever it runs, and under whichever seed if all its figures are.
        ran = [record.id, record.started, record.seconds] if record.paid else [self.row]
        values = [(metric.name, metric.value) for metric in record.metrics]
        return json.dumps([self._root, self._made]), json.dumps([values, ran])

    @property
    def _root(self) -> str:
        return str(self.found.folder.root.path.resolve())

    @property
    def _made(self) -> str:
        return self.record.artefacts.get("samples", self.record.id)  # runs of one root find the same images again


def different(entries: Iterable[Repetition]) -> list[Repetition]:
    """The entries without those that are another one once more: found in the store of their root, or copied."""
    seen: set[str] = set()
    kept = []
    for entry in entries:
        if seen.isdisjoint(entry.same):
            kept.append(entry)
        seen.update(entry.same)
    return kept


def settings_apart(rows: Sequence[Repetition]) -> list[str]:
    """The dotted settings in which these differ, in order of appearance."""
    paths = dict.fromkeys(path for entry in rows for path in entry.settings)
    return [path for path in paths if len({json.dumps(entry.settings.get(path)) for entry in rows}) > 1]
