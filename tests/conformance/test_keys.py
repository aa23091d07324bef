"""What determines a stage is what its method declares: else an answer serves another question, or is paid twice.

Real runs on toy images. Every field of the method is varied, one at a time: exactly the stages that declare it, and
those after them, get another key. And all fields that a stage does not declare are varied at once: it must come out
the same, to the last bit (to rounding where only rounding may change). The declaration cannot vouch for itself: keys
are made from it, so what it leaves out is found by what is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_runs import (
    FIELDS,
    LABELS,
    NAMES,
    NETWORKS,
    NOT_NEEDED,
    SIDE,
    VALUES,
    Recorder,
    another,
    configured,
    run,
    see_little,
)
from quick import these

from privimage.methods.declared import Declaration, Inputs, Stage
from privimage.methods.diffusion import ROUNDING
from privimage.methods.method import MethodConfig, load
from privimage.privacy.budget import Budget
from privimage.schema import Frozen


@pytest.fixture(autouse=True)
def little_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    see_little(monkeypatch)


class Baselines(dict[str, Recorder]):
    """One whole run of every method, when it is first looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __missing__(self, name: str) -> Recorder:
        with pytest.MonkeyPatch.context() as patch:
            see_little(patch)
            self[name] = run(self.root / name, configured(name))
        return self[name]


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Baselines:
    torch.set_num_threads(1)
    return Baselines(tmp_path_factory.mktemp("runs"))


QUICK = {"privimage+d"}  # the paper's own


def members(*found: tuple[str, ...]) -> list[Any]:
    """Tuples that begin with a method: all but those of the quick one are thorough."""
    return these([one for one in found if one[0] in QUICK], found)


EVERY = pytest.mark.parametrize("name", members(*zip(NAMES)))


def differ(base: Recorder, other: Recorder) -> set[str]:
    """The kinds of stages whose keys differ. Both went through the same stages."""
    assert base.keys.keys() == other.keys.keys()
    assert other.made.keys() <= base.made.keys() <= other.made.keys() | NOT_NEEDED
    return {kind for kind in base.keys if other.keys[kind] != base.keys[kind]}


def moved(name: str, dotted: Sequence[str], baselines: dict[str, Recorder], root: Path) -> set[str]:
    """The kinds of stages whose keys differ when those fields do.

    Nothing is built but what must fit weights of another size, or features of another network: what the fields are
    declared to decide, so that what is not declared fails here, as it does not fit.
    """
    base, declaration = baselines[name], load(name).declaration
    unfit = [f for f in dotted if f == "model.size" or f in NETWORKS]
    canned = {kind: made for kind, made in base.made.items() if not any(declaration.decides(f, kind) for f in unfit)}
    return differ(base, run(root, configured(name, **{f: another(name, f) for f in dotted}), canned))


def below(dotted: str, names: Sequence[str]) -> bool:
    return any(dotted == name or dotted.startswith(f"{name}.") for name in names)


def keys_are_as_declared(name: str, dotted: str, baselines: dict[str, Recorder], root: Path) -> None:
    declaration, own = load(name).declaration, set[str]()
    for stage in declaration.stages:
        fields = (*stage.fields, *(stage.asks.fields if stage.asks is not None else ()))
        if below(dotted, fields) and not below(dotted, stage.without):
            own.add(stage.kind)
    kinds = (stage.kind for stage in declaration.stages)
    declared = {kind for kind in kinds if own & {stage.kind for stage in declaration.upto(kind)}}
    assert moved(name, [dotted], baselines, root) == declared, (name, dotted)


@EVERY
def test_every_field_moves_the_keys_that_declare_it(name: str, baselines: dict[str, Recorder], tmp_path: Path) -> None:
    assert {*baselines[name].made, "score"} == {stage.kind for stage in load(name).declaration.stages}
    used = [dotted for dotted in FIELDS[name] if load(name).declaration.uses(dotted)]
    for number, dotted in enumerate(used):
        keys_are_as_declared(name, dotted, baselines, tmp_path / str(number))
    unused = [dotted for dotted in FIELDS[name] if dotted not in used]
    assert not moved(name, unused, baselines, tmp_path / "unused"), "a field that no stage declares"


WORLD: dict[str, tuple[str, Any]] = {
    "seed": ("seed", 1),
    "budget": ("budget", Budget(epsilon=7, delta=1e-5)),
    "asked": ("asked", 3.0),
    "sensitive": ("sensitive", "other"),
    "public": ("public", "other"),
    "draw": ("draw", {"selection": "x", "number": 1}),
    "score": ("score", "dp-accuracy[cnn]"),
}


def depends(declaration: Declaration, kind: str, on: str) -> bool:
    """Whether a stage declares that it depends on this."""
    if on == "budget":
        return declaration.budgeted(kind)
    if on == "asked":
        return any(stage.asks is not None and stage.asks.shared for stage in declaration.upto(kind))
    return declaration.depends(kind, on)  # type: ignore[arg-type]


@EVERY
def test_what_is_no_field_moves_the_keys_that_declare_it(
    name: str, baselines: dict[str, Recorder], tmp_path: Path
) -> None:
    base, declaration = baselines[name], load(name).declaration
    for on, (given, value) in WORLD.items():
        other = run(tmp_path / on, configured(name), base.made, **{given: value})
        assert differ(base, other) == {kind for kind in base.keys if depends(declaration, kind, on)}, (name, on)


def stays_the_same(name: str, kind: str, baselines: dict[str, Recorder], root: Path) -> None:
    """Raise AssertionError if the stage comes out otherwise when every field that it does not declare is another.

    What it declares to come after is at hand: each of those is looked at by itself.
    """
    declaration = load(name).declaration
    before = {stage.kind for stage in declaration.upto(kind)} - {kind}
    canned = {done: made for done, made in baselines[name].made.items() if done in before}
    rounded = load(name).private and kind == "generator"  # without noise a step may blow up what is rounded
    others = [f for f in FIELDS[name] if not declaration.decides(f, kind) and (rounded or f not in ROUNDING)]
    made = run(root / "all", configured(name, **{f: another(name, f) for f in others}), canned, until=kind).made
    if kind in NOT_NEEDED - made.keys():
        others = [f for f in others if f not in NETWORKS]
        made = run(root / "needed", configured(name, **{f: another(name, f) for f in others}), canned, until=kind).made
    assert kind in made, f"{kind} was not made"
    for array, as_before in baselines[name].made[kind].arrays.items():
        # of weights near 1; what follows the trained network does so with Adam, which makes much of rounding near 0
        loose = (1e-4 if array.startswith("G.") else 2e-7) if rounded else 0.0
        assert np.abs(made[kind].arrays[array].astype(float) - as_before.astype(float)).max() <= loose, (
            name,
            kind,
            array,
            others,
        )


BUILT = [(name, stage.kind) for name in NAMES for stage in load(name).declaration.stages if stage.kind != "score"]


@pytest.mark.parametrize(("name", "kind"), members(*BUILT))
def test_what_a_stage_does_not_declare_does_not_change_it(
    name: str, kind: str, baselines: dict[str, Recorder], tmp_path: Path
) -> None:
    stays_the_same(name, kind, baselines, tmp_path)


@EVERY
def test_images_do_not_depend_on_what_no_stage_uses(name: str, baselines: dict[str, Recorder], tmp_path: Path) -> None:
    unused = {f: another(name, f) for f in FIELDS[name] if not load(name).declaration.uses(f) and f not in ROUNDING}
    made = run(tmp_path, configured(name, **unused)).made["samples"].arrays
    assert np.array_equal(made["x"], baselines[name].made["samples"].arrays["x"]), unused


@EVERY
def test_images_have_the_shape_of_the_sensitive_ones_and_every_label(name: str, baselines: dict[str, Recorder]) -> None:
    made = baselines[name].made["samples"].arrays
    assert made["x"].shape == (VALUES["samples"], 1, SIDE, SIDE) and made["x"].dtype == np.uint8
    assert np.bincount(made["y"], minlength=LABELS).tolist() == [VALUES["samples"] // LABELS] * LABELS


@EVERY
def test_the_same_seed_makes_the_same_of_the_same_answers(
    name: str, baselines: dict[str, Recorder], tmp_path: Path
) -> None:
    base, asking = baselines[name], {stage.kind for stage, _ in load(name).declaration.asking}
    again = run(tmp_path, configured(name), {kind: base.made[kind] for kind in asking & base.made.keys()})
    for kind, artefact in base.made.items():
        for array, before in artefact.arrays.items():
            assert np.array_equal(again.made[kind].arrays[array], before), (kind, array)


# ---- planted faults


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Leaves a field out of the declaration of a method."""

    def leave_out(name: str, dotted: str) -> None:
        declared = load(name).declaration
        stages = tuple(replace(stage, without=(*stage.without, dotted)) for stage in declared.stages)
        monkeypatch.setitem(vars(load(name)), "declaration", replace(declared, stages=stages))

    yield leave_out


LEFT_OUT = [
    *(("pdp-diffusion", f) for f in ("finetune.K", "finetune.label_dropout", "pretrain.lr", "model.size")),
    ("dp-ldm", "finetune.trainable"),
    ("dp-lora", "finetune.rank"),
    ("dp-feta", "pool.views"),
    ("dp-kernel", "kernel.length"),
    *(("gs-wgan", f"sanitized.{f}") for f in ("parts", "critic_lr", "warm")),
    *(("dpgan-p", f) for f in ("finetune.K", "finetune.follow.lr", "pretrain.follow.lr")),
]


@pytest.mark.parametrize(("name", "dotted"), LEFT_OUT)
@pytest.mark.thorough
def test_a_field_that_is_left_out_of_the_declaration_is_seen(
    name: str, dotted: str, declare: Callable[[str, str], None], baselines: dict[str, Recorder], tmp_path: Path
) -> None:
    declare(name, dotted)
    with pytest.raises((AssertionError, ValueError, RuntimeError)):
        for kind in [kind for own, kind in BUILT if own == name]:
            stays_the_same(name, kind, baselines, tmp_path / kind)


def test_a_key_that_is_not_made_from_the_declaration_is_seen(
    baselines: dict[str, Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Inputs.of

    def with_one_more(self: Inputs, kind: str) -> dict[str, Any]:
        return real(self, kind) | {"steps": self.fields.get("sample.steps")}

    monkeypatch.setattr(Inputs, "of", with_one_more)
    with pytest.raises(AssertionError):
        keys_are_as_declared("dpdm", "sample.steps", baselines, tmp_path / "used")
    assert moved("all-images", ["sample.steps"], baselines, tmp_path / "unused"), "which does not use it"


def test_a_stage_names_fields_and_all_below_but_not_what_begins_alike() -> None:
    stage = Stage(kind="k", fields=("samples", "pretrain"), without=("pretrain.lr",))
    assert [stage.names(f) for f in ("samples", "pretrain.ema", "pretrain.lr", "sample.steps", "pretrained")] == [
        True, True, False, False, False
    ]  # fmt: skip
    assert issubclass(MethodConfig, Frozen)
