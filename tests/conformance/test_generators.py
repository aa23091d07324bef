"""Every generator keeps to its protocol: shapes, labels, seeds, state, a gradient of every parameter, keyed draws."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from faulty_families import (
    Centred,
    Floating,
    Forgetful,
    Global,
    Halved,
    Idle,
    Meeting,
    OneImage,
    Unseeded,
    batch_normed,
    peeking,
    shown,
)
from known import entropy
from torch import Tensor
from toy_family import Means

from privimage.data.sets import PrivateSet
from privimage.dpsgd.batch import Batch
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.engine import choose
from privimage.dpsgd.finetune import fine_tune
from privimage.dpsgd.noise import StreamNoiseOptimizer
from privimage.dpsgd.normals import Tensors
from privimage.errors import InputError
from privimage.generators import Shape, sampler, sizes
from privimage.generators.config import FollowConfig, PretrainConfig
from privimage.generators.generator import CODEC, FIT_IMAGES, Follower, Generator, OneStep, SampleConfig, Training
from privimage.generators.pretrain import Seeded, pretrain
from privimage.generators.sampler import draw_images
from privimage.privacy.budget import Event
from privimage.stores.tensors import numpy_state, torch_state
from privimage.workers import Workers

Make = Callable[[Shape, int], Generator]
CPU, LABELS, FEW = torch.device("cpu"), 3, SampleConfig(steps=2, detail_below=0)
PRIVATE = Training(K=2, label_dropout=0.5, P_mean=0.3)
TUNE = FinetuneConfig(K=2, optimizer="adam", lr=1e-3)


def fitting(make: Make, channels: int) -> Shape:
    """The smallest images that it makes, of 8 pixels or more, of 2 at the coarsest level: attention has a choice."""
    return _smallest(make, channels)[0]


def parameters_of(make: Make) -> int:
    return _smallest(make, 1)[1]


@cache
def _smallest(make: Make, channels: int) -> tuple[Shape, int]:
    levels = len(getattr(make, "multipliers", (1,)))
    for side in (side for side in (8, 16, 32) if side >> (levels - 1) >= 2):
        try:
            with torch.device("meta"):
                made = make((channels, side, side), LABELS)
        except InputError:
            continue
        return (channels, side, side), sum(p.numel() for p in made.parameters())
    raise AssertionError("makes neither images of 8 nor of 32 pixels")


QUICK = ("dct-mlp-192", "gan-xs", "implicit-128")  # one of each make that is trained in a moment


def members(*, most: int, at_all: float = float("inf")) -> Any:
    """A test for every name of the door, slow for those of more parameters, none for those of still more.

    Of the small ones all but the quick ones are thorough.
    """
    made = {name: parameters_of(sizes.DOOR.load(name)) for name in sizes.DOOR.names()}

    def marks(name: str) -> list[pytest.MarkDecorator]:
        return [pytest.mark.slow] if made[name] > most else [pytest.mark.thorough] * (name not in QUICK)

    names = [name for name, n in made.items() if n <= at_all]
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in names])


def new(make: Make, channels: int = 1, *, seed: int = 0, moved: bool = True) -> Generator:
    """A generator; with all weights `moved`, so that none hides others by being zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = make(fitting(make, channels), LABELS)
        with torch.no_grad():
            for p in generator.learned.parameters():
                p.add_(0.1 * torch.randn_like(p) * moved)
    return generator


def drawn(generator: Generator, labels: list[int], *, seed: int = 0) -> np.ndarray:
    wanted = np.array(labels)
    x, y = draw_images(generator, n=len(labels), config=FEW, seed=seed, device=CPU, labels=wanted)
    assert np.array_equal(y, wanted)
    return x


def batch_of(generator: Generator, n: int = 2, **changed: Any) -> Batch:
    """n random images, or some of them `changed`, with their draws."""
    rng = torch.Generator().manual_seed(3)
    x = torch.randint(0, 256, (n, *generator.shape), generator=rng, dtype=torch.uint8)
    y = torch.arange(n) % LABELS
    for i, image in changed.get("x", {}).items():
        x[i], y[i] = image, changed.get("y", LABELS)  # and without a label, or with another
    numbers = Seeded(torch.Generator().manual_seed(4))
    return generator.batch(generator.codec.encode(x), y, training=PRIVATE, rng=numbers)


# ---- what holds for every member


def draws_what_is_asked_for(make: Make) -> None:
    for channels in (1, 3):
        generator = new(make, channels)
        x = drawn(generator, [2, 0, 1, 1])
        assert x.dtype == np.uint8 and x.shape == (4, *generator.shape)


def the_seed_decides(make: Make) -> None:
    generator, before = new(make), torch.get_rng_state()
    first = drawn(generator, [0, 1, 2], seed=5)
    torch.rand(3)
    torch.set_rng_state(before)
    assert np.array_equal(first, drawn(generator, [0, 1, 2], seed=5))
    assert not np.array_equal(first, drawn(generator, [0, 1, 2], seed=6))
    assert torch.equal(before, torch.get_rng_state()), "the global generator is left alone"


def another_label_is_another_image(make: Make) -> None:
    generator = new(make)
    one, other = drawn(generator, [0, 1]), drawn(generator, [0, 2])
    assert np.array_equal(one[0], other[0]), "an image depends on its own label"
    assert not np.array_equal(one[1], other[1])


def the_state_is_all_that_counts(make: Make) -> None:
    generator = new(make)
    generator.keep_detail()
    public = np.random.default_rng(0).integers(0, 256, (FIT_IMAGES, *generator.shape), dtype=np.uint8)
    sampler.fit(generator, public, config=FEW, device=CPU)
    other = new(make, seed=1)
    assert not np.array_equal(drawn(generator, [0, 1]), drawn(other, [0, 1]))
    other.load(torch_state(numpy_state(generator.state_dict())))
    assert np.array_equal(drawn(generator, [0, 1]), drawn(other, [0, 1]))
    assert other.state_dict().keys() == generator.state_dict().keys()


def images_survive_the_codec(make: Make) -> None:
    for channels in (1, 3):
        generator = new(make, channels)
        _, height, width = generator.shape
        x = torch.linspace(0, 255, height)[:, None].expand(2, channels, height, width).to(torch.uint8).clone()
        x[1] = 255 - x[1]
        z = generator.codec.encode(x)
        assert z.is_floating_point() and z.isfinite().all() and tuple(z.shape[1:]) == generator.latent_shape
        back = generator.codec.decode(z)
        assert back.dtype == torch.uint8 and (back.int() - x.int()).abs().float().mean() < 2
        assert generator.codec.decode(1e6 * torch.randn_like(z)).dtype == torch.uint8, "in range, whatever it is given"


def every_parameter_counts(make: Make) -> None:
    """Its gradient is in the sum and in the norm, which is that of the mean over the draws, by plain autograd."""
    generator = new(make)
    batch, loss = batch_of(generator).split(1), generator.loss(PRIVATE)
    engine = choose("auto", generator.F)
    trained = {name: p for name, p in generator.F.named_parameters() if p.requires_grad}
    assert trained
    reached = dict.fromkeys(trained, 0.0)
    for one in batch:
        truth = torch.autograd.grad(loss(generator.F, *one.flat()).mean(), list(trained.values()))
        generator.F.zero_grad(set_to_none=True)
        (norm,) = engine(generator.F, one, loss=loss, C=1e12).tolist()
        assert norm == pytest.approx(float(torch.cat([g.flatten() for g in truth]).double().norm()), rel=1e-3)
        for (name, p), g in zip(trained.items(), truth, strict=True):
            assert p.grad is not None and (p.grad - g).norm() <= 1e-3 * g.norm() + 1e-6 * norm, name
            reached[name] += float(p.grad.norm())
    assert all(reached.values()), "each of them has a say"


def an_example_is_apart(make: Make) -> None:
    """What is drawn for an example, and its loss, are the same whatever the others are."""
    generator = new(make)
    white = torch.full(generator.shape, 255, dtype=torch.uint8)
    one, loss = batch_of(generator, 3), generator.loss(PRIVATE)
    others = [batch_of(generator, 3, x={1: white}, y=y) for y in (0, 2, LABELS)]
    for batch in (one, *others):
        assert batch.shape == (3, 2)
        losses = loss(generator.F, *batch.flat())
        assert losses.shape == (6,) and losses.isfinite().all()
    for i, other in product((0, 2), others):
        a, b = one.split(1)[i], other.split(1)[i]
        assert all(torch.equal(s, t) for s, t in zip(a.flat(), b.flat(), strict=True))
    together, alone = loss(generator.F, *one.flat()), [loss(generator.F, *o.flat()) for o in one.split(1)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-5)


def stripes(shape: Shape, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Black, grey and white images of labels 0, 1 and 2."""
    y = np.arange(n) % LABELS
    return np.broadcast_to((y * 127).astype(np.uint8)[:, None, None, None], (n, *shape)).copy(), y


def training_is_keyed(make: Make) -> None:
    """Public and private training move every parameter, by their seed and their entropy and nothing else."""
    before = torch.get_rng_state()
    for train in (in_public, in_private):
        generator = new(make)
        start = {name: t.clone() for name, t in generator.learned.state_dict().items()}
        state, again, other = train(generator, 0), train(new(make), 0), train(new(make), 1)
        own = [name for name in state if not name.startswith(CODEC)]
        assert own == list(start)
        for name, _ in generator.learned.named_parameters():
            assert not torch.equal(state[name], start[name]), name
            assert torch.equal(state[name], again[name]), name
        assert any(not torch.equal(state[name], other[name]) for name in own)
    assert torch.equal(before, torch.get_rng_state())


def in_public(generator: Generator, seed: int, *, images: int = 16, lr: float = 1e-3) -> dict[str, Tensor]:
    x, y = stripes(generator.shape, 48)
    config = PretrainConfig(images=images, batch=8, lr=lr, ema=0.0, follow=FollowConfig(lr=lr))
    quiet = lambda done, total: None  # noqa: E731
    return pretrain(
        generator, x.__getitem__, y, weights=None, config=config, seed=seed, workers=Workers.alone(), progress=quiet
    )  # fmt: skip


def in_private(generator: Generator, key: int) -> dict[str, Tensor]:
    x, y = stripes(generator.shape, 6)
    images = PrivateSet(x=x, y=y, name="stripes", id="stripes", split="train", classes=("black", "grey", "white"))
    event = Event(purpose="dp-sgd", sigma=1.0, q=0.5, steps=2, split="train")
    release = fine_tune(generator, images, config=TUNE, event=event, entropy=entropy(key + 1), workers=Workers.alone())
    assert release.events == (event,)
    return release.value.state


def what_follows_is_post_processing(make: Make) -> None:
    """What learns from F in private training is a function of the noisy F after every step, and of nothing private.

    It is made again from these alone, with no image, no label and no batch at hand.
    """
    seen: list[dict[str, Tensor]] = []
    step = StreamNoiseOptimizer.step
    generator = new(make)

    def noted(self: StreamNoiseOptimizer, *rest: Any) -> Any:
        done = step(self, *rest)
        seen.append({name: t.clone() for name, t in generator.F.state_dict().items()})
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamNoiseOptimizer, "step", noted)
        in_private(generator, 0)
    again = new(make)
    follower = again.follower(TUNE.follow, labels=range(LABELS))
    assert len(seen) == 2
    for number, state in enumerate(seen):
        again.F.load_state_dict(state)
        rate = 1 - (1 - TUNE.final_lr) * number / len(seen)
        rng = Tensors(entropy(1).stream(f"follower/{number}"))
        follower.after(number, rng=rng, rate=rate, workers=Workers.alone())
    for name, tensor in again.learned.state_dict().items():
        assert torch.equal(tensor, generator.learned.state_dict()[name]), name


CHECKS = [
    draws_what_is_asked_for,
    the_seed_decides,
    another_label_is_another_image,
    the_state_is_all_that_counts,
    images_survive_the_codec,
    every_parameter_counts,
    an_example_is_apart,
]
CHECK = pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])


@CHECK
@members(most=1_000_000)
def test_every_member(name: str, check: Callable[[Make], None]) -> None:
    check(sizes.DOOR.load(name))


@members(most=1_000_000, at_all=120e6)  # a quarter of a billion needs 17 GB
def test_training_is_keyed(name: str) -> None:
    training_is_keyed(sizes.DOOR.load(name))


@members(most=1_000_000)
def test_what_follows_is_post_processing(name: str) -> None:
    what_follows_is_post_processing(sizes.DOOR.load(name))


@pytest.mark.parametrize("check", [*CHECKS, training_is_keyed, what_follows_is_post_processing])
def test_a_family_of_a_users_own(check: Callable[[Make], None]) -> None:
    check(Means)


OTHERWISE = {  # images and learning rate: the paper's, or it may end in black; and two that are quick and need less
    "gan-9.42m": (1280, 2e-4),
    "unet-xs": (800, 4e-3),
    "unet-s": (800, 4e-3),
}


@pytest.mark.thorough
@members(most=1_000_000, at_all=12e6)  # larger ones learn too slowly on a CPU
def test_labels_are_obeyed_after_training(name: str) -> None:
    """On images that their labels tell apart at a glance."""
    generator = new(sizes.DOOR.load(name), moved=False)
    alone = type(generator.follower(FollowConfig(), labels=[0])) is Follower
    images, lr = OTHERWISE.get(name, (3200 if alone else 1280, 1e-3))  # what follows costs more a step
    generator.load_pretrained(in_public(generator, 0, images=images, lr=lr))
    black, white = (drawn(generator, [label] * 4).mean() for label in (0, 2))
    assert white > black + 60


@members(most=1_000_000)
def test_a_size_says_what_its_generators_can(name: str) -> None:
    """By these flags methods take a size or refuse it, before torch is loaded and anything is asked."""
    generator = new(sizes.DOOR.load(name))
    assert sizes.one_step(name) == isinstance(generator, OneStep)
    assert sizes.attends(name) == all(hasattr(generator.F, part) for part in ("conditioning", "attending"))
    x, labels = stripes(generator.shape, 5)[0], torch.arange(5) % LABELS
    if sizes.varies(name):
        varied = np.concatenate(list(generator.vary(x, labels, config=FEW, seed=0)))
        assert varied.shape == x.shape and varied.dtype == np.uint8
    else:
        with pytest.raises(InputError, match="cannot vary"):
            list(generator.vary(x, labels, config=FEW, seed=0))


# ---- faults: each is seen


FAULTS = [
    (batch_normed, an_example_is_apart),
    (peeking, what_follows_is_post_processing),
    (shown, what_follows_is_post_processing),
    (OneImage, another_label_is_another_image),
    (Unseeded, the_seed_decides),
    (Forgetful, the_state_is_all_that_counts),
    (Idle, every_parameter_counts),
    (Idle, training_is_keyed),
    (Meeting, every_parameter_counts),
    (Meeting, an_example_is_apart),
    (Centred, an_example_is_apart),
    (Global, training_is_keyed),
    (Halved, images_survive_the_codec),
    (Floating, draws_what_is_asked_for),
]


@pytest.mark.parametrize(("fault", "check"), FAULTS, ids=[f"{f.__name__}-{c.__name__}" for f, c in FAULTS])
def test_the_check_sees_the_fault(fault: Make, check: Callable[[Make], None]) -> None:
    check(Means)
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        check(fault)


def test_the_check_of_trained_labels_sees_who_does_not_heed_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes.DOOR.__class__, "load", lambda self, name: partial(OneImage))
    with pytest.raises(AssertionError):
        test_labels_are_obeyed_after_training("any")
