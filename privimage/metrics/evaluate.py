"""Evaluate: every metric asked for, with what it touches. What needs no noise here, a noisy score by its event."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from privimage.errors import InputError, Violation
from privimage.metrics.context import MetricContext
from privimage.metrics.metric import Family, Metric, Touch, direction_of, family_of
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Part, Seen


def check(names: Sequence[str], *, n_test: int = 2, weights: Path | None = None) -> None:
    """Raise InputError if something that these metrics need is missing: before anything is charged."""
    needs = {name: family_of(name)[0].least for name in names if "test" in family_of(name)[0].reads}
    if n_test < (least := max(needs.values(), default=0)):
        raise InputError(
            f"metrics: {', '.join(name for name, n in needs.items() if n > n_test)}: the test split of the sensitive "
            f"set holds fewer than {least} images; raise data.sensitive.test"
        )
    for name in names:
        family, variant = family_of(name)
        family.check(variant, weights=weights)


def evaluate(names: Sequence[str], context: MetricContext, *, look: Callable[[str, Part], Seen]) -> list[Metric]:
    """The named metrics that are no noisy scores, in the order of `names`.

    `look` writes down that a metric reads a split without noise, and returns the proof: called for all of them before
    anything is read. A missing class or constant images are scored (badly); images that cannot be scored raise
    InputError.
    """
    for name in names:
        direction_of(name)
    looked = {name: {split: look(name, split) for split in family_of(name)[0].reads} for name in names}
    if not looked:
        return []
    allowed = {name: replace(context, by=by) for name, by in looked.items()}
    for name, own in allowed.items():
        _check(name, own)
    return [_measured(name, own.only(own.by)) for name, own in allowed.items()]


def _measured(name: str, context: MetricContext) -> Metric:
    family, variant = family_of(name)
    start = time.perf_counter()
    value = family.measure(variant, context)
    if isinstance(value, Release):
        raise Violation(f"{name}: released something, and no event was charged for it")
    return _metric(name, family, float(value), context, seconds=time.perf_counter() - start)


def score(name: str, context: MetricContext, *, event: Event, entropy: Entropy) -> Release[float]:
    """The noisy score of that name, whose event was charged; `entropy` keys the noise."""
    family, variant = family_of(name)
    own = context.only({event.split: event}, event=event, entropy=entropy)
    release = family.measure(variant, own)
    if not isinstance(release, Release) or release.events != (event,):
        raise Violation(f"{name}: another access was charged than the one that was made")
    return release


def scored(name: str, value: float, context: MetricContext, *, event: Event, seconds: float) -> Metric:
    """The metric of a noisy score."""
    return _metric(name, family_of(name)[0], value, context, seconds=seconds, event=event)


def _metric(
    name: str, family: Family, value: float, context: MetricContext, *, seconds: float, event: Event | None = None
) -> Metric:
    private: dict[Part, Touch] = {split: f"private-{split}" for split in family.reads}  # type: ignore[misc]
    read = tuple(private.values()) if not context.stand_in else ("public",) if private else ()
    real = context.splits[family.reads[0]] if family.reads else None
    largest = None
    if family.share and not family.noisy and real is not None:
        largest = float(np.bincount(context.real(family.reads[0]).y).max() / len(real))
    return Metric(
        name=name,
        value=value,
        touches=(context.source, *read),
        direction=family.direction,
        n=min(len(context.x), family.most or len(context.x)),
        seconds=seconds,
        share=family.share,
        of=None if real is None else len(real),
        classes=None if real is None else len(real.classes),
        largest=largest,
        event=event,
    )


def _check(name: str, context: MetricContext) -> None:
    """Raise InputError if the images cannot be measured, Violation if a split is not what it is taken for."""
    x, y, splits = context.x, context.y, [context.real(split) for split in context.by]
    if x.dtype != np.uint8 or x.ndim != 4 or y.shape != (len(x),):
        raise InputError(
            f"synthetic images: expected uint8 [n, c, h, w] and n labels, got {x.dtype} {x.shape}, {y.shape}"
        )
    least = family_of(name)[0].least
    real = min((len(split) for split in splits), default=least)
    if len(x) < least or real < least:
        raise InputError(f"{name}: needs at least {least} images a side, got {len(x)} synthetic and {real} real")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= len(context.classes):
        raise InputError(f"synthetic labels: expected integers in 0 .. {len(context.classes) - 1}")
    for split in splits:
        if x.shape[1:] != split.shape:
            raise InputError(f"synthetic images: shape {x.shape[1:]}, the real ones have {split.shape}")
        train = context.splits.get("train")
        same = train is not None and len(split) == len(train) and split.fingerprint == train.fingerprint
        if same and split.split != "train":
            raise InputError(
                f"{split.name}: the {split.split} split is the training split; scores would reward copying"
            )
