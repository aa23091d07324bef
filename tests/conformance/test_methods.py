"""Every method keeps to what it declares: what it asks, what determines each stage, what it makes.

What determines a stage is what its method declares: else an answer serves another question, or is paid twice.

Real runs on toy images. Every field of the method is varied, one at a time: exactly the stages that declare it, and
those after them, get another key. And all fields that a stage does not declare are varied at once: it must come out
the same, to the last bit (to rounding where only rounding may change). The declaration cannot vouch for itself: keys
are made from it, so what it leaves out is found by what is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from privimage import histogram, query_network, shared_answer
from privimage.data.sets import PrivateSet, PublicSet, SensitiveData
from privimage.dpsgd.noise import StreamNoiseOptimizer
from privimage.errors import InputError
from privimage.generators import sizes
from privimage.matching import sanitized
from privimage.means import answer
from privimage.methods import kernel_pipeline, pipeline
from privimage.methods.context import Context
from privimage.methods.declared import Declaration, Inputs, Stage, fields_of
from privimage.methods.diffusion import ROUNDING
from privimage.methods.method import METHODS, MethodConfig, load
from privimage.methods.resolve import fitting, resolve
from privimage.privacy.budget import Access, Budget, Event
from privimage.privacy.entropy import BYTES, Entropy, Stream
from privimage.privacy.ledger import Ledger
from privimage.privacy.noise import Noise
from privimage.record import Record
from privimage.run_trial import run as execute
from privimage.schema import Frozen, digest, parse, set_dotted
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.stores.store import Artefact
from privimage.trial import Trial
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


@pytest.fixture(autouse=True)
def little_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A residual network sees 8 pixels a side: a sixteenth of its time, and no key knows it."""
    monkeypatch.setattr(query_network, "SIDE", 8)


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorder]:
    """One whole run of every method."""
    torch.set_num_threads(1)
    return {name: run(tmp_path_factory.mktemp("run"), configured(name)) for name in NAMES}


def differ(base: Recorder, other: Recorder) -> set[str]:
    """The kinds of stages whose keys differ. Both went through the same stages."""
    assert base.keys.keys() == other.keys.keys()
    assert other.made.keys() <= base.made.keys() <= other.made.keys() | NOT_NEEDED
    return {kind for kind in base.keys if other.keys[kind] != base.keys[kind]}


def moved(name: str, dotted: str, baselines: dict[str, Recorder], root: Path) -> set[str]:
    """The kinds of stages whose keys differ when that one field does."""
    base = baselines[name]
    unfit = dotted == "model.size" or dotted in NETWORKS  # weights of another size, features of another network
    return differ(base, run(root, configured(name, **{dotted: another(name, dotted)}), {} if unfit else base.made))


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
    assert moved(name, dotted, baselines, root) == declared, (name, dotted)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_moves_the_keys_that_declare_it(name: str, baselines: dict[str, Recorder], tmp_path: Path) -> None:
    assert {*baselines[name].made, "score"} == {stage.kind for stage in load(name).declaration.stages}
    for number, dotted in enumerate(FIELDS[name]):
        keys_are_as_declared(name, dotted, baselines, tmp_path / str(number))


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


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_field_moves_the_keys_that_declare_it(
    name: str, baselines: dict[str, Recorder], tmp_path: Path
) -> None:
    base, declaration = baselines[name], load(name).declaration
    for on, (given, value) in WORLD.items():
        other = run(tmp_path / on, configured(name), base.made, **{given: value})
        assert differ(base, other) == {kind for kind in base.keys if depends(declaration, kind, on)}, (name, on)


def stays_the_same(name: str, kind: str, baselines: dict[str, Recorder], root: Path) -> None:
    """Raise AssertionError if the stage comes out otherwise when every field that it does not declare is another."""
    declaration = load(name).declaration
    rounded = load(name).private and kind == "generator"  # without noise a step may blow up what is rounded
    others = [f for f in FIELDS[name] if not declaration.decides(f, kind) and (rounded or f not in ROUNDING)]
    made = run(root / "all", configured(name, **{f: another(name, f) for f in others}), until=kind).made
    if kind in NOT_NEEDED - made.keys():
        others = [f for f in others if f not in NETWORKS]
        made = run(root / "needed", configured(name, **{f: another(name, f) for f in others}), until=kind).made
    assert kind in made, f"{kind} was not made"
    for array, before in baselines[name].made[kind].arrays.items():
        # of weights near 1; what follows the trained network does so with Adam, which makes much of rounding near 0
        loose = (1e-4 if array.startswith("G.") else 2e-7) if rounded else 0.0
        assert np.abs(made[kind].arrays[array].astype(float) - before.astype(float)).max() <= loose, (
            name,
            kind,
            array,
            others,
        )


BUILT = [(name, stage.kind) for name in NAMES for stage in load(name).declaration.stages if stage.kind != "score"]


@pytest.mark.parametrize(("name", "kind"), BUILT)
def test_what_a_stage_does_not_declare_does_not_change_it(
    name: str, kind: str, baselines: dict[str, Recorder], tmp_path: Path
) -> None:
    stays_the_same(name, kind, baselines, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_images_do_not_depend_on_what_no_stage_uses(name: str, baselines: dict[str, Recorder], tmp_path: Path) -> None:
    unused = {f: another(name, f) for f in FIELDS[name] if not load(name).declaration.uses(f) and f not in ROUNDING}
    made = run(tmp_path, configured(name, **unused)).made["samples"].arrays
    assert np.array_equal(made["x"], baselines[name].made["samples"].arrays["x"]), unused


# ---- what is declared is what is asked, charged and made


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """(noise multiplier, how often) of all noise that is drawn, in order; answers that are derived left out.

    Noise that is drawn from a stream past the event has none: it counts as one of multiplier -1.
    """
    found: list[tuple[float, int]] = []
    inside: list[str] = []
    normals, derive = Stream.normals, shared_answer.noisier
    perturb, begin, init = Event.perturb, StreamNoiseOptimizer.step, StreamNoiseOptimizer.__init__

    def perturbed(self: Event, value: Any, **rest: Any) -> Any:
        found.append((self.sigma, 1))
        return within("perturb", perturb, self, value, **rest)

    def within(what: str, draw: Callable[..., Any], *rest: Any, **named: Any) -> Any:
        inside.append(what)
        try:
            return draw(*rest, **named)
        finally:
            inside.pop()

    def drawn(self: Stream, *shape: int) -> Any:
        found.extend([] if inside else [(-1.0, 1)])
        return normals(self, *shape)

    def made(self: Any, *rest: Any, **named: Any) -> None:
        found.append((named["noise_multiplier"], 0))
        init(self, *rest, **named)

    def stepped(self: Any, *rest: Any, **named: Any) -> Any:
        found[-1] = (found[-1][0], found[-1][1] + 1)
        return begin(self, *rest, **named)

    monkeypatch.setattr(Event, "perturb", perturbed)
    monkeypatch.setattr(Stream, "normals", drawn)
    monkeypatch.setattr(shared_answer, "noisier", lambda *rest, **named: within("noisier", derive, *rest, **named))
    monkeypatch.setattr(StreamNoiseOptimizer, "__init__", made)
    monkeypatch.setattr(StreamNoiseOptimizer, "step", stepped)
    return found


def ran(name: str, root: Path) -> tuple[Trial, Record, Stages]:
    values = {"data": {"sensitive": {"name": "digits", "id": "toy-v1"}, "public": {"name": "glyphs"}},
              "budget": BUDGET, "method": configured(name), "metrics": ["accuracy[lr]"]}  # fmt: skip
    alone = parse(Trial, values)
    trial = alone.asking(dict.fromkeys(alone.questions, 6.0))
    store = FileStore(root / "store")
    stages = Stages(workers=Workers.alone(), store=store, cache=store, ledger=Ledger(root / "ledger.jsonl"))
    role: Any = "search" if load(name).private else "compare"
    return trial, execute(trial, public=PUBLIC, sensitive=SENSITIVE, stages=stages, sweep="toy", role=role), stages


def one_by_one(draws: list[tuple[float, int]]) -> list[float]:
    """The noise multiplier of each draw: those of a training are told together, those of rounds one after another."""
    return [sigma for sigma, times in draws for _ in range(times)]


def asks_what_it_declares(name: str, root: Path, draws: list[tuple[float, int]]) -> None:
    """Declared accesses, noise drawn, lines of the ledger and the record are the same; and the budget is met."""
    trial, record, stages = ran(name, root)
    method, fields = load(name), fields_of(trial.method)
    asked = {kind: event.model_copy(update={"sigma": 6.0}) if event.shared else event
             for kind, event in trial.asked.items()}  # fmt: skip
    assert [(event.purpose, event.q, event.steps, event.split) for event in record.events] == [
        (access.purpose, access.q, access.steps, access.split)
        for access in (ask.access(fields) for _, ask in method.declaration.asking)
    ]
    charged = [event for charge in stages.ledger.charges() for event in charge.events]
    assert charged == [event for event in asked.values() if event.private]
    assert [look.split for look in stages.ledger.looks() if look.what.startswith("row ")] == [
        event.split for event in asked.values() if not event.private
    ]
    declared = [(event.sigma, event.steps) for event in asked.values() if event.private or method.generates]
    assert one_by_one(draws) == one_by_one(declared)
    assert (record.epsilon_alone is not None) == method.private
    if record.epsilon_alone is not None:
        assert BUDGET.epsilon - 2e-3 * method.solved <= record.epsilon_alone + BUDGET.epsilon * (not method.solved)
        assert record.epsilon_alone <= BUDGET.epsilon


@pytest.mark.parametrize("name", ALL)
def test_what_is_declared_is_drawn_and_charged(name: str, tmp_path: Path, draws: list[tuple[float, int]]) -> None:
    asks_what_it_declares(name, tmp_path, draws)


@pytest.mark.parametrize("name", NAMES)
def test_images_have_the_shape_of_the_sensitive_ones_and_every_label(name: str, baselines: dict[str, Recorder]) -> None:
    made = baselines[name].made["samples"].arrays
    assert made["x"].shape == (VALUES["samples"], 1, SIDE, SIDE) and made["x"].dtype == np.uint8
    assert np.bincount(made["y"], minlength=LABELS).tolist() == [VALUES["samples"] // LABELS] * LABELS


@pytest.mark.parametrize("name", NAMES)
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
def test_a_field_that_is_left_out_of_the_declaration_is_seen(
    name: str, dotted: str, declare: Callable[[str, str], None], baselines: dict[str, Recorder], tmp_path: Path
) -> None:
    declare(name, dotted)
    with pytest.raises((AssertionError, ValueError, RuntimeError)):
        stays_the_same(name, "generator", baselines, tmp_path)


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
    assert issubclass(MethodConfig, Frozen)


def test_an_access_that_is_not_declared_is_seen(
    tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = histogram.noisy_histogram

    def twice(public: Any, sensitive: Any, **rest: Any) -> Any:
        Event(purpose="peek", sigma=9, split="train").perturb(np.zeros(3), sensitivity=1.0, stream=Entropy(
            bytes(BYTES)).stream("peek"))  # fmt: skip
        return real(public, sensitive, **rest)

    monkeypatch.setattr("privimage.methods.pipeline.noisy_histogram", twice)
    with pytest.raises(AssertionError):
        asks_what_it_declares("privimage+d", tmp_path, draws)
    assert (9.0, 1) in draws and (6.0, 1) in draws, "both were drawn"


def test_noise_past_an_event_is_seen(
    tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that adds noise of its own, and declares none of it."""
    real, means = pipeline.fine_tune, []

    def noisy(generator: Any, sensitive: Any, *, entropy: Entropy, **rest: Any) -> Any:
        mean = sensitive.rows(np.arange(3)).mean(axis=0)
        means.append(mean + entropy.stream("mean").normals(*mean.shape))
        return real(generator, sensitive, entropy=entropy, **rest)

    monkeypatch.setattr(pipeline, "fine_tune", noisy)
    with pytest.raises(AssertionError):
        asks_what_it_declares("dpdm", tmp_path, draws)
    assert means and draws[0] == (-1.0, 1) and [steps for _, steps in draws[1:]] == [VALUES["finetune"]["steps"]]


def test_half_of_the_declared_steps_is_seen(
    tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pipeline.fine_tune
    monkeypatch.setattr(pipeline, "fine_tune", lambda *args, event, **rest: real(
        *args, event=event.model_copy(update={"steps": 1}), **rest))  # fmt: skip
    with pytest.raises(AssertionError):
        asks_what_it_declares("dpdm", tmp_path, draws)
    assert [steps for _, steps in draws] == [1]


def test_fewer_steps_than_declared_are_seen_of_a_training_that_is_no_dp_sgd(
    tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kernel_pipeline.train
    monkeypatch.setattr(kernel_pipeline, "train", lambda *args, event, **rest: real(
        *args, event=event.model_copy(update={"steps": 1}), **rest))  # fmt: skip
    with pytest.raises(AssertionError):
        asks_what_it_declares("dp-kernel", tmp_path, draws)
    assert [steps for _, steps in draws] == [1]


def test_gradients_that_are_asked_for_again_are_seen(
    tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise that is averaged away: two answers a step, and one declared."""
    real = sanitized.asked

    def twice(total: Any, **rest: Any) -> Any:
        real(total, **rest)
        return real(total, **rest)

    monkeypatch.setattr(sanitized, "asked", twice)
    with pytest.raises(AssertionError):
        asks_what_it_declares("gs-wgan", tmp_path, draws)
    assert len(draws) == 2 * VALUES["sanitized"]["steps"]


@pytest.mark.parametrize("name", ["dp-ntk", "pearl", "dp-feta"])
def test_an_answer_that_is_looked_at_again_is_seen(
    name: str, tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means that are asked twice, and charged once."""
    real = answer.ask

    def twice(*args: Any, **rest: Any) -> Any:
        real(*args, **rest)
        return real(*args, **rest)

    monkeypatch.setattr(answer, "ask", twice)
    with pytest.raises(AssertionError):
        asks_what_it_declares(name, tmp_path, draws)
    assert [sigma for sigma, _ in draws[:2]] == [6.0, 6.0]
