"""Pareto: which trials are best. Pure functions over records; nothing here reads a file or touches an image.

An objective is a metric with its direction; epsilon is always minimised beside it.

>>> undominated([(1, 50), (1, 60), (10, 30), (10, 55)], directions=("min", "min"))
[0, 2]
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from privimage.analysis import methods as roles
from privimage.errors import InputError
from privimage.metrics.metric import Direction, Metric
from privimage.privacy.accounting import TOLERANCE
from privimage.privacy.budget import Budget
from privimage.record import Record


def undominated(points: Sequence[Sequence[float]], *, directions: Sequence[Direction]) -> list[int]:
    """Indices of the points that no other point dominates, in order; equal points are all kept.

    One point dominates another if it is nowhere worse and somewhere better.
    """
    signs = [1 if direction == "min" else -1 for direction in directions]
    costs = [tuple(s * v for s, v in zip(signs, point, strict=True)) for point in points]
    kept: list[int] = []
    for index in sorted(range(len(costs)), key=costs.__getitem__):  # so that no later point dominates an earlier one
        if not any(_dominates(costs[other], costs[index]) for other in kept):
            kept.append(index)
    return sorted(kept)


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def epsilon_shown(record: Record) -> float | None:
    """The epsilon at which a record stands on the front: its budget's where calibration ended within its tolerance.

    Two trials at 9.9995 and 9.9998 of the same budget cost the same; neither is ahead for it.
    """
    if record.epsilon_alone is None:
        return None
    below = record.budget.epsilon - record.epsilon_alone
    return record.budget.epsilon if 0 <= below <= TOLERANCE else record.epsilon_alone


def spends_its_budget(record: Record) -> bool:
    """Whether the noise of this trial was calibrated to its budget (selection alone spends less, real data more)."""
    return record.epsilon_alone is not None and epsilon_shown(record) == record.budget.epsilon


def front(records: Sequence[Record], *, metrics: Sequence[str]) -> list[Record]:
    """The private records that no other beats in epsilon and all `metrics` at once, by rising epsilon."""
    known = measured(records)
    unknown = [name for name in metrics if name not in known]
    if unknown:
        raise InputError(f"metric {unknown[0]!r} was not measured; allowed: {', '.join(known) or '(none)'}")
    rows: list[tuple[Record, tuple[float, ...]]] = []
    for record in records:
        values = [epsilon_shown(record), *(record.value(name) for name in metrics)]
        numbers = tuple(value for value in values if value is not None)
        if len(numbers) == len(values):
            rows.append((record, numbers))
    directions: list[Direction] = ["min", *(known[name].direction for name in metrics)]
    kept = [rows[index] for index in undominated([numbers for _, numbers in rows], directions=directions)]
    return [record for record, _ in sorted(kept, key=lambda row: row[1][0])]


def measured(records: Iterable[Record]) -> dict[str, Metric]:
    """One example of every metric that was measured, by name, in order of appearance."""
    found: dict[str, Metric] = {}
    for record in records:
        for metric in record.metrics:
            found.setdefault(metric.name, metric)
    return found


def best_of(records: Iterable[Record], *, metric: Metric) -> Record | None:
    """The record with the best value of this metric, the earliest among equals; None if none has it."""
    having = [(value, record) for record in records if (value := record.value(metric.name)) is not None]
    sign = 1 if metric.direction == "min" else -1
    return min(having, key=lambda pair: sign * pair[0])[1] if having else None


def best_by(records: Iterable[Record], *, metrics: Sequence[Metric]) -> Record | None:
    """The best record by the first of these metrics that any of the records has; None if none has any."""
    having = list(records)
    return next((best for metric in metrics if (best := best_of(having, metric=metric)) is not None), None)


def best_rows(records: Sequence[Record], *, metrics: Sequence[Metric]) -> dict[tuple[Budget, str], Record]:
    """The best record of every (budget, method) as `best_by` chooses it, by rising epsilon."""
    groups: dict[tuple[Budget, str], list[Record]] = {}
    for record in sorted(records, key=lambda r: r.budget.epsilon):
        groups.setdefault((record.budget, record.method), []).append(record)
    best = {row: best_by(group, metrics=metrics) for row, group in groups.items()}
    return {row: record for row, record in best.items() if record is not None}


def budgets(records: Iterable[Record]) -> list[Budget]:
    """The budgets of the search trials, by rising epsilon; of all private records where nothing was searched."""
    private = [record for record in records if record.private]
    rows = [record for record in private if record.role == "search"] or private
    return sorted({record.budget for record in rows}, key=lambda b: (b.epsilon, b.delta))


def main_method(records: Sequence[Record]) -> str:
    """The method that was searched: of several the most frequent of those that a report can be about; or empty."""
    names = Counter(r.method for r in records if r.role == "search") or Counter(r.method for r in records)
    main = Counter({name: n for name, n in names.items() if roles.role(name) == "method"}) or names
    return main.most_common(1)[0][0] if main else ""


def methods(records: Sequence[Record]) -> list[str]:
    """All methods, the searched one first, then in order of appearance."""
    return list(dict.fromkeys([main_method(records), *(record.method for record in records)]))


def searched(records: Sequence[Record]) -> list[str]:
    """Dotted paths of the configuration fields in which search trials differ, besides budget, method and seed.

    Noise, shared questions and the place in a selection are not settings that were searched.
    """
    flat = [flatten(record.config) for record in records if record.role == "search"]
    paths = dict.fromkeys(path for config in flat for path in config)
    skip = ("budget.", "noise.", "draw.", "asked_sigma", "method.name", "seed")
    return [
        path for path in paths
        if not path.startswith(skip) and len({json.dumps(config.get(path)) for config in flat}) > 1
    ]  # fmt: skip


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every leaf of a nested configuration by its dotted path.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        below = flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        leaves |= below
    return leaves
