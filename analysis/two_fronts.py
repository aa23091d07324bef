"""Two fronts: the comparison of two runs as a picture, every metric against epsilon; readable without colours too."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from privimage.analysis import curves, front, pareto, scale, side_by_side, words
from privimage.analysis.compare import Best, Comparison, Side
from privimage.analysis.curves import Label
from privimage.metrics.metric import Metric

HEIGHT = 3.0  # inches of a panel
Stroke = tuple[str, str]  # colour and marker


def draw(found: Comparison) -> bytes:
    """A PNG of both fronts by every metric; what has to be stated stands below, and inside as its description."""
    return curves.png(figure(found), side_by_side.statements(found))


def figure(found: Comparison) -> Figure:
    """The panels, one above the other on one epsilon axis, each front with the name of its run at its end."""
    drawn = Figure(figsize=(8.5, 1.3 + HEIGHT * len(found.metrics)), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(len(found.metrics), 1, sharex=True, squeeze=False)[:, 0]
    for ax, metric in zip(axes, found.metrics, strict=True):
        _panel(ax, found, metric)
    axes[-1].set_xlabel(f"epsilon of {found.a.found.said.axis} (log scale)", fontsize=10)
    curves.write_below(drawn, _below(found))
    return drawn


def _panel(ax: Axes, found: Comparison, metric: Metric) -> None:
    values: list[float] = []
    labels: list[Label] = []
    for side, look in zip(found.sides, front.STYLES, strict=False):
        _trials(ax, side, metric, look)
        bests = [(budget.epsilon, side.best(budget, metric)) for budget in found.budgets]
        points = [(epsilon, best) for epsilon, best in bests if best is not None]
        values += [best.value.value for _, best in points]
        labels += _front(ax, side, points, look)
    curves.write_title(ax, metric)
    front.epsilon_axis(ax, sorted({budget.epsilon for budget in found.budgets}))
    rate = max((scale.base(s.found, metric.name) for s in found.sides), key=lambda base: base.floor or 0)
    front.stretch(ax, metric, values)
    curves.write_labels(ax, [*labels, *curves.bases(ax, rate)], gap=curves.LINE / (HEIGHT - 0.6))


def _trials(ax: Axes, side: Side, metric: Metric, look: Stroke) -> None:
    """Every private trial as a faint point."""
    points = [(pareto.epsilon_shown(e.record), e.record.value(metric.name)) for e in side.entries]
    known = [(x, y) for x, y in points if x and y is not None]
    if known:
        x, y = zip(*known, strict=True)
        ax.scatter(x, y, s=22, color=look[0], marker=look[1], alpha=0.35, linewidths=0, zorder=2)


def _front(ax: Axes, side: Side, points: Sequence[tuple[float, Best]], look: Stroke) -> list[Label]:
    """The best row of every budget with its error, joined by steps: what is had at one epsilon is had at a larger."""
    ahead = [(epsilon, best) for epsilon, best in points if best.behind is None]
    if not ahead:
        return []
    x, y = [e for e, _ in ahead], [best.cell.mean for _, best in ahead]
    error = [best.cell.error or float("nan") for _, best in ahead]
    ax.errorbar(
        x, y, yerr=error, color=look[0], marker=look[1], markersize=7, markeredgecolor="white", linestyle="none",
        capsize=3, zorder=4,
    )  # fmt: skip
    end = max(epsilon for epsilon, _ in points) * 1.15
    ax.step([*x, end], [*y, y[-1]], where="post", color=look[0], linewidth=1.8, zorder=3)
    return [Label(text=side.named, x=end, y=y[-1], colour=look[0])]


def _below(found: Comparison) -> list[str]:
    """How the picture is to be read, and what has to be stated."""
    read = "Steps: the front, by the means of the best rows. Bars: one standard error. Faint: all private trials."
    dagger = any(metric.non_private for metric in found.metrics)
    marked = f" {words.DAGGER} computed from sensitive images without noise; no epsilon covers it." if dagger else ""
    return [read + marked, *side_by_side.statements(found)]
