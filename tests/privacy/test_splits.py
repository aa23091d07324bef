"""Which split of the sensitive set a stage reads: it is the one that its event declares, and no other has a part in it.

The splits are disjoint and charged in parallel, so a stage that reads another one, or one more, is not paid for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

from privimage import histogram, semantics
from privimage.data.sets import PARTS, Part, PrivateSet, SensitiveData
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.errors import Violation
from privimage.means import answer
from privimage.measure import measured
from privimage.methods import pipeline
from privimage.methods.method import Synthetic
from privimage.metrics import MetricContext, dp_score, evaluate
from privimage.metrics.dp_score import dp_accuracy
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Seen
from privimage.run_trial import context_of
from privimage.stores.file import FileStore
from privimage.trial import Trial
from privimage.workers import Workers

Patch = pytest.MonkeyPatch
SETS: dict[Part, PrivateSet] = {
    split: toys.private_set(40, seed=i, split=split) for i, split in enumerate(("train", "validation", "test"))
}
ENTROPY = Entropy(bytes(32))


@pytest.fixture(autouse=True)
def injected(monkeypatch: Patch) -> None:
    """Entropies that follow from the name of the access: what is released depends on what is read alone."""
    real = FileStore.entropy

    def entropy(self: FileStore, name: str) -> Entropy:
        real(self, name)
        return Entropy(hashlib.sha256(name.encode()).digest())

    monkeypatch.setattr(FileStore, "entropy", entropy)


# ---- a set of another split is refused


def ask(sensitive: PrivateSet) -> object:
    function = toys.query_function(toys.query_weights(toys.public_set()))
    return semantics.ask(
        function, sensitive, k1=1, event=Event(purpose="query", split="train", sigma=5), entropy=ENTROPY
    )


def means(sensitive: PrivateSet) -> object:
    event = Event(purpose="means", split="train", sigma=5)
    return answer.ask(lambda x: np.zeros((len(x), 7), np.float32), sensitive, d=7, event=event, entropy=ENTROPY)


def tune(sensitive: PrivateSet, seen: Seen | None = None, **event: Any) -> object:
    what = Event(**({"purpose": "dp-sgd", "split": "train", "sigma": 1.0, "q": 0.5} | event))
    fixed: dict[str, Any] = {"config": FinetuneConfig(K=1), "entropy": ENTROPY, "workers": Workers.alone()}
    return fine_tune(toys.tiny(), sensitive, event=what, seen=seen, **fixed)


def score(sensitive: PrivateSet) -> object:
    x, y = toys.pictures(30, 3, seed=9)
    event = Event(purpose="score", split="validation", sigma=1)
    return dp_accuracy(x, y, classifier="lr", validation=sensitive, event=event, entropy=ENTROPY)


def measure(sensitive: PrivateSet, seen: Seen) -> object:
    x, y = toys.pictures(30, 3, seed=9)
    context = MetricContext(x=x, y=y, splits={"train": SETS["train"], "test": sensitive})
    return evaluate(["accuracy[lr]"], context, look=lambda name, split: seen)


def statistics(sensitive: PrivateSet, seen: Seen) -> object:
    x, y = toys.pictures(30, 3, seed=9)
    context = MetricContext(x=x, y=y, splits={"test": sensitive}, by={"test": seen})
    return context.kept("test", {}, lambda: {"features": context.real_features("test", "efficientnet-lite0")})


def tune_without_noise(sensitive: PrivateSet, seen: Seen) -> object:
    return tune(sensitive, seen, purpose="training", sigma=0)


def as_declared(read: Callable[[PrivateSet, Seen], object], split: Part) -> tuple[Callable[[PrivateSet], object], Part]:
    """By a look that was written down for the split that the stage declares."""
    return lambda images: read(images, Seen(split=split)), split


def as_it_is(read: Callable[[PrivateSet, Seen], object], split: Part) -> tuple[Callable[[PrivateSet], object], Part]:
    """By a look at whatever split is handed on: the stage itself still reads no other than its own."""
    return lambda images: read(images, Seen(split=images.split)), split


READS: dict[str, tuple[Callable[[PrivateSet], object], Part]] = {
    "query": (ask, "train"),
    "means": (means, "train"),
    "dp-sgd": (tune, "train"),
    "tuning without noise": as_declared(tune_without_noise, "train"),
    "tuning without noise, another look": as_it_is(tune_without_noise, "train"),
    "score": (score, "validation"),
    "diagnostic": as_declared(measure, "test"),
    "diagnostic, another look": as_it_is(measure, "test"),
    "reference": as_declared(statistics, "test"),
    "reference, another look": as_it_is(statistics, "test"),
}


@pytest.mark.parametrize("split", PARTS)
@pytest.mark.parametrize("stage", READS)
def test_a_stage_takes_the_split_that_its_event_declares(stage: str, split: Part) -> None:
    read, declared = READS[stage]
    if split == declared:
        if not stage.startswith("reference"):  # its network takes seconds to load
            read(SETS[split])
        return
    with pytest.raises(Violation, match=f"the {declared} split is declared, and the {split} split would be read"):
        read(SETS[split])


@pytest.mark.parametrize("order", [("validation", "train", "test"), ("train", "test", "validation"), ("test",) * 3])
def test_splits_that_change_places_are_refused(order: tuple[Part, ...]) -> None:
    with pytest.raises(Violation, match="would be read"):
        SensitiveData(train=SETS[order[0]], validation=SETS[order[1]], test=SETS[order[2]])


def test_what_is_loaded_says_its_split() -> None:
    from privimage.data import HeldOutConfig, SensitiveConfig, hold_out, load_sensitive

    loaded = load_sensitive(SensitiveConfig(name="digits", id="d"))
    _, held_out = hold_out(toys.public_set(), HeldOutConfig(labels=2, share=0.4))
    for data in (loaded, held_out):
        assert [getattr(data, split).split for split in PARTS] == list(PARTS)


# ---- non-interference: the content of a split that a stage has no business with changes nothing of what it makes


def changed(*splits: Part) -> SensitiveData:
    """The sensitive set with other pixels and labels in these splits."""
    data = toys.sensitive_set()
    parts = {split: getattr(data, split) for split in splits}
    return replace(data, **{s: replace(part, x=255 - part.x, y=(part.y + 1) % 3) for s, part in parts.items()})


def made(folder: Path, sensitive: SensitiveData) -> dict[str, dict[str, np.ndarray]]:
    """What a trial makes from the training split."""
    record, stages = toys.ran(folder, toys.trial(), public=toys.public_set(), sensitive=sensitive)
    found = {kind: stages.store.get(kind, key) for kind, key in record.artefacts.items()}
    return {kind: dict(artefact.arrays) for kind, artefact in found.items() if artefact is not None}


def scored(folder: Path, sensitive: SensitiveData) -> float:
    """The score of given images, measured as a trial measures it."""
    what = toys.trial(metrics=["dp-accuracy[lr]"], method__name="random-selection")
    x, y = toys.pictures(60, 3, seed=9)
    stages = toys.stages_at(folder)
    images = a_run(what, sensitive, stages)
    (metric,) = measured(
        replace(images, x=x, y=y),
        names=what.metrics,
        score=what.events[-1],
        data=what.data,
        secret=False,
        sensitive=sensitive,
        stages=stages,
        weights=None,
    )
    return metric.value


def a_run(what: Trial, sensitive: SensitiveData, stages: Any) -> Synthetic:
    context = context_of(what, public=toys.public_set(), sensitive=sensitive, stages=stages)
    return Synthetic(x=np.zeros((0,)), y=np.zeros((0,)), inputs=context.inputs)


def training_reads_the_training_split_alone(folder: Path) -> None:
    one = made(folder / "one", toys.sensitive_set())
    other = made(folder / "other", changed("validation", "test"))
    third = made(folder / "third", changed("train"))
    for kind in ("histogram", "histogram-derived", "selection", "generator", "samples"):
        for name in one[kind]:
            assert np.array_equal(one[kind][name], other[kind][name]), f"{kind} depends on validation or test"
    for kind in ("histogram", "generator"):
        assert any((one[kind][name] != third[kind][name]).any() for name in one[kind]), f"{kind}: nothing was read"


def the_score_reads_the_validation_split_alone(folder: Path) -> None:
    one = scored(folder / "one", toys.sensitive_set())
    assert one == scored(folder / "other", changed("train", "test")), "the score depends on train or test"
    assert one != scored(folder / "third", changed("validation")), "nothing was read"


def test_training_reads_the_training_split_alone(tmp_path: Path) -> None:
    training_reads_the_training_split_alone(tmp_path)


def test_the_score_reads_the_validation_split_alone(tmp_path: Path) -> None:
    the_score_reads_the_validation_split_alone(tmp_path)


# ---- planted faults: by the set that is handed on, and with the set's own word for its split forged


def _joined(a: PrivateSet, b: PrivateSet) -> PrivateSet:
    return replace(a, x=np.concatenate([a.x, b.x]), y=np.concatenate([a.y, b.y]))


def _whole(patch: Patch, module: Any, name: str, wrong: Callable[[SensitiveData, PrivateSet], PrivateSet]) -> None:
    """The function `name` is given `wrong` of all splits in the place of the set that it should read."""
    seen: list[SensitiveData] = []
    start, real = SensitiveData.__post_init__, getattr(module, name)

    def watched(self: SensitiveData) -> None:
        start(self)
        seen.append(self)

    def other(*args: Any, **rest: Any) -> Any:
        (data,) = [data for data in seen if any(_is(one, data) for one in (*args, *rest.values()))][-1:]
        args = tuple(wrong(data, one) if isinstance(one, PrivateSet) else one for one in args)
        rest = {key: wrong(data, one) if isinstance(one, PrivateSet) else one for key, one in rest.items()}
        return real(*args, **rest)

    patch.setattr(SensitiveData, "__post_init__", watched)
    patch.setattr(module, name, other)


def _is(one: object, data: SensitiveData) -> bool:
    return any(one is part for part in (data.train, data.validation, data.test))


def a_score_on_the_training_split(patch: Patch, forged: bool) -> None:
    _whole(
        patch, dp_score, "dp_accuracy", lambda data, was: replace(data.train, split=was.split if forged else "train")
    )


def a_score_on_the_test_split(patch: Patch, forged: bool) -> None:
    _whole(patch, dp_score, "dp_accuracy", lambda data, was: replace(data.test, split=was.split if forged else "test"))


def training_on_the_validation_split_too(patch: Patch, forged: bool) -> None:
    _whole(
        patch, pipeline, "fine_tune",
        lambda data, was: _joined(data.train if forged else data.validation, data.validation),
    )  # fmt: skip


def the_query_on_the_test_split_too(patch: Patch, forged: bool) -> None:
    _whole(patch, histogram.semantics, "ask", lambda data, was: _joined(data.train if forged else data.test, data.test))


FAULTS: list[tuple[Callable[[Patch, bool], None], Callable[[Path], None]]] = [
    (a_score_on_the_training_split, the_score_reads_the_validation_split_alone),
    (a_score_on_the_test_split, the_score_reads_the_validation_split_alone),
    (training_on_the_validation_split_too, training_reads_the_training_split_alone),
    (the_query_on_the_test_split_too, training_reads_the_training_split_alone),
]


@pytest.mark.parametrize("forged", [False, True], ids=["honest", "forged"])
@pytest.mark.parametrize(("fault", "check"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
@pytest.mark.thorough
def test_the_fault_is_seen(
    fault: Callable[[Patch, bool], None],
    check: Callable[[Path], None],
    forged: bool,
    tmp_path: Path,
    monkeypatch: Patch,
) -> None:
    with monkeypatch.context() as patch:
        fault(patch, forged)
        with pytest.raises(AssertionError if forged else Violation, match=r"depends on|would be read"):
            check(tmp_path)
