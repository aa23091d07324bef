"""No private image is read before its line is on disk: a charge where the answer is noised, a look where it is not."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml

from privimage.data.sets import Part, PrivateSet, PublicSet, SensitiveData
from privimage.errors import InputError, Violation
from privimage.methods.method import load
from privimage.methods.resolve import fitting
from privimage.paths import Root
from privimage.privacy import looks as looking
from privimage.privacy.entries import Charge, LookLine
from privimage.privacy.ledger import Ledger
from privimage.privacy.looks import Look, Seen
from privimage.run_trial import run
from privimage.schema import parse
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.sweeps.looks import looks_of
from privimage.sweeps.plan import make_plan
from privimage.sweeps.sweep import load_sweep
from privimage.trial import Trial
from privimage.workers import Workers

ROOT = Path(__file__).parents[2]
Patch = pytest.MonkeyPatch
LABELS = ("a", "b", "c")
METRICS = ["accuracy[lr]", "fid[efficientnet-lite0]"]
VALUES: dict[str, Any] = {
    "data": {"sensitive": {"name": "digits", "id": "toy-v1"}, "public": {"name": "glyphs"}},
    "budget": {"epsilon": 1.5, "delta": 1e-5},
    "method": {
        "query": {"sigma": 6, "function": {"steps": 1, "batch": 8}},
        "select": {"ratio": 0.5},
        "model": {"size": "dct-mlp-192"},
        "pretrain": {"images": 32, "batch": 16},
        "finetune": {"steps": 1, "q": 0.25, "optimizer": "adam", "lr": 1e-3, "K": 1},
        "sample": {"steps": 2},
        "samples": 12,
    },
    "metrics": METRICS,
}
SHAPE = {"__len__", "shape", "_shape", "__post_init__", "__repr__", "__init__"}  # what asks for the size only


class Watched(PrivateSet):
    """A split that tells `seen` whenever its pixels are read."""

    seen: ClassVar[Callable[[str], None]] = staticmethod(lambda split: None)

    def __getattribute__(self, name: str) -> Any:
        if name == "x" and sys._getframe(1).f_code.co_name not in SHAPE:
            Watched.seen(object.__getattribute__(self, "split"))
        return object.__getattribute__(self, name)


def part(split: Part, seed: int, n: int = 24) -> Watched:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = (rng.integers(0, 60, (n, 1, 16, 16)) + 60 * y[:, None, None, None]).astype(np.uint8)
    return Watched(x=x, y=y, name="toy", id="toy-v1", split=split, classes=LABELS)


@pytest.fixture(scope="module")
def sets() -> tuple[PublicSet, SensitiveData]:
    rng = np.random.default_rng(4)
    x = rng.integers(0, 255, (36, 1, 16, 16)).astype(np.uint8)
    public = PublicSet(x=x, y=np.arange(36) % 12, name="public", classes=tuple(f"c{i}" for i in range(12)))
    return public, SensitiveData(train=part("train", 1), validation=part("validation", 2), test=part("test", 3))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def trial_of(name: str, *metrics: str) -> Trial:
    method = fitting(VALUES["method"], load(name).config) | {"name": name}
    return parse(Trial, VALUES | {"method": method, "metrics": list(metrics or METRICS)})


class World:
    """One root folder in which trials of several sweeps run, their private reads watched."""

    def __init__(self, sets: tuple[PublicSet, SensitiveData], folder: Path) -> None:
        self.public, self.sensitive = sets
        self.store, self.path = FileStore(folder / "store"), folder / "ledger.jsonl"

    def run(self, sweep: str, name: str, *metrics: str) -> Trial:
        trial, ledger = trial_of(name, *metrics), Ledger(self.path, under=sweep)
        bill = (*trial_of("selection-only").events, *trial_of("random-selection").events)
        ledger.reserve(id=sweep, what=f"sweep {sweep}", events=bill)

        def seen(split: str) -> None:
            lines = ledger.lines()
            looks = {line.split for line in lines if isinstance(line, LookLine) and line.under == sweep}
            charged = {e.split for line in lines if isinstance(line, Charge) for e in line.events}  # type: ignore[union-attr]
            assert split in looks | charged, f"the {split} split is read before any line says so"

        Watched.seen = staticmethod(seen)  # type: ignore[assignment]
        try:
            stages = Stages(workers=Workers.alone(), store=self.store, cache=self.store, ledger=ledger)
            run(trial, public=self.public, sensitive=self.sensitive, stages=stages, sweep=sweep, role="compare")
        finally:
            Watched.seen = staticmethod(lambda split: None)  # type: ignore[assignment]
        return trial

    def looks(self, sweep: str) -> list[tuple[str, str]]:
        return sorted((line.split, line.what) for line in Ledger(self.path).looks() if line.under == sweep)


@pytest.fixture
def world(sets: tuple[PublicSet, SensitiveData], tmp_path: Path) -> Iterator[World]:
    yield World(sets, tmp_path)


TESTED = [("test", name) for name in METRICS]


def every_look_is_written_before_it(world: World) -> None:
    """A line a sweep, split and metric; a sweep's second trial writes none, a second sweep its own, hits or not."""
    world.run("one", "selection-only")
    assert world.looks("one") == TESTED
    world.run("one", "random-selection")
    assert world.looks("one") == TESTED, "once a sweep"
    world.run("two", "selection-only")
    assert world.looks("two") == TESTED, "the statistics are in the store, and it is another look"
    world.run("three", "real", "accuracy[lr]")
    assert world.looks("three") == [("test", "accuracy[lr]"), ("train", "row real")]
    for sweep in ("four", "five"):
        world.run(sweep, "nonprivate-tune", "accuracy[lr]")
        assert world.looks(sweep) == [("test", "accuracy[lr]"), ("train", "row nonprivate-tune")]
    charges = Ledger(world.path).charges()
    assert all(event.private for charge in charges for event in charge.events)


def test_every_look_is_written_before_it(world: World) -> None:
    every_look_is_written_before_it(world)


def nothing_is_written(patch: Patch) -> None:
    patch.setattr(Ledger, "look", lambda self, look: Seen(split=look.split))


def one_line_for_all_sweeps(patch: Patch) -> None:
    real = Look.id
    patch.setattr(Look, "id", lambda self, *, by: real(self, by=None))


def a_line_a_trial(patch: Patch) -> None:
    count = iter(range(1000))
    patch.setattr(Look, "id", lambda self, *, by: str(next(count)))


def metrics_do_not_ask(patch: Patch) -> None:
    patch.setattr(Stages, "look", lambda self, look, *, alone=False: Seen(split=look.split))


@pytest.mark.parametrize("fault", [nothing_is_written, one_line_for_all_sweeps, a_line_a_trial, metrics_do_not_ask])
@pytest.mark.thorough
def test_the_fault_is_seen(fault: Callable[[Patch], None], world: World, monkeypatch: Patch) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        every_look_is_written_before_it(world)


def test_nothing_is_read_without_an_event_or_a_look(sets: tuple[PublicSet, SensitiveData]) -> None:
    from privimage.privacy.budget import Event

    test = sets[1].test
    for by in (
        None,
        Event(purpose="training", split="train", sigma=0),
        Seen(split="train"),
        Event(purpose="score", split="validation", sigma=3),
    ):
        with pytest.raises(Violation, match=r"without noise|would be read"):
            looking.may_read(test, by)
    looking.may_read(test, Seen(split="test"))


# Every function that is given private images is given a reason to read them, or stands here with why it needs none

READERS = {
    "check_apart": "refuses a public set that holds the sensitive images; a refusal, no number",
    "check_own_test": "refuses a test split that holds the images of the train split; a refusal, no number",
    "noisy_histogram": "asks by the event that its context has for the question",
}
REASONS = ("Event", "Seen", "Stages")


def readers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            hints = [ast.unparse(a.annotation) for a in (*node.args.args, *node.args.kwonlyargs) if a.annotation]
            private = any("PrivateSet" in hint or "SensitiveData" in hint for hint in hints)
            if private and not any(reason in hint for hint in hints for reason in REASONS):
                yield node.name


def test_whoever_is_given_private_images_is_given_a_reason_to_read_them() -> None:
    found = {
        name
        for path in sorted((ROOT / "privimage").rglob("*.py"))
        for name in readers(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set(READERS), f"{sorted(found ^ set(READERS))}: take an Event or a Seen, or say here why not"
    fault = ast.parse("def mean(images: PrivateSet) -> float:\n    return images.x.mean()")
    assert list(readers(fault)) == ["mean"], "a reader without a reason is seen"


# What a set that admits no looks says, before anything is asked


def test_a_sweep_with_looks_is_refused_before_it_starts(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    root = Root(path=tmp_path / "runs")
    ledger = Ledger(root.ledger("tiny-v1"))
    values = {"budgets": [{"epsilon": 10, "delta": 1e-5}], "compare": ["real", "selection-only"]}
    sweep = load_sweep(write_sweep(metrics=["fid[efficientnet-lite0]"], **values))
    looks = {(look.split, look.what) for look in looks_of(sweep)}
    assert looks == {*TESTED, ("train", "row real")}
    assert ledger.forbid_looks() and not ledger.forbid_looks()
    before = ledger.path.read_bytes()
    refusal = make_plan(sweep, root=root).refusal or ""
    for words in ("row real (train split)", "accuracy[lr] (test split)", "--no-diagnostics", "dp-accuracy", "drop"):
        assert words in refusal and "\n" not in refusal
    from privimage.sweeps.run import run_sweep

    with pytest.raises(InputError, match=r"without noise.*dp-accuracy"):
        run_sweep(sweep, root=root, address=None, quiet=True)
    assert ledger.path.read_bytes() == before, "nothing charged, nothing reserved"
    private = load_sweep(write_sweep(objectives={"dp-accuracy[lr]": "max"}))
    assert looks_of(private) == ()


def test_a_stand_in_is_never_looked_at(write_sweep: Callable[..., Path]) -> None:
    from privimage.sweeps.modes.stand_in import stand_in_sweep

    values = yaml.safe_load(write_sweep(tuning={"mode": "public"}).read_text())
    sweep = load_sweep(write_sweep(tuning=values["tuning"]))
    assert looks_of(stand_in_sweep(sweep, labels=3)) == () and looks_of(sweep) != ()
