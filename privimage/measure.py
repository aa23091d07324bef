"""Measure: the metrics of a trial's images, each charged or written down as a look before it reads anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from privimage import metrics
from privimage.data.pair import DataConfig
from privimage.data.sets import Part, SensitiveData
from privimage.methods.method import Synthetic
from privimage.metrics.context import Arrays, MetricContext
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Look, Seen
from privimage.stages import Stages
from privimage.stores.manifest import PrivacyClass
from privimage.stores.store import Built


def measured(
    images: Synthetic,
    *,
    names: Sequence[str],
    score: Event | None,
    data: DataConfig,
    secret: bool,
    sensitive: SensitiveData,
    stages: Stages,
    weights: Path | None,
) -> tuple[metrics.Metric, ...]:
    """The metrics of these names, in that order; on all workers but the first none.

    `score` is what each noisy score of them asks; what it answers stays internal if the trial is `secret`. `weights`:
    see Features.
    """
    if not stages.workers.first:
        return ()

    def look(name: str, split: Part) -> Seen:
        return Seen(split=split) if data.stand_in else stages.look(Look(split=split, what=name), alone=True)

    context = _context(images, data=data, sensitive=sensitive, stages=stages, weights=weights)
    plain = metrics.evaluate([name for name in names if not metrics.is_private(name)], context, look=look)
    scored = [
        _score(name, images, context, stages, event=score, secret=secret)
        for name in names
        if score is not None and metrics.is_private(name)
    ]
    found = {metric.name: metric for metric in (*plain, *scored)}
    return tuple(found[name] for name in names)


def _context(
    images: Synthetic, *, data: DataConfig, sensitive: SensitiveData, stages: Stages, weights: Path | None
) -> MetricContext:
    """What the metrics are offered; what they keep of the sensitive set is an internal artefact."""

    def keep(what: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        inputs = {"sensitive": data.identity["sensitive"], **what}
        return stages.alone("reference", inputs, lambda progress: Built(arrays=compute(), privacy="internal")).arrays

    return MetricContext(
        x=images.x,
        y=images.y,
        splits={"train": sensitive.train, "validation": sensitive.validation, "test": sensitive.test},
        source=images.source,
        stand_in=data.stand_in,
        keep=keep,
        query=images.query,
        device=stages.workers.device,
        weights=weights,
    )


def _score(
    name: str, images: Synthetic, context: MetricContext, stages: Stages, *, event: Event, secret: bool
) -> metrics.Metric:
    """A noisy score, charged before the validation split is read."""
    started = time.perf_counter()

    def build(entropy: Entropy, progress: Any) -> Built:
        release = metrics.score(name, context, event=event, entropy=entropy)
        privacy: PrivacyClass = "internal" if secret else "released"
        value = np.array([release.value])
        return Built(arrays={"score": value}, privacy=privacy, events=release.events)

    inputs = images.inputs.knowing({"score": {"metric": name, "event": event.model_dump()}}).of("score")
    what = f"{name}: {metrics.family_of(name)[0].what}"
    stored = stages.private("score", inputs, what=what, events=(event,), build=build, alone=True)
    value = float(stored.arrays["score"][0])
    return metrics.scored(name, value, context, event=event, seconds=time.perf_counter() - started)
