"""Compare: two runs on the same sensitive set: what was changed, front against front, spend against spend.

The front of a run is what all its private trials reach, whatever their method. At a budget stands the row with the best
mean over its repetitions, as in a `table`: a choice by these figures, on both sides. Its hypervolume is measured in one
box for both runs, a repetition (seed) at a time, so that it has an interval.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from privimage.analysis import changes, pareto, scale, table, words
from privimage.analysis.changes import Change, Completed
from privimage.analysis.facts import Facts
from privimage.analysis.hypervolume import Box, Interval
from privimage.analysis.repetitions import Cell, Repetition, different
from privimage.analysis.scale import MeanValue
from privimage.analysis.table import ResultTable, TableRow
from privimage.errors import InputError
from privimage.metrics.metric import Metric
from privimage.privacy.budget import Budget

BEYOND = 10.0  # the epsilon of the reference point, as a multiple of the largest: the largest budget counts too


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best row of a run at a budget by a metric: its cell, and its mean with twice its standard error.

    `behind` is the smaller epsilon at which the run has a value that is as good: then this one is not on its front.
    """

    row: TableRow
    cell: Cell
    value: MeanValue
    behind: float | None


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of both runs."""

    found: Facts
    table: ResultTable

    @property
    def named(self) -> str:
        """Its folder, as it was given."""
        return str(self.found.folder.path)

    def best(self, budget: Budget, metric: Metric) -> Best | None:
        """The best private row at a budget; None if nothing was measured there."""
        place = (budget, metric.name)
        rows = [row for row in self.table.rows if place in row.cells and self.table.is_best(row, place)]
        if not rows:
            return None
        cell = rows[0].cells[place]
        records = [entry.record for entry in self.entries if entry.row == rows[0].key and table.stands(entry, budget)]
        value = scale.estimate(records, metric.name)
        if value is None:
            return None
        return Best(row=rows[0], cell=cell, value=value, behind=self._before(budget, metric, cell.mean))

    def _before(self, budget: Budget, metric: Metric, value: float) -> float | None:
        sign = 1 if metric.direction == "min" else -1
        earlier = [other for other in self.table.budgets if other.epsilon < budget.epsilon]
        reached = {one.epsilon: self.table.best((one, metric.name)) for one in earlier}
        return next((e for e, known in reached.items() if known is not None and sign * known <= sign * value), None)

    @cached_property
    def entries(self) -> list[Repetition]:
        """Its private trials, each once."""
        return different(Repetition(record=record, found=self.found) for record in self.found.records if record.private)

    def repetitions(self, metrics: Sequence[Metric]) -> list[list[tuple[float, ...]]]:
        """The points of each repetition: (log10 epsilon, every metric), smaller being better.

        A repetition is a seed of which all rows have a result; where seeds have other rows each, all are one.
        """
        seeds: dict[int, dict[str, tuple[float, ...]]] = {}
        for entry in self.entries:
            point = _point(entry, metrics)
            if point is not None:
                key = json.dumps([entry.row, entry.record.budget.model_dump()])
                seeds.setdefault(entry.record.seed, {})[key] = point
        every = {key for points in seeds.values() for key in points}
        whole = [list(points.values()) for points in seeds.values() if points.keys() == every]
        return whole or [[point for points in seeds.values() for point in points.values()]]


def _point(entry: Repetition, metrics: Sequence[Metric]) -> tuple[float, ...] | None:
    epsilon = pareto.epsilon_shown(entry.record)
    values = [entry.record.value(metric.name) for metric in metrics]
    numbers = [v if m.direction == "min" else -v for v, m in zip(values, metrics, strict=True) if v is not None]
    if not epsilon or len(numbers) < len(metrics):
        return None
    return (math.log10(epsilon), *numbers)


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """The hypervolumes of both fronts by some metrics, in one box, and the point that it reaches to, in words."""

    metrics: tuple[Metric, ...]
    a: Interval
    b: Interval
    reference: tuple[str, ...]

    @property
    def difference(self) -> Interval:
        """How much more the second run has."""
        return self.b - self.a

    @property
    def told(self) -> bool | None:
        """Whether the interval of the difference leaves out 0; None if there is none."""
        half = self.difference.half
        return None if half is None else abs(self.difference.mean) > half


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both runs, and the metrics that both have."""

    a: Side
    b: Side
    metrics: tuple[Metric, ...]
    completed: Completed = dict

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both."""
        return self.a, self.b

    @cached_property
    def changed(self) -> list[Change]:
        """See `changes`."""
        return changes.changes(self.a.found, self.b.found, completed=self.completed)

    @property
    def budgets(self) -> list[Budget]:
        """Of both, by rising epsilon."""
        every = {budget for side in self.sides for budget in side.table.budgets}
        return sorted(every, key=lambda budget: (budget.epsilon, budget.delta))

    @property
    def deltas(self) -> list[float]:
        """Of both, falling."""
        return sorted({budget.delta for budget in self.budgets}, reverse=True)

    @property
    def missing(self) -> list[str]:
        """What only one of both has measured, in words."""
        names = [side.found.metrics.keys() for side in self.sides]
        return [
            f"{words.listed(sorted(own - other))} was measured in {side.named} alone."
            for side, own, other in zip(self.sides, names, reversed(names), strict=True)
            if own - other
        ]

    @property
    def volumes(self) -> Iterator[Volumes]:
        """By every metric that both objectives have, and by all of them together. None where deltas differ."""
        if len(self.deltas) > 1:
            return
        named = [metric for metric in self.metrics if all(_steers(side.found, metric) for side in self.sides)]
        metrics = named or list(self.metrics)
        for chosen in [*([metric] for metric in metrics), *([metrics] if len(metrics) > 1 else [])]:
            found = self._volumes(chosen)
            if found is not None:
                yield found

    def _volumes(self, metrics: Sequence[Metric]) -> Volumes | None:
        points = [side.repetitions(metrics) for side in self.sides]
        every = [point for side in points for repetition in side for point in repetition]
        if not all(side[0] for side in points):
            return None
        box = self._box(metrics, every)
        if any(best >= worst for best, worst in zip(box.best, box.reference, strict=True)):
            return None  # all values are the same: there is no box
        a, b = (Interval.of([box.share(repetition) for repetition in side]) for side in points)
        signs = [1 if metric.direction == "min" else -1 for metric in metrics]
        worst = [
            f"{words.metric(metric)} {words.number(sign * value)}"
            for metric, sign, value in zip(metrics, signs, box.reference[1:], strict=True)
        ]
        reference = (f"epsilon {10 ** box.reference[0]:.4g}", *worst)
        return Volumes(metrics=tuple(metrics), a=a, b=b, reference=reference)

    def _box(self, metrics: Sequence[Metric], points: Sequence[tuple[float, ...]]) -> Box:
        """From the least epsilon and the ideal values to beyond the largest and the worst that is known."""
        epsilons, *values = zip(*points, strict=True)
        best, worst = [min(epsilons)], [max(epsilons) + math.log10(BEYOND)]
        for metric, seen in zip(metrics, values, strict=True):
            if metric.share:  # from guessing to all right; larger is better, so that both are turned round
                floor = max((scale.base(side.found, metric.name).floor or 0.0 for side in self.sides), default=0.0)
                best, worst = [*best, -1.0], [*worst, -floor]
            else:
                ideal = min(0.0, *seen) if metric.direction == "min" else min(seen)
                best, worst = [*best, ideal], [*worst, max(seen)]
        return Box(best=tuple(best), reference=tuple(worst))


def _steers(found: Facts, metric: Metric) -> bool:
    return metric.name in found.objectives


def read(folders: tuple[Path, Path], *, completed: Completed = dict) -> Comparison:
    """The comparison of two runs; `completed` gives a sweep file the fields that came after it was written.

    Raises InputError if one is no run or has no finished trial, if they are the same, are of other sensitive images, or
    have no metric in common.
    """
    return of_runs(*table.read_all(folders), completed=completed)


def of_runs(a: Facts, b: Facts, *, completed: Completed = dict) -> Comparison:
    """The comparison of runs that were read. Raises InputError as `read` does."""
    _refuse_other_images(a, b)
    common = tuple(metric for name, metric in a.metrics.items() if name in b.metrics)
    if not common:
        names = [words.listed(list(found.metrics)) for found in (a, b)]
        raise InputError(
            f"metrics: {names[0]} in {a.folder.path}, {names[1]} in {b.folder.path}; two runs are compared by a metric "
            "that both have measured"
        )
    for found in (a, b):
        if not any(record.private for record in found.records):
            raise InputError(f"{found.folder.path}: no finished trial with a guarantee yet; its front is empty")
    sides = [Side(found=found, table=table.of_runs([found])) for found in (a, b)]
    return Comparison(a=sides[0], b=sides[1], metrics=common, completed=completed)


def _refuse_other_images(a: Facts, b: Facts) -> None:
    """Raise InputError, naming the first key, if the sensitive images, or how they are split, differ."""
    one, other = ({k: v for k, v in table.data_of(f).items() if not k.startswith("public.")} for f in (a, b))
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            raise InputError(
                f"data.{key}: {one.get(key)!r} in {a.folder.path}, {other.get(key)!r} in {b.folder.path}; two runs are "
                "compared on the same sensitive images, split alike"
            )
