"""Table: one or more runs of the same data as a table for a paper, a row a method, a column an epsilon and a metric.

No row stands here because of its figures. Every finished trial is in the row of its settings (see `repetitions`), and
every row is shown; to show the best trial of a search, its means would be those of lucky ones. What is in bold is
chosen by figures, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from privimage.analysis import facts, methods, pareto, price, scale, words
from privimage.analysis.facts import Facts
from privimage.analysis.repetitions import Cell, Repetition, cell, different, settings_apart
from privimage.analysis.scale import Base
from privimage.errors import InputError
from privimage.metrics.metric import Metric
from privimage.paths import RunFolder
from privimage.privacy.budget import Budget

PLACES = ("sensitive.root", "sensitive.download", "public.download")  # where images lie, not which they are
NO_BASE = Base(chance=None, largest=None)
Place = tuple[Budget, str]  # of a cell: its budget and the name of its metric


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row: a method with the settings that tell it from other rows of that method.

    `cost` is the epsilon of one trial of a row whose figures are the same at every budget (None for others): such a row
    stands at every budget that it fits in. `key` names it among the rows of its table.
    """

    key: str
    method: str
    settled: str
    settings: tuple[tuple[str, Any], ...]
    used: Mapping[str, Any]  # all its settings, by dotted names
    private: bool
    by_budget: bool
    cost: float | None
    cells: dict[Place, Cell]

    @property
    def parts(self) -> list[str]:
        """What is said of it in brackets: how its settings were chosen, what they are, its price if that is its own."""
        own = [] if self.cost is None else [f"epsilon {words.epsilon(self.cost)}"]
        named = [f"{path.removeprefix('method.')} {words.setting(value)}" for path, value in self.settings]
        return [*([self.settled] if self.settled else []), *named, *own]

    @property
    def label(self) -> str:
        """The method, and what is said of it."""
        return f"{self.method} ({', '.join(self.parts)})" if self.parts else self.method


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """Rows with a guarantee in `rows`, those without in `open_rows`; `bases` are base rates by metric."""

    runs: tuple[Facts, ...]
    budgets: tuple[Budget, ...]
    metrics: dict[str, Metric]
    rows: tuple[TableRow, ...]
    open_rows: tuple[TableRow, ...]

    @property
    def places(self) -> list[Place]:
        """The places of all columns, in order."""
        return [(budget, name) for budget in self.budgets for name in self.metrics]

    @property
    def bases(self) -> list[tuple[str, dict[str, float | None]]]:
        """Base rates, as rows; see `scale`."""
        return max((scale.base_rows(found) for found in self.runs), key=len)

    def base(self, name: str) -> Base:
        """The base rates of a metric."""
        return next((rate for found in self.runs if (rate := scale.base(found, name)).floor is not None), NO_BASE)

    def best(self, place: Place) -> float | None:
        """The best mean of the rows with a guarantee in a column."""
        values = [row.cells[place].mean for row in self.rows if place in row.cells]
        return (min if self.metrics[place[1]].direction == "min" else max)(values, default=None)

    def is_best(self, row: TableRow, place: Place) -> bool:
        """Whether it has that mean, and a guarantee."""
        return row.private and place in row.cells and row.cells[place].mean == self.best(place)

    def at(self, budget: Budget) -> str:
        """What a column's budget is called: by its epsilon, and by its delta where that differs."""
        deltas = {other.delta for other in self.budgets}
        return f"epsilon {budget.epsilon:g}" + (f", delta {budget.delta:g}" if len(deltas) > 1 else "")

    def together(self, delta: float) -> float:
        """The epsilon of everything that all its runs may ask, however one was chosen in the light of another."""
        return price.together(self.runs, delta)


def read(folders: Sequence[Path]) -> ResultTable:
    """The table of these runs.

    Raises InputError if one is no run or has no finished trial, is given twice, or is of other data or metrics.
    """
    if not folders:
        raise InputError("RUN: none is given; give the folder of a run, e.g. runs/demo")
    return of_runs(read_all(folders))


def read_all(folders: Sequence[Path]) -> list[Facts]:
    """The facts of these runs. Raises InputError if one is no run or has no finished trial, or is given twice."""
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{folder}: given twice; give every run once")
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected the folder of a run, e.g. runs/demo")
    return [facts.read(RunFolder(path=folder)) for folder in folders]


def of_runs(runs: Sequence[Facts]) -> ResultTable:
    """The table of runs that were read. Raises InputError if they are of other data or metrics."""
    for one, other in pairwise(runs):
        _refuse_mixture(one, other)
    metrics = runs[0].metrics
    entries = [Repetition(record=record, found=found) for found in runs for record in found.records]
    private = [entry.record for entry in entries if entry.record.private]
    budgets = tuple(sorted({r.budget for r in private or [e.record for e in entries]}, key=_by_epsilon))
    groups: dict[str, list[Repetition]] = {}
    for entry in entries:
        groups.setdefault(entry.row, []).append(entry)
    rows = _in_order([_row(group, _apart(group[0], groups), budgets, metrics) for group in groups.values()], entries)
    return ResultTable(
        runs=tuple(runs), budgets=budgets, metrics=metrics, rows=tuple(row for row in rows if row.private),
        open_rows=tuple(row for row in rows if not row.private),
    )  # fmt: skip


def _by_epsilon(budget: Budget) -> tuple[float, float]:
    return budget.epsilon, budget.delta


def _apart(entry: Repetition, groups: dict[str, list[Repetition]]) -> list[str]:
    """The settings in which the rows of this entry's method differ."""
    return settings_apart([g[0] for g in groups.values() if _kind(g[0]) == _kind(entry)])


def _kind(entry: Repetition) -> tuple[str, str]:
    return entry.record.method, entry.settled


def _row(
    group: Sequence[Repetition], apart: Sequence[str], budgets: Sequence[Budget], metrics: dict[str, Metric]
) -> TableRow:
    first = group[0]
    cells: dict[Place, Cell] = {}
    for budget in budgets:
        here = different(entry for entry in group if stands(entry, budget))
        for name in metrics:
            pairs = [(entry.draw, entry.record.value(name)) for entry in here]
            found = cell((draw, value) for draw, value in pairs if value is not None)
            if found is not None:
                cells[budget, name] = found
    private, by_budget = first.record.private, first.by_budget
    spent = [entry.record.epsilon_alone for entry in group if entry.record.epsilon_alone is not None]
    return TableRow(
        key=first.row, method=first.record.method, settled=first.settled, private=private, by_budget=by_budget,
        settings=tuple((path, first.settings.get(path)) for path in apart), used=first.settings,
        cost=max(spent) if private and not by_budget else None, cells=cells,
    )  # fmt: skip


def stands(entry: Repetition, budget: Budget) -> bool:
    """Whether its figures belong to that budget: it was run at it, or they are the same wherever it fits in."""
    record = entry.record
    if entry.by_budget or record.budget == budget:
        return record.budget == budget
    spent = record.epsilon_alone
    return spent is None or (spent <= budget.epsilon and record.budget.delta <= budget.delta)


def _in_order(rows: Sequence[TableRow], entries: Sequence[Repetition]) -> list[TableRow]:
    """The searched method first, then by what methods stand for; then by settings, numbers by their size."""
    main = pareto.main_method([entry.record for entry in entries])

    def place(row: TableRow) -> tuple[Any, ...]:
        settings = [_size(value) for _, value in row.settings]
        return row.method != main, methods.rank(row.method), row.method, row.settled, settings

    return sorted(rows, key=place)


def _size(value: Any) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (float("inf"), str(value))


def _refuse_mixture(one: Facts, other: Facts) -> None:
    """Raise InputError, naming the first key, if two runs are of other data or metrics."""
    a, b = data_of(one), data_of(other)
    for key in dict.fromkeys([*a, *b]):
        if a.get(key) != b.get(key):
            raise InputError(
                f"data.{key}: {a.get(key)!r} in {one.folder.path}, {b.get(key)!r} in {other.folder.path}; a table is "
                "of runs on the same data: make one a set"
            )
    for name in one.metrics.keys() ^ other.metrics.keys():
        has, lacks = (one, other) if name in one.metrics else (other, one)
        raise InputError(
            f"metrics: {name} was measured in {has.folder.path}, not in {lacks.folder.path}; a table is of runs with "
            "the same objectives and metrics"
        )


def data_of(found: Facts) -> dict[str, Any]:
    """What says which images its trials had, by dotted names below `data`."""
    leaves = pareto.flatten(found.records[0].setting("data") or {})
    return {path: value for path, value in leaves.items() if path not in PLACES}
