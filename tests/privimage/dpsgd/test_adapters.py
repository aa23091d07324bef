"""A part of a network trained alone: what is frozen stays and gets no noise; what is released is whole."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from known import entropy
from quick import first
from torch import nn

from privimage import checkpoint
from privimage.checkpoint import Checkpoint
from privimage.data.sets import PrivateSet
from privimage.dpsgd import adapters, noise
from privimage.dpsgd.adapters import Adapted, trained, whole
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.engine import ENGINES
from privimage.dpsgd.finetune import fine_tune
from privimage.dpsgd.loop import add_clipped_sum
from privimage.errors import InputError
from privimage.generators.codec import PixelCodec
from privimage.generators.config import Training
from privimage.generators.diffusion import Diffusion
from privimage.generators.edm import EDM
from privimage.generators.generator import Generator
from privimage.generators.pretrain import Seeded
from privimage.generators.unet import UNetSize
from privimage.methods.method import load
from privimage.methods.resolve import resolve
from privimage.privacy.budget import Event
from privimage.stores.file import FileStore
from privimage.workers import Workers

Patch = pytest.MonkeyPatch
SGD = Event(purpose="dp-sgd", split="train", sigma=1.5, q=0.5, steps=3)
PARTS = {
    "attention": {"trainable": "attention"},
    "adapters on attention": {"trainable": "attention", "rank": 2},
    "adapters": {"rank": 2},
}


def config(part: str, **changed: Any) -> FinetuneConfig:
    return FinetuneConfig(optimizer="adam", lr=0.01, C=0.1, K=2, averaged=1e-9, **PARTS[part], **changed)  # type: ignore[arg-type]


def unet() -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        F = UNetSize(width=4, multipliers=(2,), attention=(16,)).make(channels=1, image_size=16, n_classes=3)
        with torch.no_grad():
            for p in F.parameters():
                p.add_(0.1 * torch.randn_like(p))
    return Diffusion(F=F, codec=PixelCodec(), edm=EDM(), shape=(1, 16, 16), n_classes=3)


MAKE: dict[str, Callable[[], Generator]] = {"dct-mlp": lambda: toys.tiny(width=24), "unet": unet}
EXPECTED = {  # beginnings of the names of what is trained, or has an adapter
    ("dct-mlp", "attention"): ("label.", "film."),
    ("dct-mlp", "adapters on attention"): ("label.", "film."),
    ("dct-mlp", "adapters"): ("label.", "film.", "noise_", "first.", "last.", "inner.", "outer."),
    ("unet", "attention"): ("embed.label.", ".dense.", ".attention."),
    ("unet", "adapters on attention"): ("embed.label.", ".dense.", ".attention."),
    ("unet", "adapters"): ("embed.", ".dense.", ".attention.", "conv", ".skip."),
}
CASES = list(EXPECTED)


def belongs(name: str, kind: str, part: str) -> bool:
    return any(known in name for known in EXPECTED[kind, part])


def tune(generator: Generator, sensitive: PrivateSet, config: FinetuneConfig, **rest: Any) -> dict[str, torch.Tensor]:
    arguments: dict[str, Any] = {"entropy": entropy(5), "workers": Workers.alone(), "event": SGD} | rest
    return fine_tune(generator, sensitive, config=config, **arguments).value.state


def stays(kind: str, part: str, sensitive: PrivateSet) -> None:
    generator, start = MAKE[kind](), MAKE[kind]().F.state_dict()
    state = tune(generator, sensitive, config(part))
    assert {name: t.shape for name, t in state.items()} == {name: t.shape for name, t in start.items()}
    moved = {name for name in start if not torch.equal(state[name], start[name])}
    assert moved and all(belongs(name, kind, part) for name in moved), sorted(moved)
    weights = {name for name in start if belongs(name, kind, part) and name.endswith("weight") and "norm" not in name}
    assert weights <= moved, sorted(weights - moved)
    assert all(p.requires_grad for p in generator.F.parameters())
    assert not any(isinstance(layer, Adapted) for layer in generator.F.modules())


@pytest.mark.parametrize(("kind", "part"), first(CASES, 3))
def test_what_is_frozen_stays_and_what_is_released_is_whole(kind: str, part: str, sensitive: PrivateSet) -> None:
    stays(kind, part, sensitive)


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "loop"])
@pytest.mark.parametrize(("kind", "part"), first(CASES))
def test_engines_clip_over_what_is_trained_alone(kind: str, part: str, engine: str, sensitive: PrivateSet) -> None:
    generator = MAKE[kind]()
    F, loss = generator.F.double(), generator.loss(Training(K=2))
    z = generator.codec.encode(torch.from_numpy(sensitive.x[:5])).double()
    rng = Seeded(torch.Generator().manual_seed(0))
    batch = generator.batch(z, torch.from_numpy(sensitive.y[:5]), training=Training(K=2), rng=rng)
    batch = batch.map(lambda t: t.double() if t.is_floating_point() else t)
    with trained(F, config(part), entropy(5)) as count:
        for layer in F.modules():
            if isinstance(layer, Adapted):
                nn.init.normal_(layer.up.weight, std=0.3)  # type: ignore[arg-type]
        free = add_clipped_sum(F, batch, loss=loss, C=1.0)
        C = float(free.median())
        found = []
        for add in (add_clipped_sum, ENGINES[engine]):
            F.zero_grad(set_to_none=True)
            norms = add(F, batch, loss=loss, C=C)
            found.append((norms, {name: p.grad for name, p in F.named_parameters() if p.grad is not None}))
        (norms, exact), (others, sums) = found
        torch.testing.assert_close(others, norms, rtol=1e-5, atol=0, check_dtype=False)
        assert exact.keys() == sums.keys() and sum(g.numel() for g in sums.values()) == count
        assert count < sum(p.numel() for p in F.parameters())
        largest = max(float(g.abs().max()) for g in exact.values())
        for name, g in exact.items():
            torch.testing.assert_close(sums[name], g, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize("kind", MAKE)
def test_an_adapter_merged_is_the_adapter_beside(kind: str) -> None:
    F = MAKE[kind]().F.double()
    z = torch.randn(4, *((256,) if kind == "dct-mlp" else (1, 16, 16)), dtype=torch.float64)
    c_noise, label = torch.rand(4, dtype=torch.float64), torch.arange(4)
    before = F(z, c_noise, label)
    with trained(F, config("adapters"), entropy(5)):
        torch.testing.assert_close(F(z, c_noise, label), before)  # it begins where the network is
        for layer in F.modules():
            if isinstance(layer, Adapted):
                nn.init.normal_(layer.up.weight)  # type: ignore[arg-type]
        beside = F(z, c_noise, label)
        state = whole(copy.deepcopy(F))
    merged = MAKE[kind]().F.double()
    merged.load_state_dict(state)
    assert not torch.allclose(beside, before, rtol=1e-3)
    torch.testing.assert_close(merged(z, c_noise, label), beside)


def test_noise_is_drawn_for_what_is_trained_alone(sensitive: PrivateSet, monkeypatch: Patch) -> None:
    counts, real = [], noise.StepNoise.__init__

    def watched(self: noise.StepNoise, entropy: Any, *, count: int, **rest: Any) -> None:
        counts.append(count)
        real(self, entropy, count=count, **rest)

    monkeypatch.setattr(noise.StepNoise, "__init__", watched)
    F = toys.tiny(width=24).F
    tune(toys.tiny(width=24), sensitive, config("attention"))
    assert counts == [sum(p.numel() for m in (F.label, *F.film) for p in m.parameters())]  # type: ignore[union-attr, misc]


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_one_ends_with_the_same_bits(
    part: str, sensitive: PrivateSet, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", float("inf"))
    place = Checkpoint(store=FileStore(tmp_path), name="part", entropy=entropy(5))

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    expected, again = tune(toys.tiny(), sensitive, config(part)), toys.tiny()
    with pytest.raises(KeyboardInterrupt):
        tune(again, sensitive, config(part), checkpoint=place, progress=kill)
    steps: list[int] = []
    state = tune(again, sensitive, config(part), checkpoint=place, progress=lambda done, total: steps.append(done))
    assert steps == [3]
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_layer_that_is_no_larger_than_its_adapter_is_trained_itself() -> None:
    F = toys.tiny(width=24).F
    with trained(F, config("adapters").model_copy(update={"rank": 1024}), entropy(5)) as count:
        assert not any(isinstance(layer, Adapted) for layer in F.modules())
        assert count == sum(p.numel() for p in F.parameters())


# ---- planted faults


@pytest.fixture
def all_of_it(monkeypatch: Patch) -> Iterator[None]:
    """What is to be frozen is trained."""
    monkeypatch.setattr(adapters, "_freeze", lambda F, config: None)
    yield


@pytest.mark.usefixtures("all_of_it")
@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.thorough
def test_a_part_that_is_not_frozen_is_seen(kind: str, sensitive: PrivateSet) -> None:
    with pytest.raises(AssertionError):
        stays(kind, "attention", sensitive)


def test_an_adapter_that_is_forgotten_is_seen(sensitive: PrivateSet, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Adapted, "merged", lambda self: self.layer)
    with pytest.raises(AssertionError):
        stays("dct-mlp", "adapters", sensitive)


# ---- what may be asked


def test_a_size_without_such_a_part_is_refused() -> None:
    for part, field in (({"trainable": "attention"}, "trainable"), ({"rank": 3}, "rank")):
        values = {"name": "dpdm", "model": {"size": "implicit-128"}, "finetune": part}
        with pytest.raises(InputError, match=f"^method.finetune.{field}: .*implicit-128.* take one of dct-mlp-192"):
            load("dpdm").check_shape(resolve(values), (1, 28, 28))
    with (
        pytest.raises(InputError, match=r"^method.finetune: a Linear does not say"),
        trained(nn.Linear(2, 2), config("attention"), entropy(5)),
    ):
        pass
