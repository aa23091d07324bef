"""Generators with a fault each, which the suite of generators must see. Not a test module."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from toy_family import Means, Square

from privimage.dpsgd.batch import Batch, Loss
from privimage.generators import Shape, sizes
from privimage.generators.generator import Generator, SampleConfig, Training


class OneImage(Means):
    """Labels are not heeded."""

    def sample(self, labels: Tensor, *, config: SampleConfig, seed: int) -> Any:
        return super().sample(torch.zeros_like(labels), config=config, seed=seed)


class Unseeded(Means):
    """Samples are drawn from the global generator."""

    def sample(self, labels: Tensor, *, config: SampleConfig, seed: int) -> Any:
        return super().sample(labels, config=config, seed=int(torch.randint(2**30, ())))


class Forgetful(Means):
    """What it learned beside F is not in its state."""

    def fit(self, public: np.ndarray, *, config: SampleConfig) -> None:
        self.brighter = 0.3

    def sample(self, labels: Tensor, *, config: SampleConfig, seed: int) -> Any:
        for part in super().sample(labels, config=config, seed=seed):
            yield self.codec.decode(self.codec.encode(part) + getattr(self, "brighter", 0.0))


class Idle(Means):
    """A parameter that the loss does not see."""

    def __init__(self, shape: Shape, n_classes: int) -> None:
        super().__init__(shape, n_classes)
        self.F.idle = nn.Linear(2, 2)


class OfAll(Square):
    """A loss in which examples meet."""

    def __call__(self, F: Any, *rows: Tensor) -> Tensor:
        return super().__call__(F, rows[0] - rows[0].mean(0), rows[1])


class Meeting(Means):
    """With that loss."""

    def loss(self, training: Training) -> Loss:
        return OfAll()


class Centred(Means):
    """A batch in which examples meet."""

    def batch(self, z: Tensor, y: Tensor, *, training: Training, rng: Any) -> Batch:
        return super().batch(z - z.mean(0), y, training=training, rng=rng)


class Global(Means):
    """Draws of training that no key decides."""

    def batch(self, z: Tensor, y: Tensor, *, training: Training, rng: Any) -> Batch:
        return super().batch(z + torch.randn_like(z), y, training=training, rng=rng)


class Halved(Means):
    """A codec that does not come back."""

    def __init__(self, shape: Shape, n_classes: int) -> None:
        super().__init__(shape, n_classes)
        self.codec.encode = lambda x: x.float() / 255  # type: ignore[method-assign]


class Floating(Means):
    """Images that are not uint8."""

    def sample(self, labels: Tensor, *, config: SampleConfig, seed: int) -> Any:
        return (part.float() for part in super().sample(labels, config=config, seed=seed))


class Together(nn.Module):
    """Normalisation over a batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


def batch_normed(shape: Shape, n_classes: int) -> Generator:
    """A GAN whose fake images depend on each other."""
    made: Any = sizes.DOOR.load("gan-xs")(shape, n_classes)
    made.G.norm = Together()
    return made


def peeking(shape: Shape, n_classes: int) -> Generator:
    """A GAN whose generator is given the labels of the private batch."""
    made: Any = sizes.DOOR.load("gan-xs")(shape, n_classes)
    follower, batch = made.follower, made.batch

    def peeked(z: Tensor, y: Tensor, **rest: Any) -> Batch:
        made.peeked = y
        return batch(z, y, **rest)

    def follows(config: Any, **rest: Any) -> Any:
        own = follower(config, **rest)
        after = own.after

        def step(*args: Any, **named: Any) -> None:
            own.labels = getattr(made, "peeked", own.labels)
            after(*args, **named)

        own.after = step
        return own

    made.batch, made.follower = peeked, follows
    return made


def shown(shape: Shape, n_classes: int) -> Generator:
    """A GAN whose generator also learns from the private images themselves."""
    made: Any = sizes.DOOR.load("gan-xs")(shape, n_classes)
    batch = made.batch

    def learned(z: Tensor, y: Tensor, **rest: Any) -> Batch:
        with torch.no_grad():
            made.G.last.bias.add_(1e-3 * z.mean())
        return batch(z, y, **rest)

    made.batch = learned
    return made
