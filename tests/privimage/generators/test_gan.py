"""The GANs: sizes of the paper, one gradient for the real and the fake image of an example, a killed training."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from known import entropy
from small_networks import double
from torch import Tensor

from privimage import checkpoint as checkpoints
from privimage.checkpoint import NO_CHECKPOINT, Checkpoint
from privimage.data.sets import PrivateSet
from privimage.dpsgd import loop
from privimage.dpsgd.batch import Batch
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.engine import ENGINES, choose
from privimage.dpsgd.finetune import fine_tune
from privimage.errors import InputError
from privimage.generators import adversarial, sizes
from privimage.generators.adversarial import Adversarial, GeneratorFollows
from privimage.generators.config import FollowConfig, PretrainConfig, SampleConfig, Training
from privimage.generators.pretrain import Seeded, pretrain
from privimage.methods.declared import fields_of
from privimage.methods.method import METHODS, load
from privimage.methods.resolve import resolve
from privimage.privacy.budget import Event
from privimage.stores.file import FileStore
from privimage.workers import Workers

SHAPE, LABELS, ENTROPY = (1, 8, 8), 3, entropy(5)
Patch = pytest.MonkeyPatch


def tiny(seed: int = 0) -> Adversarial:
    """A small GAN with no weight at zero."""
    made = sizes.build("gan-xs", shape=SHAPE, n_classes=LABELS, seed=seed)
    assert isinstance(made, Adversarial)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.learned.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=rng))
    return made


def batch_of(generator: Adversarial, *, n: int, K: int) -> Batch:
    """n random images with their fakes, in double precision."""
    rng = torch.Generator().manual_seed(1)
    z = torch.rand((n, *SHAPE), generator=rng) * 2 - 1
    y = torch.arange(n) % (LABELS + 1)  # one of them without a label
    return double(generator.batch(z, y, training=Training(K=K), rng=Seeded(rng)))


def pictures(n: int = 12) -> PrivateSet:
    x = np.random.default_rng(2).integers(0, 256, (n, *SHAPE), dtype=np.uint8)
    classes = tuple("abc")
    return PrivateSet(x=x, y=np.arange(n) % LABELS, name="toy", id="toy", split="train", classes=classes)


# ---- sizes


@pytest.mark.parametrize(
    ("name", "side", "labels", "generator", "discriminator"),
    [("gan-9.42m", 32, 10, 9.42, 2.37), ("gan-11.3m", 64, 2, 11.3, 19.6)],
)
def test_the_papers_sizes_have_the_papers_parameters(
    name: str, side: int, labels: int, generator: float, discriminator: float
) -> None:
    """PrivImage, Table 6, in millions to three digits."""
    with torch.device("meta"):
        made: Any = sizes.DOOR.load(name)((3, side, side), labels)
    for network, millions in ((made.G, generator), (made.F, discriminator)):
        assert float(f"{sum(p.numel() for p in network.parameters()) / 1e6:.3g}") == millions


def test_images_that_do_not_halve_are_refused() -> None:
    sizes.check("gan-9.42m", (3, 32, 32))
    with pytest.raises(InputError, match="multiples of 8"):
        sizes.check("gan-9.42m", (1, 28, 28))
    with pytest.raises(InputError, match="multiples of 4"):
        sizes.check("gan-s", (1, 30, 28))


GANS = [name for name in METHODS.names() if getattr(load(name), "adversarial", False)]


@pytest.mark.parametrize("name", [*GANS, "privimage+d"])
def test_a_row_takes_generators_of_its_kind(name: str) -> None:
    own, other = sizes.DEFAULT, sizes.ADVERSARIAL
    if name in GANS:
        own, other = other, own
    assert str(fields_of(resolve({"name": name}))["model.size"]).startswith(own)
    load(name).check_shape(resolve({"name": name}), (1, 28, 28))
    with pytest.raises(InputError, match=f"model.size: {re.escape(name)} cannot train {other}; take e.g. {own}"):
        load(name).check_shape(resolve({"name": name, "model": {"size": other}}), (1, 28, 28))


# ---- one example, one gradient


@pytest.mark.parametrize("K", [1, 2])
@pytest.mark.parametrize("engine", ["layers", "vmap", "opacus"])
def test_the_clipped_sum_is_that_of_the_loop_over_examples(engine: str, K: int) -> None:
    generator = tiny()
    assert choose("auto", generator.F) is ENGINES["layers"]
    batch, loss = batch_of(generator, n=5, K=K), generator.loss(Training(K=K))
    generator.double()
    C = float(loop.add_clipped_sum(generator.F, batch, loss=loss, C=1.0).median())
    sums = []
    for add in (ENGINES["loop"], ENGINES[engine]):
        generator.F.zero_grad(set_to_none=True)
        norms = add(generator.F, batch, loss=loss, C=C)
        assert (norms > C).any() and (norms < C).any()
        sums.append({name: p.grad.clone() for name, p in generator.F.named_parameters() if p.grad is not None})
    assert sums[0].keys() == dict(generator.F.named_parameters()).keys()
    for name, tensor in sums[0].items():
        torch.testing.assert_close(sums[1][name], tensor, rtol=1e-5, atol=1e-5 * float(tensor.abs().max()))


def adds_no_more_than_C(generator: Adversarial) -> None:
    """What one example, its real and its fake image together, adds to the sum."""
    batch, C = batch_of(generator, n=1, K=1), 0.01
    generator.double()
    generator.F.zero_grad(set_to_none=True)
    choose("auto", generator.F)(generator.F, batch, loss=generator.loss(Training()), C=C)
    added = torch.cat([p.grad.flatten() for p in generator.F.parameters() if p.grad is not None])
    assert float(added.norm()) <= C * (1 + 1e-6)
    assert float(added.norm()) > 0.99 * C


def test_the_real_and_the_fake_image_of_an_example_are_clipped_together() -> None:
    adds_no_more_than_C(tiny())


def test_a_fake_image_that_is_an_example_of_its_own_is_seen(monkeypatch: Patch) -> None:
    """Clipped by itself: then the two of one image add up to twice C."""
    real = Adversarial.batch

    def apart(self: Adversarial, *args: Any, **rest: Any) -> Batch:
        whole = real(self, *args, **rest)
        ((z, labels), (fake,)) = whole.each, whole.drawn
        return Batch(each=(torch.cat([z, fake[:, 0]]), labels.repeat(2, 1)), drawn=(torch.cat([fake, fake]),), K=1)

    monkeypatch.setattr(Adversarial, "batch", apart)
    with pytest.raises(AssertionError):
        adds_no_more_than_C(tiny())


def test_what_an_image_is_told_apart_from_is_drawn_for_it_alone() -> None:
    """Its wrong label is never its own; an image without a label has none."""
    generator = tiny()
    y = torch.arange(4).repeat(50)
    z = torch.zeros(len(y), *SHAPE)
    labels = generator.batch(z, y, training=Training(), rng=Seeded(torch.Generator().manual_seed(0))).each[1]
    right, wrong = labels.unbind(1)
    assert torch.equal(right, y) and (wrong[y == LABELS] == LABELS).all()
    for label in range(LABELS):
        assert set(wrong[y == label].tolist()) == {*range(LABELS)} - {label}


@pytest.mark.parametrize("labelled", [False, True])
def test_what_was_trained_without_labels_draws_alike_for_each(labelled: bool) -> None:
    """Else it would take labels for kinds of images of its own, and fine-tuning had to undo that."""
    generator, x = tiny(), pictures().rows(np.arange(12))
    y = np.arange(12) % LABELS if labelled else np.full(12, LABELS)
    config = PretrainConfig(images=40, batch=8, follow=FollowConfig(batch=8))
    state = pretrain(
        generator, lambda index: x[index], y, weights=None, config=config, seed=0, workers=Workers.alone(),
        progress=lambda done, of: None,
    )  # fmt: skip
    generator.load_pretrained(state)
    z = torch.randn(5, generator.G.z, generator=torch.Generator().manual_seed(0))
    one, other = (generator.G(z, torch.full((5,), label)) for label in (0, 1))
    assert torch.equal(one, other) is not labelled


def test_of_candidates_that_is_drawn_in_which_the_label_is_told_best() -> None:
    generator, labels = tiny(), torch.arange(7) % LABELS
    config = SampleConfig(candidates=4, batch=8)  # 2 labels at a time
    x = torch.cat(list(generator.sample(labels, config=config, seed=3)))
    noise = torch.randn(7, 4, generator.G.z, generator=torch.Generator().manual_seed(3))
    chosen = set()
    for i, label in enumerate(labels.tolist()):
        with torch.no_grad():
            images = generator.G(noise[i], torch.full((4,), label))
            of_label = generator.F(images, torch.arange(LABELS).expand(4, -1)).softmax(1)[:, label]
        best = int(of_label.argmax())
        assert torch.equal(x[i], generator.codec.decode(images[best : best + 1])[0])
        chosen.add(best)
    assert len(chosen) > 1


# ---- kinds of images of a label


def test_of_the_first_values_of_the_noise_only_the_largest_counts() -> None:
    G = tiny().G
    z, label = torch.randn(6, G.z, generator=torch.Generator().manual_seed(0)), torch.arange(6) % LABELS
    scaled, other = z.clone(), z.clone()
    scaled[:, : G.codes] *= 3
    other[:, : G.codes] = z[:, : G.codes].roll(1, 1)
    assert torch.equal(G.code(scaled), G.code(z)) and torch.equal(G(scaled, label), G(z, label))
    assert torch.equal(G.code(other), (G.code(z) + 1) % G.codes)
    assert ((G(other, label) - G(z, label)).abs().amax((1, 2, 3)) > 1e-3).all()


def told_and_apart(generator: Adversarial, steps: int) -> tuple[float, float]:
    """The share of codes that Q tells after so many steps, and how much two images of a label differ."""
    follower = generator.follower(FollowConfig(batch=32, lr=2e-3), labels=range(LABELS))
    for step in range(steps):
        rng = Seeded(torch.Generator().manual_seed(step))
        follower.after(step, rng=rng, rate=1.0, workers=Workers.alone())
    z = torch.randn(300, generator.G.z, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = generator.G(z, torch.ones(300, dtype=torch.int64))
        assert generator.Q is not None
        told = generator.Q(generator.F.found(x)).argmax(1) == generator.G.code(z)
    return float(told.float().mean()), float((x - x.roll(1, 0)).abs().mean())


def test_a_generator_with_codes_makes_images_that_tell_them_and_differ(monkeypatch: Patch) -> None:
    told, apart = told_and_apart(tiny(), 60)
    assert told > 0.5 and told_and_apart(tiny(), 0)[0] < 0.3
    monkeypatch.setattr(adversarial, "CODED", 0.0)
    monkeypatch.setattr(adversarial, "APART", 0.0)
    without = told_and_apart(tiny(), 60)
    assert without[0] < 0.3 and without[1] < 0.8 * apart, "without the two terms they do neither"


def test_what_judges_can_be_trained_alone() -> None:
    """All that is found in an image stays as it is; the generator follows what judges."""
    event = Event(purpose="dp-sgd", split="train", sigma=1.0, q=0.5, steps=2)
    config = FinetuneConfig(
        optimizer="adam", lr=1e-3, K=1, trainable="attention", averaged=1, follow=FollowConfig(batch=4)
    )
    generator = tiny()
    before = {name: t.clone() for name, t in generator.F.state_dict().items()}
    fine_tune(generator, pictures(), config=config, event=event, entropy=ENTROPY, workers=Workers.alone())
    moved = {name for name, t in generator.F.state_dict().items() if not torch.equal(t, before[name])}
    assert moved == {"label.weight", "out.weight", "out.bias"}


# ---- the generator follows


def test_the_generator_takes_its_steps_after_those_of_the_discriminator() -> None:
    generator = tiny()
    follower = generator.follower(FollowConfig(every=3, times=2, batch=4), labels=range(LABELS))
    assert isinstance(follower, GeneratorFollows)
    before, moved = {name: t.clone() for name, t in generator.F.state_dict().items()}, []
    for step in range(7):
        start = torch.cat([p.detach().flatten().clone() for p in generator.G.parameters()])
        rng = Seeded(torch.Generator().manual_seed(step))
        follower.after(step, rng=rng, rate=1.0, workers=Workers.alone())
        moved.append(not torch.equal(start, torch.cat([p.detach().flatten() for p in generator.G.parameters()])))
    assert moved == [False, False, True, False, False, True, False]
    assert all(state["step"] == 4 for state in follower.adam.state.values())
    assert all(torch.equal(t, before[name]) for name, t in generator.F.state_dict().items()), "F is only looked at"
    assert all(p.grad is None for p in generator.F.parameters()), "and no gradient is left in it"


def test_two_workers_take_the_step_of_one() -> None:
    """Each takes its share of the images; the sum of both is the whole."""

    def gradients(rank: int, size: int) -> list[Tensor]:
        generator, taken = tiny(), []
        workers = Workers(rank=rank, size=size, device=torch.device("cpu"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Workers, "all_reduce", lambda self, tensors: taken.extend(t.clone() for t in tensors))
            follower = generator.follower(FollowConfig(batch=5), labels=range(LABELS))
            rng = Seeded(torch.Generator().manual_seed(0))
            follower.after(0, rng=rng, rate=1.0, workers=workers)
        return taken

    whole = gradients(0, 1)
    sums = [gradients(rank, 2) for rank in (0, 1)]
    for one, a, b in zip(whole, *sums, strict=True):
        torch.testing.assert_close(a + b, one, rtol=1e-4, atol=1e-6)


# ---- a killed training


class Killed(Exception):
    """In place of SIGKILL."""


def in_private(place: Checkpoint, progress: Callable[[int, int], None]) -> dict[str, Tensor]:
    event = Event(purpose="dp-sgd", split="train", sigma=1.0, q=0.5, steps=5)
    config = FinetuneConfig(optimizer="adam", lr=1e-3, K=1, averaged=0.5, follow=FollowConfig(every=2, batch=4))
    return fine_tune(
        tiny(), pictures(), config=config, event=event, entropy=ENTROPY, workers=Workers.alone(), progress=progress,
        checkpoint=place,
    ).value.state  # fmt: skip


def in_public(place: Checkpoint, progress: Callable[[int, int], None]) -> dict[str, Tensor]:
    images = pictures()
    config = PretrainConfig(images=20, batch=4, follow=FollowConfig(every=2, batch=4))
    return pretrain(
        tiny(), images.rows, images.y, weights=None, config=config, seed=0, workers=Workers.alone(),
        progress=progress, checkpoint=place,
    )  # fmt: skip


def ends_with_the_same_bits(train: Callable[..., dict[str, Tensor]], store: FileStore) -> None:
    """Killed after its third step of five, the generator's optimizer in the midst."""

    def kill(done: int, total: int) -> None:
        if done == 3:
            raise Killed

    secret = ENTROPY if train is in_private else None
    whole = train(NO_CHECKPOINT, lambda done, total: None)
    with pytest.raises(Killed):
        train(Checkpoint(store=store, name="x", entropy=secret), kill)
    steps: list[int] = []
    again = train(Checkpoint(store=store, name="x", entropy=secret), lambda done, total: steps.append(done))
    assert steps == [4, 5], "no step is done twice"
    assert whole.keys() == again.keys() == tiny().learned.state_dict().keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: Patch) -> FileStore:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))
    return FileStore(tmp_path)


@pytest.mark.parametrize("train", [in_private, in_public])
def test_a_killed_training_ends_with_the_same_bits(train: Callable[..., Any], store: FileStore) -> None:
    ends_with_the_same_bits(train, store)


@pytest.mark.parametrize("part", ["G", "G-adam"])
@pytest.mark.parametrize("train", [in_private, in_public])
@pytest.mark.thorough
def test_what_a_checkpoint_leaves_out_is_seen(
    train: Callable[..., Any], part: str, store: FileStore, monkeypatch: Patch
) -> None:
    real = GeneratorFollows.parts.fget  # type: ignore[attr-defined]
    parts = property(lambda self: {name: of for name, of in real(self).items() if name != part})
    monkeypatch.setattr(adversarial.GeneratorFollows, "parts", parts)
    with pytest.raises(AssertionError):
        ends_with_the_same_bits(train, store)
