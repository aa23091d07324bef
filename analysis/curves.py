"""Curves: a table of results as a picture, every metric against epsilon; readable in print, and without colours."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from privimage.analysis import front, typeset, words
from privimage.analysis.scale import Base
from privimage.analysis.table import ResultTable, TableRow
from privimage.metrics.metric import Metric

Dash = tuple[float, tuple[float, ...] | None]
Point = tuple[float, float, float]  # epsilon, mean, standard error (nan: not known)

WIDE = 36  # characters of a line of a label
LINE = 0.17  # inches of one
DPI = 200
DASHES: tuple[Dash, ...] = ((0, None), (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)))  # of rows of one method
OPEN: Dash = (0, (5, 3))  # without privacy
OWN: Dash = (0, (1, 2))  # at every budget, for a price of its own


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A row with its points by rising epsilon, one where it is the same at every budget, and how it is drawn."""

    row: TableRow
    points: tuple[Point, ...]
    colour: str
    marker: str
    dash: Dash

    @property
    def flat(self) -> bool:
        """Whether it is the same at every budget."""
        return not self.row.by_budget


@dataclass(frozen=True, kw_only=True)
class Label:
    """What stands beside a line, at the right edge, and where that line ends: at x, or at the edge itself (None)."""

    text: str
    x: float | None
    y: float
    colour: str
    dash: Dash = (0, None)


def draw(table: ResultTable) -> bytes:
    """A PNG of every metric against epsilon; what has to be stated stands below, and inside as its description."""
    return png(figure(table), typeset.statements(table))


def png(drawn: Figure, statements: Sequence[str]) -> bytes:
    """The figure as a PNG, with what has to be stated as its description."""
    buffer = io.BytesIO()
    metadata = {"Software": None, "Description": " ".join(statements)}
    drawn.savefig(buffer, format="png", dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def write_title(ax: Axes, metric: Metric) -> None:
    """The metric above its panel, and which direction is better."""
    better = "lower is better" if metric.direction == "min" else "higher is better"
    ax.set_title(f"{words.metric(metric)} ({better})", loc="left", fontsize=10)


def write_below(drawn: Figure, notes: Sequence[str]) -> None:
    """How the picture is to be read, and what has to be stated."""
    below = "\n".join(textwrap.fill(note, 125) for note in notes)
    drawn.supxlabel(below, fontsize=8, color="#444444", x=0.01, ha="left")


def figure(table: ResultTable) -> Figure:
    """The panels, one above the other on one epsilon axis, every line with its name at its end."""
    lines = sum(len(_wrapped(_named(row))) for row in (*table.rows, *table.open_rows)) + len(table.bases)
    height = max(2.8, LINE * (lines + 1) + 0.6)
    drawn = Figure(figsize=(8.5, 1.2 + height * len(table.metrics)), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(len(table.metrics), 1, sharex=True, squeeze=False)[:, 0]
    panels = [(ax, metric, _curves(table, metric)) for ax, metric in zip(axes, table.metrics.values(), strict=True)]
    least = min(budget.epsilon for budget in table.budgets) / front.FAR  # below that nothing is a point any more
    for ax, metric, curves in panels:
        _points(ax, metric, [curve for curve in curves if curve.row.private and curve.points[0][0] >= least])
        front.epsilon_axis(ax, sorted({budget.epsilon for budget in table.budgets}))
    own = [row.cost for row in table.rows if row.cost is not None and row.cost >= least]
    ends = [*(budget.epsilon for budget in table.budgets), *own]
    axes[0].set_xlim(min(ends) / 1.5, max(ends) * 1.25)  # of all panels, and only now: each has widened it
    for ax, metric, curves in panels:
        labels = [*_across(ax, curves), *bases(ax, table.base(metric.name))]
        front.stretch(ax, metric, [mean for curve in curves for _, mean, _ in curve.points])
        write_labels(ax, [*labels, *(_label(curve) for curve in curves if not curve.flat)], gap=LINE / (height - 0.6))
    axes[-1].set_xlabel("epsilon (log scale)", fontsize=10)
    write_below(drawn, _below(table))
    return drawn


def _below(table: ResultTable) -> list[str]:
    """How the lines are to be read, and what has to be stated."""
    rows = [*table.rows, *table.open_rows]
    said = {
        "Bars: one standard error of the mean.": any(cell.error for row in rows for cell in row.cells.values()),
        "Dotted: the same at every budget, at the epsilon of its mark.": any(not row.by_budget for row in table.rows),
        "Dashed across: without privacy.": bool(table.open_rows),
        "Thin: reached without learning.": bool(table.bases),
        f"{words.DAGGER} computed from sensitive images without noise; no epsilon covers it.": any(
            metric.non_private for metric in table.metrics.values()
        ),
    }
    return [" ".join(sentence for sentence, so in said.items() if so), *typeset.statements(table)]


def _curves(table: ResultTable, metric: Metric) -> list[Curve]:
    """The rows that have the metric: the colour and the marker of a method, and a dash of each of its rows."""
    rows = [*table.rows, *table.open_rows]
    order = list(dict.fromkeys(row.method for row in rows))
    seen: dict[str, int] = {}
    curves = []
    for row in rows:
        colour, marker = front.style(row.method, order)
        nth = seen[row.method] = seen.get(row.method, -1) + 1
        here = [(budget.epsilon, row.cells.get((budget, metric.name))) for budget in table.budgets]
        points = [
            (e, cell.mean, math.nan if cell.error is None else cell.error) for e, cell in here if cell is not None
        ]
        if not row.by_budget:
            points = [(row.cost or 0.0, mean, error) for _, mean, error in points[:1]]
        dash = DASHES[nth % len(DASHES)]
        if points:
            curves.append(Curve(row=row, points=tuple(points), colour=colour, marker=marker, dash=dash))
    return curves


def _points(ax: Axes, metric: Metric, curves: Sequence[Curve]) -> None:
    """Draws rows with a guarantee, with their errors."""
    for curve in curves:
        x, y, error = (list(part) for part in zip(*curve.points, strict=True))
        first = curve.dash == DASHES[0]  # the markers of a method's other rows are hollow
        ax.errorbar(
            x, y, yerr=error, color=curve.colour, marker=curve.marker, markersize=10 if curve.marker == "*" else 6.5,
            markerfacecolor=curve.colour if first else "white", markeredgecolor="white" if first else curve.colour,
            linestyle=curve.dash, linewidth=1.6, capsize=3, zorder=3,
        )  # fmt: skip
    write_title(ax, metric)


def _across(ax: Axes, curves: Sequence[Curve]) -> list[Label]:
    """Draws what is the same at every budget to the right edge, from its own epsilon on where it has a guarantee."""
    left, right = ax.get_xlim()
    labels = []
    for curve in (curve for curve in curves if curve.flat):
        ((x, y, _),) = curve.points
        ax.plot(
            [max(x, left), right], [y, y], color=curve.colour, linewidth=1.2, zorder=1, scalex=False,
            linestyle=OWN if curve.row.private else OPEN,
        )  # fmt: skip
        labels.append(Label(text=_named(curve.row), x=None, y=y, colour=curve.colour))
    return labels


def bases(ax: Axes, rate: Base) -> list[Label]:
    """Draws what is reached without learning."""
    named = {"chance": rate.chance, f"largest class{words.DAGGER}": rate.largest}
    labels = [Label(text=text, x=None, y=y, colour=front.BASE) for text, y in named.items() if y is not None]
    for label in labels:
        ax.axhline(label.y, color=label.colour, linewidth=0.8, zorder=1)
    return labels


def _label(curve: Curve) -> Label:
    x, y, _ = curve.points[-1]
    return Label(text=_named(curve.row), x=x, y=y, colour=curve.colour, dash=curve.dash)


def write_labels(ax: Axes, labels: Sequence[Label], *, gap: float) -> None:
    """The labels beside the panel, moved apart where they would overlap, each tied to the end of its line."""
    ax.get_ylim()  # settles the limits, by which the heights below are measured
    to_axes = ax.transData + ax.transAxes.inverted()
    wrapped = [_wrapped(label.text) for label in labels]
    at = [float(to_axes.transform((1.0, label.y))[1]) for label in labels]
    lines = front.spread([y for y, text in zip(at, wrapped, strict=True) for _ in text], gap=gap)
    for label, text in zip(labels, wrapped, strict=True):
        places, lines = lines[: len(text)], lines[len(text) :]
        ax.annotate(
            "\n".join(text), (1.0 if label.x is None else label.x, label.y),
            xycoords=ax.get_yaxis_transform() if label.x is None else "data",
            xytext=(1.03, sum(places) / len(places)), textcoords="axes fraction", color=label.colour, fontsize=8.5,
            va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": label.colour, "linewidth": 0.8, "alpha": 0.6, "shrinkA": 1,
                        "shrinkB": 2, "relpos": (0, 0.5), "linestyle": label.dash},
        )  # fmt: skip


def named(method: str, parts: Sequence[str]) -> str:
    """What a line is called: its method, and what is said of it, a setting kept on one line with its value."""
    said = ", ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)
    return f"{method} ({said})" if said else method


def _named(row: TableRow) -> str:
    return named(row.method, row.parts)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDE, break_long_words=False)
