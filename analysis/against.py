"""Against: a table of results as a picture, every metric against a setting, as the paper's Figure 7 has it.

Rows of a method that differ in that setting alone are one line, at each budget; rows without it lie across.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from privimage.analysis import curves, front, typeset, words
from privimage.analysis.curves import Label
from privimage.analysis.repetitions import Cell
from privimage.analysis.table import ResultTable, TableRow
from privimage.errors import InputError
from privimage.metrics.metric import Metric
from privimage.privacy.budget import Budget

HEIGHT = 3.0  # inches of a panel


@dataclass(frozen=True, kw_only=True)
class Series:
    """Rows that differ in the setting alone, at one budget, and what each has set (None: it has no such setting)."""

    name: str
    method: str
    cells: tuple[tuple[Any, Cell], ...]

    @property
    def across(self) -> bool:
        """Whether it has no such setting."""
        return self.cells[0][0] is None


def draw(table: ResultTable, fields: Sequence[str]) -> bytes:
    """A PNG of every metric against the setting; what has to be stated stands below, and inside as its description.

    Several fields are one axis, for methods that have the same thing under different names.
    Raises InputError if no row has one of them.
    """
    return curves.png(figure(table, fields), typeset.statements(table))


def figure(table: ResultTable, fields: Sequence[str]) -> Figure:
    """The panels, one above the other on one axis, every line with its name at its end. Raises as `draw` does."""
    values = _values(table, fields)
    panels = [(metric, lines(table, metric, fields)) for metric in table.metrics.values()]
    height = max(HEIGHT, curves.LINE * (max(len(found) for _, found in panels) * 2 + 3) + 0.6)
    drawn = Figure(figsize=(8.5, 1.2 + height * len(panels)), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    order = list(dict.fromkeys(row.method for row in (*table.rows, *table.open_rows)))
    for ax, (metric, found) in zip(axes, panels, strict=True):
        _axis(ax, values)
        curves.write_title(ax, metric)
        labels = [
            _drawn(ax, line, front.style(line.method, order), dash, values)
            for line, dash in zip(found, _dashes(found), strict=True)
        ]
        front.stretch(ax, metric, [cell.mean for line in found for _, cell in line.cells])
        curves.write_labels(ax, [*labels, *curves.bases(ax, table.base(metric.name))], gap=curves.LINE / (height - 0.6))
    axes[-1].set_xlabel(", ".join(fields), fontsize=10)
    read = "Bars: one standard error of the mean. Dashed across: without this setting. Thin: reached without learning."
    if any(metric.non_private for metric in table.metrics.values()):
        read += f" {words.DAGGER} computed from sensitive images without noise; no epsilon covers it."
    curves.write_below(drawn, [read, *typeset.statements(table)])
    return drawn


def lines(table: ResultTable, metric: Metric, fields: Sequence[str]) -> list[Series]:
    """The lines of a metric, in the order of the table, each by rising values of the setting."""
    groups: dict[tuple[str, Budget | None], list[tuple[TableRow, Cell]]] = {}
    for row in (*table.rows, *table.open_rows):
        rest = {path: value for path, value in row.used.items() if path not in fields}
        kind = json.dumps([row.method, row.settled, rest], sort_keys=True)
        at = {budget: row.cells[budget, metric.name] for budget in table.budgets if (budget, metric.name) in row.cells}
        own = at if row.by_budget else dict([(None, cell) for cell in at.values()][-1:])
        for budget, cell in own.items():
            groups.setdefault((kind, budget), []).append((row, cell))
    return [_line(table, budget, group, fields) for (_, budget), group in groups.items()]


def value_of(row: TableRow, fields: Sequence[str]) -> Any:
    """What the row has set: the first of the fields of its method that it has (None: it has none of them)."""
    return next((row.used[path] for path in fields if path in _settings(row)), None)


def _settings(row: TableRow) -> list[str]:
    """What its method has set; the rest says how its sweep was searched."""
    return [path for path, value in row.used.items() if value is not None and path.startswith("method.")]


def _line(
    table: ResultTable, budget: Budget | None, group: Sequence[tuple[TableRow, Cell]], fields: Sequence[str]
) -> Series:
    row = group[0][0]
    others = [f"{path.removeprefix('method.')} {words.setting(v)}" for path, v in row.settings if path not in fields]
    at = [] if budget is None or len(table.budgets) == 1 else [table.at(budget)]
    cells = [(value_of(row, fields), cell) for row, cell in group]
    return Series(
        name=curves.named(row.method, [*filter(None, [row.settled]), *others, *at]),
        method=row.method,
        cells=tuple(sorted(cells, key=lambda one: _size(one[0]))),
    )


def _dashes(lines: Sequence[Series]) -> list[curves.Dash]:
    """A dash for each line of a method, the first one whole."""
    before = [sum(other.method == line.method for other in lines[:i]) for i, line in enumerate(lines)]
    return [curves.DASHES[nth % len(curves.DASHES)] for nth in before]


def _size(value: Any) -> tuple[float, str]:
    return (float(value), "") if _numeric([value]) else (math.inf, str(value))


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _values(table: ResultTable, fields: Sequence[str]) -> list[Any]:
    """What the setting is set to, numbers by their size, others in the order of the table."""
    rows = [*table.rows, *table.open_rows]
    values = list(dict.fromkeys(value for row in rows if (value := value_of(row, fields)) is not None))
    if not values:
        known = sorted({path for row in rows for path in _settings(row)})
        near = "".join(f"; they have {one}" for one in get_close_matches(fields[0], known, n=1, cutoff=0))
        raise InputError(f"--against: no row of these runs has {' or '.join(map(repr, fields))}{near}")
    return sorted(values) if _numeric(values) else values


def _axis(ax: Axes, values: Sequence[Any]) -> None:
    """x by size, logarithmic where numbers lie far apart; what is no number stands at even distances."""
    ticks = [_x(value, values) for value in values]
    if _numeric(values) and min(ticks) > 0 and max(ticks) > front.SPAN * min(ticks):
        ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(ticks, [words.setting(value) for value in values])
    ax.grid(color="#dddddd", linewidth=0.7)
    ax.spines[["top", "right"]].set_visible(False)


def _x(value: Any, values: Sequence[Any]) -> float:
    return float(value) if _numeric(values) else float(values.index(value))


def _drawn(ax: Axes, line: Series, look: tuple[str, str], dash: curves.Dash, values: Sequence[Any]) -> Label:
    """Draws a line; its label."""
    colour, marker = look
    if line.across:
        mean = line.cells[0][1].mean
        ax.axhline(mean, color=colour, linewidth=1.2, linestyle=curves.OPEN, zorder=1)
        return Label(text=line.name, x=None, y=mean, colour=colour)
    x = [_x(value, values) for value, _ in line.cells]
    y = [cell.mean for _, cell in line.cells]
    error = [math.nan if cell.error is None else cell.error for _, cell in line.cells]
    ax.errorbar(
        x, y, yerr=error, color=colour, marker=marker, markersize=10 if marker == "*" else 6.5,
        markeredgecolor="white" if marker not in "x+" else colour, linestyle=dash, linewidth=1.6, capsize=3, zorder=3,
    )  # fmt: skip
    return Label(text=line.name, x=x[-1], y=y[-1], colour=colour, dash=dash)
