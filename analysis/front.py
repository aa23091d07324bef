"""Front: quality against epsilon as a picture and a table. Readable at 900 pixels, and without colour vision."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from privimage.analysis import facts, methods, pareto, price, scale, tables, words
from privimage.analysis.facts import Facts
from privimage.metrics.metric import Metric
from privimage.paths import RunFolder
from privimage.record import Record

# Okabe and Ito's colours, safe for every kind of colour vision; the marker says the same thing a second time.
STYLES = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#B87F00", "*"), ("#56B4E9", "v"),
    ("#8C6BB1", "P"), ("#A6761D", "X"), ("#1B7837", "<"),
)  # fmt: skip
OPEN = {"diagnostic": ("#555555", "x"), "ceiling": ("#000000", "+")}  # by role: without privacy
BASE = "#767676"  # of base rates
DPI = 160
SPAN = 20  # values that lie further apart, as a ratio, get a logarithmic axis
FAR = 20  # a row that spends less than the smallest budget over this is drawn as a line, not as a far point


def panels(found: Facts) -> list[Metric]:
    """The metrics that get a panel: the one asked for, else the first that is no share, with the first that is.

    Beside a noisy score, which comparison rows do not have, the first that they do have.
    """
    if found.by is not None:
        return [found.lead]
    first = next((m for m in found.metrics.values() if not m.share), found.lead)
    second = scale.usual(found.metrics.values())
    if second is None and first.event is not None:
        second = next((m for m in found.metrics.values() if m.event is None), None)
    return [first] if second is None or second.name == first.name else [first, second]


def draw_front(found: Facts) -> bytes:
    """A PNG of every panel, one above the other on one epsilon axis."""
    metrics = panels(found)
    figure = Figure(figsize=(9, 0.9 + 3.1 * len(metrics)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    for ax, metric in zip(axes, metrics, strict=True):
        _panel(ax, found, metric)
    axes[-1].set_xlabel(f"epsilon of {found.said.axis} (log scale)", fontsize=11)
    handles = {text: h for ax in axes for h, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside upper center",
            ncols=min(5, len(handles)),
            frameon=False,
            fontsize=10,
        )
    notes = [found.said.others]
    if any(metric.non_private for metric in metrics):
        notes.append(f"{words.DAGGER} computed from sensitive images without noise; no epsilon covers it.")
    stated = price.opening(found)[0]
    below = "\n".join(textwrap.fill(line, 130) for line in ("   ".join(filter(None, notes)), stated))
    figure.supxlabel(below, fontsize=9, color="#444444", x=0.01, ha="left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None, "Description": stated})
    return buffer.getvalue()


def write_front(folder: RunFolder, *, metric: str | None = None) -> pd.DataFrame:
    """The best trial of every (budget, method) by `metric`; the run's front.png and front.csv are now written.

    The CSV holds every trial. Raises InputError if the metric was not measured.
    """
    found = facts.read(folder, by=metric)
    folder.front("png").write_bytes(draw_front(found))
    tables.trials(found).to_csv(folder.front("csv"), index=False)
    return tables.best(found)


def style(method: str, order: Sequence[str]) -> tuple[str, str]:
    """Colour and marker of a method by its place in the order, those without privacy grey and black."""
    role = methods.role(method)
    if role in OPEN:
        return OPEN[role]
    return STYLES[[name for name in order if methods.role(name) not in OPEN].index(method) % len(STYLES)]


def _panel(ax: Axes, found: Facts, metric: Metric) -> None:
    records = [record for record in found.records if record.value(metric.name) is not None]
    order = pareto.methods(found.records)
    budgets = sorted({budget.epsilon for budget in pareto.budgets(found.records)})
    lines: list[tuple[float, str, str]] = []
    for method in order:
        mine = [record for record in records if record.method == method]
        points, others = _shown(mine, budgets)
        _series(ax, points, found.said.best, metric, style(method, order))
        rest = pareto.best_of(others, metric=metric)
        if rest is not None:
            own = f"epsilon {words.epsilon(rest.epsilon_alone)} alone" if rest.private else "no privacy"
            lines.append((rest.value(metric.name) or 0.0, f"{method} ({own})", style(method, order)[0]))
    rate = scale.base(found, metric.name)
    if rate.chance is not None:
        lines.append((rate.chance, "chance", BASE))
    if rate.largest is not None:
        lines.append((rate.largest, f"largest class{words.DAGGER}", BASE))
    epsilon_axis(ax, budgets)
    stretch(ax, metric, [_place(record, metric)[1] for record in records])
    better = "lower is better" if metric.direction == "min" else "higher is better"
    apart = ", log scale" if ax.get_yscale() == "log" else ""
    ax.set_title(f"{words.metric(metric)} ({better}{apart})", loc="left", fontsize=11)
    _reference_lines(ax, lines)


def stretch(ax: Axes, metric: Metric, values: Sequence[float]) -> None:
    """Make y a logarithmic axis where values lie far apart."""
    if not metric.share and values and min(values) > 0 and max(values) > SPAN * min(values):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(plain_numbers())
        ax.yaxis.set_minor_formatter(NullFormatter())


def _shown(records: Sequence[Record], budgets: Sequence[float]) -> tuple[list[Record], list[Record]]:
    """Those that are points of the panel, and the others: without a price, or far below every budget."""
    points: list[Record] = []
    others: list[Record] = []
    for record in records:
        epsilon = pareto.epsilon_shown(record)
        near = epsilon is not None and (not budgets or epsilon * FAR >= budgets[0])
        (points if near else others).append(record)
    return points, others


def _series(ax: Axes, points: Sequence[Record], end: str, metric: Metric, look: tuple[str, str]) -> None:
    """The trials of one method as faint points; the best at every budget emphasised and joined."""
    colour, marker = look
    if not points:
        return
    main = any(record.role == "search" for record in points)
    if main and len(points) > 1:
        x, y = zip(*(_place(record, metric) for record in points), strict=True)
        ax.scatter(x, y, s=34, color=colour, marker=marker, alpha=0.4, linewidths=0, zorder=2)
    best = sorted(_place(record, metric) for record in pareto.best_rows(points, metrics=[metric]).values())
    size = 13 if marker == "*" else 8
    ax.plot(
        *zip(*best, strict=True), color=colour, marker=marker, markersize=size, linewidth=2.4 if main else 1.4,
        markeredgecolor=colour if marker in "x+" else "white", label=f"{points[0].method}{end if main else ''}",
        zorder=4 if main else 3,
    )  # fmt: skip


def _place(record: Record, metric: Metric) -> tuple[float, float]:
    return pareto.epsilon_shown(record) or 0.0, record.value(metric.name) or 0.0


def epsilon_axis(ax: Axes, budgets: Sequence[float]) -> None:
    """Make x a logarithmic axis with a tick at every budget and every power of ten."""
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(plain_numbers())
    low, high = ax.get_xlim()
    ends = [*budgets, low, high] if budgets else [low, high]
    ax.set_xlim(min(ends) / 1.25, max(ends) * 1.25)
    if budgets:
        ax.set_xticks([value for value in dict.fromkeys([*budgets, *_decades(ax)])])
    ax.grid(color="#dddddd", linewidth=0.7)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=10)


def plain_numbers() -> FuncFormatter:
    """For ticks of a logarithmic axis: 0.1, 1, 10, no powers of ten."""
    return FuncFormatter(lambda value, _: f"{value:g}")


def _decades(ax: Axes) -> list[float]:
    low, high = ax.get_xlim()
    return [10.0**power for power in range(-4, 5) if low <= 10.0**power <= high]


def _reference_lines(ax: Axes, lines: Sequence[tuple[float, str, str]]) -> None:
    """Dashed horizontal lines, their labels at the right edge and moved apart where they would overlap."""
    for value, _, colour in lines:
        ax.axhline(value, color=colour, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
    ax.get_ylim()  # settles the limits, by which the heights below are measured
    to_axes = ax.transData + ax.transAxes.inverted()
    at = spread([float(to_axes.transform((1.0, value))[1]) for value, _, _ in lines], gap=0.085)
    for (value, text, colour), y in zip(lines, at, strict=True):
        ax.annotate(
            f"{text} {words.number(value)}",
            (1.01, y),
            xycoords="axes fraction",
            color=colour,
            fontsize=9,
            va="center",
        )


def spread(positions: Sequence[float], *, gap: float, top: float = 1.0) -> list[float]:
    """The positions moved so that no two are closer than `gap` and none is above `top`, in the same order.

    >>> spread([0.5, 0.5, 0.1], gap=0.1)
    [0.5, 0.6, 0.1]
    """
    moved = list(positions)
    order = sorted(range(len(moved)), key=positions.__getitem__)
    last = float("-inf")
    for index in order:  # upwards, each clear of the one below
        moved[index] = last = max(positions[index], last + gap)
    last = top + gap
    for index in reversed(order):  # and down again from the top, where that pushed one out
        moved[index] = last = min(moved[index], last - gap)
    return moved
