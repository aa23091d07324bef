"""Measure: the metrics of a trial's images, each charged or written down as a look before it reads anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from privimage import metrics
from privimage.data.pair import DataConfig
from privimage.data.sets import PrivateSet, SensitiveData
from privimage.methods.privimage import Images
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Look, Seen
from privimage.stages import Stages
from privimage.stores.manifest import PrivacyClass
from privimage.stores.store import Built


def look_of(metric: str) -> Look:
    """The look of a metric that is no noisy score: all of these read the test split."""
    return Look(split="test", what=metric)


def measured(
    images: Images,
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

    def look(name: str) -> Seen:
        return Seen(split="test") if data.stand_in else stages.look(look_of(name), alone=True)

    def reference(network: str, seen: Seen) -> Any:
        def build(progress: Any) -> Built:
            arrays = metrics.reference_statistics(
                sensitive.test, network, seen=seen, device=stages.workers.device, weights=weights
            )
            return Built(arrays=arrays, privacy="internal")

        inputs = {"sensitive": data.identity["sensitive"], "network": network, "split": "test"}
        return stages.alone("reference", inputs, build).arrays

    plain = metrics.evaluate(
        [name for name in names if not metrics.is_private(name)],
        synthetic_x=images.x,
        synthetic_y=images.y,
        train=sensitive.train,
        test=sensitive.test,
        look=look,
        reference=reference,
        device=stages.workers.device,
        weights=weights,
    )
    scored = [
        _score(name, images, sensitive.validation, stages, event=score, secret=secret)
        for name in names
        if score is not None and metrics.is_private(name)
    ]
    found = {m.name: m.model_copy(update={"touches": _touches(m, data, images)}) for m in (*plain, *scored)}
    return tuple(found[name] for name in names)


def _touches(metric: metrics.Metric, data: DataConfig, images: Images) -> tuple[metrics.Touch, ...]:
    """What a metric read: a stand-in for the sensitive set is public."""
    return (images.source, *(("public",) if data.stand_in else metric.touches[1:]))


def _score(
    name: str, images: Images, validation: PrivateSet, stages: Stages, *, event: Event, secret: bool
) -> metrics.Metric:
    """A noisy score, charged before the validation split is read."""
    started = time.perf_counter()

    def build(entropy: Entropy, progress: Any) -> Built:
        release = metrics.dp_accuracy(
            images.x,
            images.y,
            classifier=metrics.parts_of(name)[1],
            validation=validation,
            event=event,
            entropy=entropy,
            device=stages.workers.device,
        )
        privacy: PrivacyClass = "internal" if secret else "released"
        value = np.array([release.value])
        return Built(arrays={"score": value}, privacy=privacy, events=release.events)

    inputs = images.inputs.knowing({"score": {"metric": name, "event": event.model_dump()}}).of("score")
    what = f"{name}: noisy count of correct answers, sigma {event.sigma:.4g}"
    stored = stages.private("score", inputs, what=what, events=(event,), build=build, alone=True)
    return metrics.Metric(
        name=name,
        value=float(stored.arrays["score"][0]),
        touches=("synthetic", "private-validation"),
        direction=metrics.direction_of(name),
        n=len(images.x),
        seconds=time.perf_counter() - started,
        event=event,
        of=len(validation),
        classes=len(validation.classes),
    )
