"""Every metric keeps to what it declares: the splits it reads, what the ledger holds, its direction, its noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from quick import first, these

from privimage import metrics
from privimage.data.sets import PARTS, Part, PrivateSet
from privimage.errors import Violation
from privimage.metrics import Family, MetricContext, classifiers, looks_of, paper_classifiers
from privimage.metrics.dp_accuracy import DpAccuracy
from privimage.metrics.metric import METRICS
from privimage.privacy.budget import Event, Release
from privimage.privacy.entries import Charge, LookLine
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Seen
from privimage.run_trial import run

NAMES = tuple(metrics.names())
QUICK = {name.partition("[")[0]: name for name in reversed(NAMES) if "paper-" not in name}  # one of each family
EVERY = pytest.mark.parametrize("name", these(QUICK.values(), NAMES))
FREE, NOISY = tuple(metrics.names(noisy=False)), tuple(metrics.names(noisy=True))
SCORE = Event(purpose="score", split="validation", sigma=1.0)
REAL_EMBED, REAL_LOGITS = MetricContext._embed, MetricContext.logits


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short trainings; Inception's weights are not shipped, so that the other network stands in for it."""
    monkeypatch.setattr(classifiers, "STEPS", 40)
    monkeypatch.setattr(paper_classifiers, "WIDTH", 4)
    monkeypatch.setattr(paper_classifiers, "EPOCHS", 20)
    monkeypatch.setattr(MetricContext, "_embed", lambda self, x, network: REAL_EMBED(self, x, "efficientnet-lite0"))
    monkeypatch.setattr(MetricContext, "logits", lambda self, network: REAL_LOGITS(self, "efficientnet-lite0"))


def context(x: np.ndarray | None = None) -> MetricContext:
    """Images like those of the splits, or `x`."""
    data = toys.sensitive_set()
    like, y = toys.pictures(60, 3, seed=9)
    return MetricContext(x=like if x is None else x, y=y, splits={part: getattr(data, part) for part in PARTS})


def value(name: str, of: MetricContext, *, entropy: int = 0) -> float:
    if name in NOISY:
        return metrics.score(name, of, event=SCORE, entropy=Entropy(bytes([entropy] * 32))).value
    (metric,) = metrics.evaluate([name], of, look=lambda name, split: Seen(split=split))
    return metric.value


def test_there_are_members_of_both_kinds() -> None:
    assert {"fid", "accuracy", "dp-accuracy"} <= METRICS.members().keys() and FREE and NOISY


@EVERY
@pytest.mark.thorough
def test_images_like_the_real_ones_are_better_than_noise(name: str) -> None:
    """Or than one image again and again, for a metric that knows no real ones."""
    x = np.random.default_rng(0).integers(0, 256, (60, 1, toys.SIDE, toys.SIDE), dtype=np.uint8)
    x = x if metrics.family_of(name)[0].reads else x[:1].repeat(60, axis=0)
    good, bad = value(name, context()), value(name, context(x))
    assert math.isfinite(good) and math.isfinite(bad)
    assert good < bad if metrics.direction_of(name) == "min" else good > bad


@EVERY
def test_the_value_repeats_and_global_random_numbers_are_left_alone(name: str) -> None:
    before = torch.get_rng_state(), np.random.get_state()
    first = value(name, context())
    torch.rand(3), np.random.rand(3)
    torch.set_rng_state(before[0])
    np.random.set_state(before[1])
    assert value(name, context()) == first
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1][1]).all()


class Watched(PrivateSet):
    """A split that remembers whether its pixels or its labels were read."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("x", "y"):
            object.__getattribute__(self, "__dict__").setdefault("was_read", []).append(name)
        return object.__getattribute__(self, name)


def watched(part: PrivateSet) -> Watched:
    made = Watched(**{field: getattr(part, field) for field in ("x", "y", "name", "id", "split", "classes")})
    vars(made).pop("was_read", None)
    return made


@EVERY
def test_the_splits_that_are_read_are_those_declared(name: str) -> None:
    """Without the training split, which every metric's images are compared with: they must not be a copy of it."""
    family, variant = metrics.family_of(name)
    splits = {split: watched(part) for split, part in context().splits.items()}
    by: dict[Part, Event | Seen] = {s: SCORE if family.noisy else Seen(split=s) for s in family.reads}
    entropy = {"event": SCORE, "entropy": Entropy(bytes(32))} if family.noisy else {}
    family.measure(variant, replace(context(), splits=splits, by=by, **entropy))
    read = {split for split, part in splits.items() if vars(part).get("was_read")}
    assert read == set(family.reads)
    for split in family.reads:
        with pytest.raises(Violation, match="without noise"):
            fewer = {other: proof for other, proof in by.items() if other != split}
            family.measure(variant, replace(context(), splits=splits, by=fewer, **entropy))


@EVERY
def test_the_ledger_holds_what_is_declared(name: str, tmp_path: Path) -> None:
    trial = toys.trial(metrics=[name], method__name="random-selection")
    stages, sensitive = toys.stages_at(tmp_path), toys.sensitive_set()
    record = run(trial, public=toys.public_set(), sensitive=sensitive, stages=stages, sweep="toy")
    lines = stages.ledger.lines()
    looks = {(line.split, line.what) for line in lines if isinstance(line, LookLine)}
    charged = [
        event for line in lines if isinstance(line, Charge) for event in line.events if event.split == "validation"
    ]
    (metric,) = record.metrics
    family, _ = metrics.family_of(name)
    assert looks == {(look.split, look.what) for look in looks_of(name)}
    assert looks == (set() if family.noisy else {(split, name) for split in family.reads})
    assert charged == ([metric.event] if family.noisy else []) and (metric.event is not None) == family.noisy
    assert metric.touches == ("synthetic", *(f"private-{split}" for split in family.reads))
    assert metric.non_private == bool(looks) and metric.share == family.share


@pytest.mark.parametrize("name", first(NOISY))
def test_a_noisy_score_draws_its_noise_from_the_entropy(name: str) -> None:
    values = [value(name, context(), entropy=i) for i in range(5)]
    assert len(set(values)) == 5 and values[0] == value(name, context(), entropy=0)


# ---- planted faults


class Unpaid(DpAccuracy):
    def measure(self, variant: str, context: MetricContext) -> Release[float]:
        return Release(value=super().measure(variant, context).value, events=())


class Plain(DpAccuracy):
    def measure(self, variant: str, context: MetricContext) -> float:  # type: ignore[override]
        return float((context.real("validation").y == 0).mean())


class Curious(DpAccuracy):
    def measure(self, variant: str, context: MetricContext) -> Release[float]:
        context.real("test")
        return super().measure(variant, context)


class Peeking(DpAccuracy):
    def measure(self, variant: str, context: MetricContext) -> Release[float]:
        context.splits["test"]  # past the door
        return super().measure(variant, context)


def test_what_was_not_declared_is_not_even_there(instead: Callable[[Family], None]) -> None:
    instead(Peeking())
    with pytest.raises(KeyError, match="test"):
        value("dp-accuracy[lr]", context())


class Released(DpAccuracy):
    noisy = False
    reads = ("test",)

    def measure(self, variant: str, context: MetricContext) -> Release[float]:
        return Release(value=0.5, events=(SCORE,))


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Family], None]]:
    yield lambda family: monkeypatch.setattr(type(METRICS), "load", lambda self, name: family)


@pytest.mark.parametrize(
    ("family", "says"),
    [
        (Unpaid(), "another access was charged"),
        (Plain(), "another access was charged"),
        (Curious(), "without noise"),
        (Released(), "no event was charged"),
    ],
)
def test_a_family_that_does_not_keep_to_it_is_stopped(
    family: Family, says: str, instead: Callable[[Family], None]
) -> None:
    instead(family)
    with pytest.raises(Violation, match=says):
        if family.noisy:
            metrics.score("dp-accuracy[lr]", context(), event=SCORE, entropy=Entropy(bytes(32)))
        else:
            metrics.evaluate(["dp-accuracy[lr]"], context(), look=lambda name, split: Seen(split=split))


def test_the_query_function_is_there_for_a_metric(tmp_path: Path) -> None:
    """The share of synthetic images whose first semantics is the most frequent one of the public set, say."""
    seen: list[np.ndarray] = []

    def spy(self: MetricContext, x: np.ndarray, network: str) -> np.ndarray:
        seen.append(self.top(self.x, k1=2))
        return REAL_EMBED(self, x, "efficientnet-lite0")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetricContext, "_embed", spy)
        toys.ran(
            tmp_path, toys.trial(metrics=["fid[efficientnet-lite0]"]),
            public=toys.public_set(), sensitive=toys.sensitive_set(),
        )  # fmt: skip
    assert seen and all(found.shape == (30, 2) and 0 <= found.min() <= found.max() < toys.CLASSES for found in seen)
