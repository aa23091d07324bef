"""A killed stage goes on from its checkpoint and ends with the same bits; no other file is believed."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import known
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privimage import checkpoint as module
from privimage.checkpoint import Checkpoint
from privimage.data.sets import PrivateSet
from privimage.dpsgd import finetune
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.dpsgd.noise import StepNoise
from privimage.errors import InputError
from privimage.generators.config import PretrainConfig
from privimage.generators.generator import Generator
from privimage.generators.pretrain import pretrain
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.stores.file import FileStore
from privimage.workers import Workers

Tiny = Callable[..., Generator]
ENTROPY, STEPS = known.entropy(2**100 + 1), 5
EVENT = Event(purpose="dp-sgd", split="train", sigma=0.8, q=0.5, steps=STEPS)
Patch = pytest.MonkeyPatch


class Killed(Exception):
    """In place of SIGKILL, which test_killed.py sends to real processes."""


@pytest.fixture(autouse=True)
def at_every_step(monkeypatch: Patch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.0)
    monkeypatch.setattr(module, "SHARE", float("inf"))


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Tiny stages that can be killed after a step."""

    tiny: Tiny
    sensitive: PrivateSet
    store: FileStore
    steps: list[int] = field(default_factory=list)  # those that were done

    def tuned(
        self, *, optimizer: str = "spectral", kept: bool = True, kill_after: int = 0, entropy: Entropy = ENTROPY
    ) -> bytes:
        config = FinetuneConfig(optimizer=optimizer, lr=0.05, C=0.3, K=2, averaged=0.6, edge=0.3)  # type: ignore[arg-type]
        place = Checkpoint(store=self.store, name=f"tuned-{optimizer}", entropy=entropy) if kept else Checkpoint()
        release = fine_tune(
            self.tiny(),
            self.sensitive,
            config=config,
            event=EVENT,
            entropy=entropy,
            workers=Workers.alone(),
            progress=self.killer(kill_after),
            checkpoint=place,
        )
        return bits(release.value.state)

    def pretrained(self, *, kept: bool = True, kill_after: int = 0) -> bytes:
        state = pretrain(
            self.tiny(),
            self.sensitive.rows,
            self.sensitive.y,
            weights=None,
            config=PretrainConfig(images=STEPS * 8, batch=8),
            seed=3,
            workers=Workers.alone(),
            progress=self.killer(kill_after),
            checkpoint=Checkpoint(store=self.store, name="pretrained") if kept else Checkpoint(),
        )
        return bits(state)

    def killer(self, after: int) -> Callable[[int, int], None]:
        def progress(done: int, total: int) -> None:
            self.steps.append(done)
            if done == after:
                raise Killed

        return progress


def bits(state: dict[str, torch.Tensor]) -> bytes:
    return b"".join(name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(state.items()))


@pytest.fixture
def bench(tiny: Tiny, sensitive: PrivateSet, tmp_path: Path) -> Bench:
    return Bench(tiny=tiny, sensitive=sensitive, store=FileStore(tmp_path))


STAGES: dict[str, Callable[..., Callable[..., bytes]]] = {
    "spectral": lambda bench: lambda **how: bench.tuned(optimizer="spectral", **how),
    "adam": lambda bench: lambda **how: bench.tuned(optimizer="adam", **how),
    "pretrain": lambda bench: bench.pretrained,
}


def check_a_killed_stage_ends_with_the_same_bits(
    bench: Bench, stage: str, moments: range = range(1, STEPS + 1)
) -> None:
    run = STAGES[stage](bench)
    whole = run(kept=False)
    for moment in moments:
        with pytest.raises(Killed):
            run(kill_after=moment)
        bench.steps.clear()
        assert run() == whole, f"killed after step {moment}"
        assert bench.steps == [*range(moment + 1, STEPS + 1)], "no step is done twice"
        for name in ("tuned-spectral", "tuned-adam", "pretrained"):
            bench.store.forget(name)


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_ends_with_the_same_bits(bench: Bench, stage: str) -> None:
    check_a_killed_stage_ends_with_the_same_bits(bench, stage)


def test_killed_again_and_again(bench: Bench) -> None:
    whole = bench.tuned(kept=False)
    for moment in (1, 2, 4):
        with pytest.raises(Killed):
            bench.tuned(kill_after=moment)
    assert bench.tuned() == whole


# ---- planted faults: what a checkpoint must hold, and what must not start anew


def nothing_of(kind: type) -> Callable[[Patch], None]:
    """The state of parts of that kind is not kept."""

    def fault(patch: Patch) -> None:
        real = module._load
        patch.setattr(module, "_load", lambda part, state: None if isinstance(part, kind) else real(part, state))

    fault.__name__ = f"no_{kind.__name__}"
    return fault


def momentum_is_not_kept(patch: Patch) -> None:
    real = module._state
    patch.setattr(
        module, "_state", lambda part: {k: v for k, v in real(part).items() if not k.endswith(("/mean", "/exp_avg"))}
    )
    patch.setattr(module, "_load", zeros_where_missing(module._load))


def zeros_where_missing(real: Callable[..., None]) -> Callable[..., None]:
    def load(part: Any, state: Any) -> None:
        if isinstance(part, torch.optim.Optimizer):
            params = [p for group in part.param_groups for p in group["params"]]
            name = "exp_avg" if any(key.endswith("exp_avg_sq") for key in state) else "mean"
            state = dict(state) | {f"{i}/{name}": np.zeros(p.shape, np.float32) for i, p in enumerate(params)}
        real(part, state)

    return load


def the_variance_of_the_momentum_is_not_kept(patch: Patch) -> None:
    real = module._state
    patch.setattr(module, "_state", lambda part: {k: v * (0 if "variance" in k else 1) for k, v in real(part).items()})


def the_steps_of_the_optimizer_are_not_kept(patch: Patch) -> None:
    real = module._state
    patch.setattr(
        module,
        "_state",
        lambda part: {
            k: np.ones_like(v) if k.endswith(("/step", "/steps/number")) else v for k, v in real(part).items()
        },
    )


def noise_starts_anew(patch: Patch) -> None:
    real = StepNoise.begin

    def counted(self: StepNoise, step: int) -> None:
        self.begun = getattr(self, "begun", -1) + 1
        real(self, self.begun)

    patch.setattr(StepNoise, "begin", counted)


def batches_start_anew(patch: Patch) -> None:
    def slice_of(numbered: Iterator[Any], start: int, stop: None) -> Iterator[Any]:
        return islice(((step + start, batch) for step, batch in numbered), STEPS - start)

    patch.setattr(finetune, "islice", slice_of)


def the_average_is_not_kept(patch: Patch) -> None:
    real = Checkpoint.restore
    patch.setattr(
        Checkpoint, "restore", lambda self, parts: real(self, {k: v for k, v in parts.items() if k != "average"})
    )


def the_weights_are_not_kept(patch: Patch) -> None:
    real = Checkpoint.restore
    patch.setattr(Checkpoint, "restore", lambda self, parts: real(self, {k: v for k, v in parts.items() if k != "F"}))


FAULTS = [
    *((fault, "spectral") for fault in (momentum_is_not_kept, the_variance_of_the_momentum_is_not_kept)),
    *((fault, "adam") for fault in (momentum_is_not_kept, nothing_of(torch.optim.Optimizer))),
    *((the_steps_of_the_optimizer_are_not_kept, stage) for stage in STAGES),
    *((fault, stage) for fault in (the_average_is_not_kept, the_weights_are_not_kept) for stage in STAGES),
    *((fault, stage) for fault in (noise_starts_anew, batches_start_anew) for stage in ("spectral", "adam")),
    *((nothing_of(kind), "pretrain") for kind in (torch.Generator, np.random.Generator)),
]


@pytest.mark.parametrize(("fault", "stage"), FAULTS, ids=[f"{fault.__name__}-{stage}" for fault, stage in FAULTS])
@pytest.mark.thorough
def test_the_check_sees_the_fault(bench: Bench, fault: Callable[[Patch], None], stage: str, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        fault(patch)
        with pytest.raises(AssertionError, match="killed after step 4"):
            check_a_killed_stage_ends_with_the_same_bits(bench, stage, range(4, 5))


# ---- what is believed


def write(store: FileStore) -> None:
    Checkpoint(store=store, name="small", entropy=ENTROPY).save(7, {"F": torch.nn.Linear(3, 2)})


def believed(store: FileStore, *, entropy: Entropy | None = ENTROPY, name: str = "small") -> bool:
    """Whether the file is taken; if it is not, nothing may have changed."""
    return taken(Checkpoint(store=store, name=name, entropy=entropy))


def taken(place: Checkpoint) -> bool:
    F = torch.nn.Linear(3, 2)
    before = F.weight.detach().clone()
    done = place.restore({"F": F})
    assert done in (0, 7) and (done == 7) != torch.equal(before, F.weight)
    return done == 7


def test_its_own_checkpoint_is_believed(bench: Bench) -> None:
    assert not believed(bench.store)
    write(bench.store)
    assert believed(bench.store)
    bench.store.forget("small")
    assert not believed(bench.store)


def test_a_checkpoint_that_was_cut_or_changed_anywhere_is_not_believed(bench: Bench) -> None:
    write(bench.store)
    (path,) = (bench.store.root / "internal").iterdir()
    raw = path.read_bytes()
    place = Checkpoint(store=bench.store, name="small", entropy=ENTROPY)
    assert taken(place) and len(raw) < 400
    for i in range(len(raw)):
        for wrong in (raw[:i], raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1 :]):
            path.write_bytes(wrong)
            assert not taken(place), i
    path.write_bytes(raw)
    assert taken(place)


def test_a_stage_with_a_cut_checkpoint_starts_again_and_says_so(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    whole = bench.tuned(kept=False)
    with pytest.raises(Killed):
        bench.tuned(kill_after=3)
    (path,) = (bench.store.root / "internal").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert bench.tuned() == whole
    assert "starts again" in caplog.text and ENTROPY.raw.hex() not in caplog.text


@pytest.mark.parametrize("other", ["entropy", "name", "public", "version", "device"])
def test_a_foreign_checkpoint_is_not_believed(bench: Bench, other: str, monkeypatch: Patch) -> None:
    write(bench.store)
    own = (bench.store.root / "internal" / "small.checkpoint").read_bytes()
    if other == "entropy":
        assert not believed(bench.store, entropy=known.entropy(2**255 + 2**100 + 1))
    elif other == "name":
        bench.store.keep("another", own)
        assert not believed(bench.store, name="another")
    elif other == "public":
        assert not believed(bench.store, entropy=None)
    elif other == "version":
        monkeypatch.setattr(module, "version", lambda package: "9")
        assert not believed(bench.store)
    else:
        there = Workers(rank=0, size=1, device=torch.device("meta"))
        F = torch.nn.Linear(3, 2)
        assert Checkpoint(store=bench.store, name="small", entropy=ENTROPY, workers=there).restore({"F": F}) == 0


@given(st.lists(st.binary(max_size=200), max_size=3))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_from_anywhere_are_not_believed(bench: Bench, parts: list[bytes]) -> None:
    bench.store.keep("small", b"".join(parts))
    assert not believed(bench.store)


# ---- where it is and how often


def test_only_the_owner_reads_it_and_nothing_else_is_left(bench: Bench) -> None:
    with pytest.raises(Killed):
        bench.tuned(kill_after=2)
    (path,) = (bench.store.root / "internal").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_draft_that_a_killed_process_left_is_removed_with_the_rest(bench: Bench) -> None:
    bench.store.entropy("small")
    write(bench.store)
    folder = bench.store.root / "internal"
    for left in (".small.checkpoint", ".small.abc123"):
        (folder / left).touch()
    bench.store.entropy("other")
    bench.store.forget("small")
    assert [path.name for path in folder.iterdir()] == ["other.seed"]


def test_it_holds_no_generator_of_private_noise(bench: Bench, monkeypatch: Patch) -> None:
    held: list[str] = []
    state = module._state
    monkeypatch.setattr(module, "_state", lambda part: (held.append(type(part).__name__), state(part))[1])
    bench.tuned()
    assert set(held) == {"DctMLP", "StreamNoiseOptimizer", "AveragedModel"}


def test_it_takes_its_share_of_the_time_and_no_more(bench: Bench, monkeypatch: Patch) -> None:
    now, writes, cost = [0.0], [], [0.0]
    monkeypatch.setattr(module, "SECONDS", 20.0)
    monkeypatch.setattr(module, "SHARE", 0.01)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    place = Checkpoint(store=bench.store, name="small")

    def slow(self: FileStore, name: str, raw: bytes) -> None:
        writes.append(now[0])
        now[0] += cost[0]

    monkeypatch.setattr(FileStore, "keep", slow)
    for cost[0], expected in ((0.1, 1000 / 20), (5.0, 1000 / 505)):
        writes.clear()
        end = now[0] + 1000
        while now[0] < end:
            now[0] += 0.5  # a step
            place.save(1, {})
        assert len(writes) == pytest.approx(expected, abs=1.1)


def test_a_full_disk_is_said_in_one_line(bench: Bench) -> None:
    (bench.store.root / "internal").write_text("not a folder")
    with pytest.raises(InputError, match=r"small\.checkpoint: cannot be written .*nothing was lost"):
        write(bench.store)
