"""What determines a stage is what its preset declares: else an answer serves another question, or is paid twice.

Real runs on toy images. Every field of the method is varied, one at a time: exactly the stages that declare it, and
those after them, get another key. And all fields that a stage does not declare are varied at once: it must come out
the same, to the last bit (to rounding where only rounding may change). The declaration cannot vouch for itself: keys
are made from it, so what it leaves out is found by what is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from privimage.data.sets import PrivateSet, PublicSet, SensitiveData
from privimage.methods import presets
from privimage.methods import privimage as method
from privimage.methods.declared import Inputs, Stage, fields_of
from privimage.methods.presets import PRESETS, ROUNDING
from privimage.privacy.budget import Budget, Event
from privimage.privacy.entropy import BYTES, Entropy
from privimage.privacy.ledger import Ledger
from privimage.privacy.noise import Noise
from privimage.schema import Frozen, digest, parse, set_dotted
from privimage.stages import Stages
from privimage.stores.store import Artefact, Store
from privimage.workers import Workers

SIDE, LABELS, CLASSES = 16, 3, 12
VALUES: dict[str, Any] = {
    "query": {"sigma": 10, "k1": 2, "function": {"steps": 2, "batch": 8}},
    "select": {"ratio": 0.5},
    "model": {"size": "dct-mlp-192"},
    "pretrain": {"images": 32, "batch": 16},
    "finetune": {"steps": 2, "q": 0.25, "optimizer": "spectral", "lr": 0.1, "K": 2, "averaged": 0.9},
    "sample": {"steps": 2, "guidance": 1.0, "detail_below": 1.0},
    "samples": 12,
}
BUDGET = Budget(epsilon=90, delta=1e-5)
NAMES = [name for name, preset in PRESETS.items() if preset.generates]
FIELDS = [name for name in fields_of(method.MethodConfig()) if name != "name"]


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

    def dp_sgd(self, budget: Budget, *, q: float, steps: int, query: Event | None = None) -> Event:
        return Event(purpose="dp-sgd", split="train", sigma=5 / budget.epsilon, q=q, steps=steps)


class Enough(Exception):
    """Raised when the stage that is looked at has been made."""


class Recorder(Stages):
    """Real stages that remember keys and artefacts by kind. Kinds in `canned` are not built but taken from there.

    They end with the stage `until`.
    """

    def __init__(self, root: Path, canned: dict[str, Artefact] | None = None, until: str = "") -> None:
        store = Store(root / "store")
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


def run(root: Path, config: method.MethodConfig, canned: dict[str, Artefact] | None = None, **world: Any) -> Recorder:
    """The pipeline of this configuration up to its images."""
    stages = Recorder(root, canned, world.get("until", ""))
    identity = {"sensitive": world.get("sensitive", "toy"), "public": world.get("public", "toy-public")}
    ran = method.Run(
        config=config,
        paid=method.events(config, world.get("budget", BUDGET), Fixed(), identity=identity),
        draw=world.get("draw"),
        seed=world.get("seed", 0),
        asked_sigma={method.question_of(identity, config.query): world.get("asked", 4.0)},
        public=PUBLIC,
        sensitive=SENSITIVE,
        identity=identity,
        stages=stages,
    )
    try:
        images = ran.images()
    except Enough:
        return stages
    score = images.inputs.knowing({"score": world.get("score", "dp-accuracy[lr]")})
    stages.keys["score"] = digest(score.of("score"))
    return stages


def configured(name: str, **fields: Any) -> method.MethodConfig:
    values: dict[str, Any] = {"name": name, **VALUES}
    for dotted, value in fields.items():
        values = set_dotted(values, dotted, value)
    return parse(method.MethodConfig, values)


def another(name: str, dotted: str) -> Any:
    """Another valid value of a field."""
    value = fields_of(configured(name))[dotted]
    words = ("adam", "spectral", "euler", "bf16", "loop", "dct-mlp-512")
    numbers = (value + 1, value / 2) if isinstance(value, int | float) and not isinstance(value, bool) else ()
    for candidate in (not value, *numbers, 0.5, *words) if isinstance(value, bool) else (*numbers, 0.5, *words):
        try:
            changed = fields_of(configured(name, **{dotted: candidate}))
        except ValueError:
            continue
        if changed[dotted] != value:
            return changed[dotted]
    raise AssertionError(f"{dotted}: no other value was found")


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorder]:
    """One whole run of every preset."""
    torch.set_num_threads(1)
    return {name: run(tmp_path_factory.mktemp("run"), configured(name)) for name in NAMES}


def moved(name: str, dotted: str, baselines: dict[str, Recorder], root: Path) -> set[str]:
    """The kinds of stages whose keys differ when that one field does."""
    base = baselines[name]
    canned = {} if dotted == "model.size" else base.made  # the weights of another size do not fit
    other = run(root, configured(name, **{dotted: another(name, dotted)}), canned)
    assert other.keys.keys() == base.keys.keys()
    return {kind for kind in base.keys if other.keys[kind] != base.keys[kind]}


def keys_are_as_declared(name: str, dotted: str, baselines: dict[str, Recorder], root: Path) -> None:
    after, declared = False, set[str]()
    for stage in PRESETS[name].declaration.stages:
        own = any(dotted == f or dotted.startswith(f"{f}.") for f in stage.fields) and dotted not in stage.without
        after = after or own
        declared |= {stage.kind} if after else set()
    assert moved(name, dotted, baselines, root) == declared & baselines[name].keys.keys(), (name, dotted)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_moves_the_keys_that_declare_it(name: str, baselines: dict[str, Recorder], tmp_path: Path) -> None:
    assert set(baselines[name].keys) == {stage.kind for stage in PRESETS[name].declaration.stages}
    for number, dotted in enumerate(FIELDS):
        keys_are_as_declared(name, dotted, baselines, tmp_path / str(number))


WORLD: dict[str, tuple[str, Any]] = {
    "seed": ("seed", 1),
    "training": ("budget", Budget(epsilon=7, delta=1e-5)),
    "asked": ("asked", 3.0),
    "sensitive": ("sensitive", "other"),
    "public": ("public", "other"),
    "draw": ("draw", {"selection": "x", "number": 1}),
    "score": ("score", "dp-accuracy[cnn]"),
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_field_moves_the_keys_that_declare_it(
    name: str, baselines: dict[str, Recorder], tmp_path: Path
) -> None:
    base, declaration = baselines[name], PRESETS[name].declaration
    for on, (given, value) in WORLD.items():
        other = run(tmp_path / on, configured(name), base.made, **{given: value})
        changed = {kind for kind in base.keys if other.keys[kind] != base.keys[kind]}
        if on == "training" and PRESETS[name].finetune == "nonprivate":
            assert not changed, "what has no noise does not depend on the budget"
        else:
            assert changed == {kind for kind in base.keys if declaration.depends(kind, on)}, (name, on)  # type: ignore[arg-type]


def stays_the_same(name: str, kind: str, baselines: dict[str, Recorder], root: Path) -> None:
    """Raise AssertionError if the stage comes out otherwise when every field that it does not declare is another."""
    declaration = PRESETS[name].declaration
    exact = PRESETS[name].finetune == "nonprivate"  # without noise a step may blow up what is rounded
    others = [f for f in FIELDS if not declaration.decides(f, kind) and not (exact and f in ROUNDING)]
    config = configured(name, **{dotted: another(name, dotted) for dotted in others})
    made = run(root, config, until=kind).made[kind].arrays
    loose = 2e-7 if kind == "generator" and not exact else 0.0  # of weights near 1
    for array, before in baselines[name].made[kind].arrays.items():
        assert np.abs(made[array].astype(float) - before.astype(float)).max() <= loose, (name, kind, array, others)


BUILT = [(name, stage.kind) for name in NAMES for stage in PRESETS[name].declaration.stages if stage.kind in
         ("query-function", "histogram", "histogram-derived", "pretrained", "generator")]  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), BUILT)
def test_what_a_stage_does_not_declare_does_not_change_it(
    name: str, kind: str, baselines: dict[str, Recorder], tmp_path: Path
) -> None:
    stays_the_same(name, kind, baselines, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_images_do_not_depend_on_what_no_stage_uses(name: str, baselines: dict[str, Recorder], tmp_path: Path) -> None:
    unused = {f: another(name, f) for f in FIELDS if not PRESETS[name].declaration.uses(f) and f not in ROUNDING}
    made = run(tmp_path, configured(name, **unused)).made["samples"].arrays
    assert np.array_equal(made["x"], baselines[name].made["samples"].arrays["x"]), unused


# ---- planted faults


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Leaves a field out of the declaration of a preset."""

    def leave_out(name: str, dotted: str) -> None:
        preset = PRESETS[name]
        stages = tuple(replace(stage, without=(*stage.without, dotted)) for stage in preset.declaration.stages)
        faulty = replace(preset)
        object.__setattr__(faulty, "declaration", replace(preset.declaration, stages=stages))
        monkeypatch.setitem(presets.PRESETS, name, faulty)

    yield leave_out


@pytest.mark.parametrize("dotted", ["finetune.K", "finetune.label_dropout", "pretrain.lr", "model.size"])
def test_a_field_that_is_left_out_of_the_declaration_is_seen(
    dotted: str, declare: Callable[[str, str], None], baselines: dict[str, Recorder], tmp_path: Path
) -> None:
    declare("pdp-diffusion", dotted)
    with pytest.raises((AssertionError, ValueError, RuntimeError)):
        stays_the_same("pdp-diffusion", "generator", baselines, tmp_path)


def test_a_key_that_is_not_made_from_the_declaration_is_seen(
    baselines: dict[str, Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Inputs.of

    def with_one_more(self: Inputs, kind: str) -> dict[str, Any]:
        return real(self, kind) | {"steps": self.fields.get("sample.steps")}

    monkeypatch.setattr(Inputs, "of", with_one_more)
    with pytest.raises(AssertionError):
        keys_are_as_declared("dpdm", "sample.steps", baselines, tmp_path)


def test_a_stage_names_fields_and_all_below_but_not_what_begins_alike() -> None:
    stage = Stage(kind="k", fields=("samples", "pretrain"), without=("pretrain.lr",))
    assert [stage.names(f) for f in ("samples", "pretrain.ema", "pretrain.lr", "sample.steps", "pretrained")] == [
        True, True, False, False, False
    ]  # fmt: skip
    assert issubclass(method.MethodConfig, Frozen)
