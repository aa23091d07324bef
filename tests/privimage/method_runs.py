"""Runs of every method on toy images, with what they make in hand: a recorder of keys and artefacts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privimage import query_network
from privimage.data import placed
from privimage.data.sets import PrivateSet, PublicSet, SensitiveData
from privimage.errors import InputError
from privimage.evolution import evolve
from privimage.generators import sizes
from privimage.means import features
from privimage.means import stages as means_stages
from privimage.methods.context import Context
from privimage.methods.declared import fields_of
from privimage.methods.method import METHODS, MethodConfig, load
from privimage.methods.resolve import fitting, resolve
from privimage.privacy.budget import Access, Budget, Event
from privimage.privacy.entropy import BYTES, Entropy
from privimage.privacy.ledger import Ledger
from privimage.privacy.noise import Noise
from privimage.schema import digest, set_dotted
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.stores.store import Artefact
from privimage.workers import Workers

SIDE, LABELS, CLASSES = 16, 3, 12
VALUES: dict[str, Any] = {
    "query": {"sigma": 10, "k1": 2, "function": {"steps": 2, "batch": 8}},
    "means": {"sigma": 10},
    "pool": {"views": 3},
    "select": {"ratio": 0.5},
    "model": {"size": "dct-mlp-192"},
    "pretrain": {"images": 32, "batch": 16},
    "finetune": {"steps": 2, "q": 0.25, "optimizer": "spectral", "lr": 0.1, "K": 2, "averaged": 0.9},
    "sample": {"steps": 2, "guidance": 1.0, "detail_below": 1.0, "sigma_max": 20.0, "sigma_min": 0.6, "rho": 5.0},
    "fourier": {"features": 20},
    "match": {"steps": 2, "batch": 12},
    "central": {"sigma": 10},
    "ntk": {"width": 3},
    "characteristic": {"features": 20},
    "kernel": {"q": 0.25, "steps": 2, "features": 20, "batch": 12},
    "sanitized": {"parts": 6, "steps": 2, "batch": 6, "rounds": 1, "warm": 2, "seen": 2, "width": 4},
    "evolve": {"rounds": 3, "first": 20, "candidates": 6, "threshold": 0.5},
    "samples": 12,
}
BUDGET = Budget(epsilon=90, delta=1e-5)
ALL = METHODS.names()
NAMES = [name for name in ALL if load(name).generates]
NETWORKS = ("means.network", "evolve.network", "query.function.network")
NOT_NEEDED = {"query-function"}  # where all that is seen with it is there, or another network sees
FILES = tuple(f"query.function.{name}" for name in ("weights", "names", "digest"))  # see test_query_weights
FIELDS = {name: [f for f in fields_of(resolve({"name": name})) if f not in ("name", *FILES)] for name in ALL}


def pictures(n: int, n_classes: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    x = rng.integers(0, 60, (n, 1, SIDE, SIDE))
    x[np.arange(n), 0, y % SIDE, :] += 120
    return x.astype(np.uint8), y.astype(np.int64)


def part(split: Any, n: int, seed: int) -> PrivateSet:
    x, y = pictures(n, LABELS, seed)
    return PrivateSet(x=x, y=y, name="toy", id="toy-v1", classes=("a", "b", "c"), split=split)


SENSITIVE = SensitiveData(train=part("train", 40, 1), validation=part("validation", 12, 2), test=part("test", 12, 3))
PUBLIC_X, PUBLIC_Y = pictures(4 * CLASSES, CLASSES, 4)
PUBLIC = PublicSet(x=PUBLIC_X, y=PUBLIC_Y, name="public", classes=tuple(f"c{i}" for i in range(CLASSES)))


class Fixed(Noise):
    """Noise that follows from the budget without an accountant: so little that it drowns nothing a field changes."""

    def solve(self, budget: Budget, access: Access, *, others: tuple[Event, ...] = ()) -> Event:
        return access.event(5 / budget.epsilon)


class Enough(Exception):
    """Raised when the stage that is looked at has been made."""


class Recorder(Stages):
    """Real stages that remember keys and artefacts by kind. Kinds in `canned` are not built but taken from there.

    They end with the stage `until`.
    """

    def __init__(self, root: Path, canned: dict[str, Artefact] | None = None, until: str = "") -> None:
        store = FileStore(root / "store")
        store.entropy = lambda name: Entropy(bytes(BYTES))  # type: ignore[method-assign]  # the same noise everywhere
        super().__init__(workers=Workers.alone(), store=store, cache=store, ledger=Ledger(root / "ledger.jsonl"))
        self.canned, self.until = canned or {}, until
        self.keys, self.made = dict[str, str](), dict[str, Artefact]()

    def _remember(self, kind: str, inputs: dict[str, Any], make: Callable[[], Artefact]) -> Artefact:
        self.keys[kind] = digest({"kind": kind, **inputs})
        self.made[kind] = self.canned[kind] if kind in self.canned else make()
        if kind == self.until:
            raise Enough
        return self.made[kind]

    def public(self, kind: str, inputs: dict[str, Any], build: Any) -> Artefact:
        return self._remember(kind, inputs, lambda: super(Recorder, self).public(kind, inputs, build))

    def private(self, kind: str, inputs: dict[str, Any], **rest: Any) -> Artefact:
        return self._remember(kind, inputs, lambda: super(Recorder, self).private(kind, inputs, **rest))

    def unnoised(self, kind: str, inputs: dict[str, Any], **rest: Any) -> Artefact:
        return self._remember(kind, inputs, lambda: super(Recorder, self).unnoised(kind, inputs, **rest))


def run(root: Path, config: MethodConfig, canned: dict[str, Artefact] | None = None, **world: Any) -> Recorder:
    """The pipeline of this configuration up to its images, with the keys of all its stages, gone through or not.

    Raises AssertionError if a stage was gone through under another key than the declared one.
    """
    stages = Recorder(root, canned, world.get("until", ""))
    identity = {"sensitive": world.get("sensitive", "toy"), "public": world.get("public", "toy-public")}
    own = config.member
    questions = (
        event.shared or "" for event in own.shared(config, world.get("budget", BUDGET), identity=identity).values()
    )
    context = Context(
        config=config,
        events=own.events(config, world.get("budget", BUDGET), Fixed(), identity=identity),
        draw=world.get("draw"),
        seed=world.get("seed", 0),
        asked_sigma=dict.fromkeys(questions, world.get("asked", 4.0)),
        public=PUBLIC,
        sensitive=SENSITIVE,
        identity=identity,
        stages=stages,
    )
    try:
        images = own.images(context)
    except Enough:
        return stages
    inputs = images.inputs.knowing({"score": world.get("score", "dp-accuracy[lr]")})
    declared = {s.kind: digest({"kind": s.kind, **inputs.of(s.kind)}) for s in own.declaration.stages}
    assert stages.keys.items() <= declared.items(), "a key that is not made of what is declared"
    stages.keys = declared
    return stages


@cache
def fits(name: str, size: str) -> bool:
    """Whether the method can train the generator of that size on these images."""
    values = {"name": name, **fitting(VALUES, load(name).config)}
    try:
        load(name).check_shape(resolve(set_dotted(values, "model.size", size)), (1, SIDE, SIDE))
    except InputError:
        return False
    return True


@cache
def small(name: str) -> str:
    """The first size that fits, that of VALUES before all others."""
    return next(size for size in (VALUES["model"]["size"], "gan-xs", *sizes.DOOR.names()) if fits(name, size))


def configured(name: str, **fields: Any) -> MethodConfig:
    values: dict[str, Any] = {"name": name, **fitting(VALUES, load(name).config)}
    if "model" in values:
        values = set_dotted(values, "model.size", small(name))
    for dotted, value in fields.items():
        values = set_dotted(values, dotted, value)
    return resolve(values)


@cache
def another(name: str, dotted: str) -> Any:
    """Another valid value of a field."""
    value = fields_of(configured(name))[dotted]
    words = (
        "adam",
        "spectral",
        "euler",
        "bf16",
        "loop",
        "dct-mlp-512",
        "implicit-512",
        "gan-s",
        "efficientnet-lite0",
        "photo",
        "anchors",
        "noise",
        "attention",
        "all",
        "resnet18",
        3,
    )
    numbers = (value + 1, value / 2) if isinstance(value, int | float) and not isinstance(value, bool) else ()
    for candidate in (not value, *numbers, 0.5, *words) if isinstance(value, bool) else (*numbers, 0.5, *words):
        try:
            changed = fields_of(configured(name, **{dotted: candidate}))
        except ValueError:
            continue
        if changed[dotted] != value and (dotted != "model.size" or fits(name, candidate)):
            return changed[dotted]
    raise AssertionError(f"{dotted}: no other value was found")


def see_little(patch: pytest.MonkeyPatch) -> None:
    """A residual network sees 8 pixels a side, and networks see few images at once: no key knows either."""
    patch.setattr(query_network, "SIDE", 8)
    patch.setattr(placed, "ROWS", 4 * CLASSES)
    for module in (means_stages, features, evolve):
        patch.setattr(module, "BLOCK", 4 * CLASSES)
