"""Scale: how far apart two values must be to be told apart, and what is reached without learning anything.

accuracy   on n test images has the binomial variance p (1 - p) / n; the two sides are taken as independent, which on
           one test split is an upper bound wherever they err on the same images
others     (FID) have no error bar of one value: with one seed, a difference counts from MARGIN of the larger value on
several seeds of one setting add the variance of their mean; with one the spread over training and over the draw of the
query is unknown, and is said to be
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from privimage.analysis import methods, words
from privimage.analysis.facts import Facts
from privimage.metrics.metric import Metric
from privimage.record import Record

Z = 2.0  # standard errors: 95% of the time
MARGIN = 1 / 3  # of FID, with one seed: the draw of the query alone moves it by about a fifth of itself
FAR = 3.0  # times the FID of real images


@dataclass(frozen=True, kw_only=True)
class MeanValue:
    """A value, and twice its standard error as far as that is known (None: not at all)."""

    value: float
    error: float | None

    def told_from(self, other: MeanValue) -> bool:
        """Whether a difference between the two can be told from chance."""
        gap = abs(self.value - other.value)
        if self.error is None or other.error is None:
            return gap > MARGIN * max(abs(self.value), abs(other.value))
        return gap > math.hypot(self.error, other.error)


def estimate(records: Sequence[Record], name: str) -> MeanValue | None:
    """The mean of a metric over records that differ in their seed only; None if none of them has it."""
    metrics = [metric for record in records for metric in record.metrics if metric.name == name]
    if not metrics:
        return None
    values = [metric.value for metric in metrics]
    mean = fmean(values)
    spread = variance(values) / len(values) if len(values) > 1 else None
    drawn = _drawn(metrics[0], mean)
    if drawn is None and spread is None:
        return MeanValue(value=mean, error=None)
    return MeanValue(value=mean, error=Z * math.sqrt((drawn or 0.0) + (spread or 0.0)))


def _drawn(metric: Metric, mean: float) -> float | None:
    """The variance that comes of the number of real images (and, of a noisy score, of its noise)."""
    if not metric.share or metric.of is None:
        return None
    p = min(max(mean, 1 / metric.of), 1 - 1 / metric.of)
    noise = 0.0 if metric.event is None else (metric.event.sigma / metric.of) ** 2
    return p * (1 - p) / metric.of + noise


def usual(metrics: Iterable[Metric]) -> Metric | None:
    """The metric that is looked at where a person names none: the first share of right answers without noise."""
    return next((metric for metric in metrics if metric.share and metric.event is None), None)


def same_settings(record: Record, records: Sequence[Record]) -> list[Record]:
    """The record and those that differ from it in their seed only."""

    def settings(of: Record) -> dict[str, object]:
        return {key: value for key, value in of.config.items() if key != "seed"}

    return [other for other in records if other.budget == record.budget and settings(other) == settings(record)]


@dataclass(frozen=True, kw_only=True)
class Base:
    """What a metric is without any learning: its chance level, and that of always naming the largest class."""

    chance: float | None
    largest: float | None

    @property
    def floor(self) -> float | None:
        """The larger of the two."""
        return max((value for value in (self.chance, self.largest) if value is not None), default=None)


def base(found: Facts, name: str) -> Base:
    """The base rates of a metric, where its records kept them."""
    having = [m for record in found.records for m in record.metrics if m.name == name and m.share]
    classes = next((m.classes for m in having if m.classes), None)
    largest = next((m.largest for m in having if m.largest is not None), None)
    return Base(chance=None if classes is None else 1 / classes, largest=largest)


def base_rows(found: Facts) -> list[tuple[str, dict[str, float | None]]]:
    """Rows for every table of results: chance, the largest class of the split that is scored on, and real images."""
    rates = {name: base(found, name) for name in found.metrics}
    rows: list[tuple[str, dict[str, float | None]]] = []
    if any(rate.chance is not None for rate in rates.values()):
        rows.append(("chance (one guess in so many classes)", {name: rate.chance for name, rate in rates.items()}))
    if any(rate.largest is not None for rate in rates.values()):
        largest = {name: rate.largest for name, rate in rates.items()}
        rows.append((f"always the largest class of the test split{words.DAGGER}", largest))
    return rows


def real(found: Facts) -> Record | None:
    """The row of real images, if it was run."""
    return next((record for record in found.records if methods.role(record.method) == "ceiling"), None)


def sentences(found: Facts) -> list[str]:
    """How good the best is on an absolute scale: against guessing and against real images, with the knobs to turn."""
    best = found.best_of([r for r in found.records if r.role == "search" and r.private])
    if best is None:
        return []
    by = next(metric for metric in found.ranking if best.value(metric.name) is not None)
    said = [sentence for metric in best.metrics for sentence in _on_scale(found, best, metric, by=by)]
    if said:
        said.append(knobs(best))
    if real(found) is None:
        names = " or ".join(f"`{name}`" for name in methods.of_role("ceiling"))
        said.append(f"Real images were not measured: add {names} to compare, to see what the metrics can reach at all.")
    return said


def _on_scale(found: Facts, best: Record, metric: Metric, *, by: Metric) -> list[str]:
    reference, name = real(found), words.metric(metric)
    trial = "the best trial" + ("" if by.name == metric.name else f" by {words.metric(by)}")
    known = reference.value(metric.name) if reference is not None else None
    if not metric.share:
        if known is None or metric.direction == "max" or metric.value <= FAR * max(known, 1e-9):
            return []
        return [
            f"Far from real: {trial} has {name} {words.number(metric.value)}, real training images "
            f"{words.number(known)}."
        ]
    rates, own = base(found, metric.name), estimate([best], metric.name)
    floor = rates.floor
    if floor is not None and own is not None and own.error is not None and own.value - floor <= own.error:
        guess = "one guess in so many classes" if rates.largest != floor else "always naming the largest class"
        return [
            f"Not told from guessing: {trial} has {name} {words.number(own.value)} ± {own.error:.2g}, where "
            f"{guess} gives {words.number(floor)}."
        ]
    return []


def knobs(record: Record) -> str:
    """What can be turned for better images, of what the method has."""
    turns = {
        "pretrain.images": "more pre-training", "model.size": "a larger network", "select.ratio": "another selection",
        "pool.views": "more variations", "sample.guidance": "the sampler",
    }  # fmt: skip
    free = [f"{what} (method.{field})" for field, what in turns.items() if methods.uses(record.method, field)]
    return f"Free of privacy: {', '.join(free)}, public images nearer to the sensitive ones; else a larger budget."
