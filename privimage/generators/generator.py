"""Generator: what makes images of given labels, of whatever family: the protocol that a family's file fills.

A file of this folder that declares MEMBERS, or an entry point of the group `privimage.generators`, names model sizes;
each is a function (shape, n_classes) -> Generator. Nothing outside this folder knows a family.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privimage.checkpoint import Stateful
from privimage.device import onto
from privimage.dpsgd.batch import Batch, Loss
from privimage.errors import InputError
from privimage.generators import Shape
from privimage.generators.codec import Codec
from privimage.generators.config import FollowConfig, SampleConfig, Training
from privimage.workers import Workers

__all__ = ["FIT_IMAGES", "Follower", "Generator", "Numbers", "OneStep", "SampleConfig", "Training"]

FIT_IMAGES = 500  # public images that `fit` gets, and a codec that adapts
CODEC = "codec."  # before the names of what pre-training found of the codec


class Numbers(Protocol):
    """Where random numbers come from: a keyed stream in private training, a seeded generator in public training."""

    def uniforms(self, *shape: int) -> Tensor:
        """float64 in [0, 1), on the CPU."""
        ...

    def normals(self, *shape: int) -> Tensor:
        """Standard normals, on the CPU."""
        ...


class Follower:
    """What learns from F while F is trained, such as the generator of a GAN; this one is none, and does nothing.

    It never meets an image of a training set. In private training F is noisy when it is seen here, and nothing else of
    the training is: no batch, no label, no gradient. So what is learned is post-processing, and costs nothing however
    often it is done.
    """

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """All that its steps change: what a checkpoint keeps."""
        return {}

    def after(self, step: int, *, rng: Numbers, rate: float, workers: Workers) -> None:
        """Learn from F as it is after that step, the first being 0: on every worker alike. `rate` is the share of its
        learning rate that the schedule has reached, `rng` where all that it draws comes from."""


class Generator(nn.Module, ABC):
    """A generator of images uint8 [n, C, H, W] of labels 0 .. n_classes - 1.

    F is what is trained, on public images and then with DP-SGD; `learned` is that and what follows from it; all else
    in the state is the same in both. Randomness of training comes from `rng` alone, randomness of samples from their
    seed.
    """

    momentum: ClassVar[float] = 0.9  # of pre-training
    graphs: bool = False  # whether a GPU may play back what draws (see `privimage.recorded`)

    def __init__(self, *, F: nn.Module, codec: Codec, shape: Shape, n_classes: int) -> None:
        super().__init__()
        self.F = F
        self.codec = codec
        self.shape = shape
        self.n_classes = n_classes

    @property
    def null(self) -> int:
        """The label that means "no label", in training."""
        return self.n_classes

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.F.parameters()).device

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one encoded image."""
        blank = torch.zeros(1, *self.shape, dtype=torch.uint8, device=self.device)
        return tuple(self.codec.encode(blank).shape[1:])

    @property
    def learned(self) -> nn.Module:
        """All that training changes, of which averages and artefacts are made: F, if nothing learns from it."""
        return self.F

    def follower(self, config: FollowConfig, *, labels: Sequence[int]) -> Follower:
        """What learns from F, for images of these labels in 0 .. null, which are public."""
        return Follower()

    @abstractmethod
    def loss(self, training: Training) -> Loss:
        """The loss of the rows of a `batch`, for F."""

    def batch(self, z: Tensor, y: Tensor, *, training: Training, rng: Numbers) -> Batch:
        """Encoded images [n, ...] and labels [n] in 0 .. null with all else that the loss needs, on the device of z.

        Nothing of it may depend on more than one example. Without more: images and labels alone.
        """
        return Batch(each=(z, onto(z.device, y)), K=training.K)

    @abstractmethod
    def sample(self, labels: Tensor, *, config: SampleConfig, seed: int) -> Iterator[Tensor]:
        """Images uint8 of these labels [n], in their order and in parts of any size; the same for the same seed.

        Of `config` a family heeds what it has a use for.
        """

    def vary(
        self, x: NDArray[np.uint8], labels: Tensor, *, config: SampleConfig, seed: int
    ) -> Iterator[NDArray[np.uint8]]:
        """A variation of each of these images [n, C, H, W] of labels [n], in parts, from `config.start_at` on; the same
        for the same seed. Raises InputError if this family cannot."""
        raise InputError(f"method.model.size: a {type(self).__name__} cannot vary an image; take a diffusion")

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load what `pretrain` made: the weights, and the codec as it was adapted to the same images."""
        own = {name: tensor for name, tensor in state.items() if not name.startswith(CODEC)}
        self.learned.load_state_dict(own)
        self.codec.load_state_dict({name.removeprefix(CODEC): state[name] for name in state.keys() - own.keys()})

    def keep_detail(self) -> None:
        """Called before fine-tuning: keep the public weights if they draw a part of the image. Else nothing."""

    def keep_anchors(self, x: NDArray[np.uint8], y: NDArray[np.int64]) -> None:
        """Called after training where `sample.start` is anchors: draw from these public images [m, C, H, W] of labels
        [m] on. Raises InputError if this family cannot."""
        raise InputError(f"method.sample.start: anchors: a {type(self).__name__} draws from noise; leave it at noise")

    def fit(self, public: NDArray[np.uint8], *, config: SampleConfig) -> None:
        """Called after training, with FIT_IMAGES public images [n, C, H, W]: fit what is not F. Else nothing."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load a state dict of a whole generator. Raises RuntimeError if it does not fit."""
        self.load_state_dict(dict(state))


class OneStep(Generator):
    """A generator whose images are a differentiable function of noise and label. Its size says so: `sizes.one_step`."""

    @abstractmethod
    def noise(self, n: int, rng: Numbers) -> Tensor:
        """What n images are drawn from [n, ...], on the CPU."""

    @abstractmethod
    def pixels(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images [n, C, H, W] in [0, 1], with their gradient, of noise and labels [n]."""
