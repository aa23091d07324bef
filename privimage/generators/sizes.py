"""Sizes: the door of generators. A model size is named in the file of its family, or by a package that brings one."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from privimage.doors import Door
from privimage.errors import InputError
from privimage.generators import Shape
from privimage.generators.config import EDM_LEVELS, NoiseLevels, SampleConfig

if TYPE_CHECKING:
    from privimage.generators.generator import Generator

Make = Callable[[Shape, int], "Generator"]  # (shape of the images, number of labels): InputError if it cannot be
DEFAULT = "dct-mlp-512"
ONE_STEP = "implicit-512"  # the default where images must have a gradient
ADVERSARIAL = "gan-s"  # the same where a generator learns from a discriminator
FEW_KINDS = "gan-s-10"  # of images of a label, for a GAN that is not pre-trained
DEFAULTS = {False: DEFAULT, True: ADVERSARIAL}


def _refuses(member: Any) -> str | None:
    return None if callable(member) else "it must be a function (shape, n_classes) -> Generator"


DOOR: Door[Make] = Door(kind="model size", folder="generators", refuses=_refuses)


def adversarial(size: str) -> bool:
    """Whether the generator of that size learns from a discriminator. Free of torch."""
    return bool(getattr(DOOR.load(size), "adversarial", False))


@lru_cache(maxsize=256)
def check(size: str, shape: Shape) -> None:
    """Raise InputError if there is no generator of that size for images of `shape`. Allocates nothing.

    Where the member has no `check` of its own, which needs no torch, it is made without storage.
    """
    make = DOOR.load(size)
    own: Callable[[Shape], None] | None = getattr(make, "check", None)
    made: object = None
    try:
        made = _without_storage(make, shape) if own is None else own(shape)
    except InputError as error:
        raise InputError(
            f"method.model.size: {size} does not fit images of {shape[1]} x {shape[2]} pixels: {error}; set size of "
            "data.sensitive and data.public, or take another model"
        ) from None
    if own is None and not _is_generator(made):
        raise InputError(f"method.model.size: {size} makes a {type(made).__name__}, not a Generator; take another")


def check_sampler(size: str, shape: Shape, config: SampleConfig) -> None:
    """Raise InputError if the noise levels of `config` do not go with those that suit a generator of that size."""
    own: Callable[[Shape], NoiseLevels] | None = getattr(DOOR.load(size), "levels", None)
    config.suited(EDM_LEVELS if own is None else own(shape))


def one_step(size: str) -> bool:
    """Whether that size draws an image in one step, with a gradient: its generators are `OneStep`."""
    return bool(getattr(DOOR.load(size), "one_step", False))


def check_one_step(size: str, shape: Shape, *, method: str) -> None:
    """As `check`; also where its images have no gradient, which that method needs."""
    check(size, shape)
    if not one_step(size):
        allowed = ", ".join(name for name in DOOR.names() if one_step(name))
        raise InputError(
            f"method.model.size: got {size}, which does not draw in one step, so {method} cannot train it; allowed: "
            f"{allowed}"
        )


def varies(size: str) -> bool:
    """Whether that size can vary an image that it is given: `Generator.vary`."""
    return bool(getattr(DOOR.load(size), "varies", False))


def attends(size: str) -> bool:
    """Whether a part of its network can be trained alone: F is then `Attending` (`dpsgd.adapters`)."""
    return bool(getattr(DOOR.load(size), "attends", False))


def taught_by_means(size: str) -> bool:
    """Whether DP-SGD on such a generator gained nothing once its images met noisy means: docs/means.md."""
    return bool(getattr(DOOR.load(size), "taught_by_means", False))


def _is_generator(made: object) -> bool:
    from privimage.generators.generator import Generator

    return isinstance(made, Generator)


def _without_storage(make: Make, shape: Shape) -> object:
    """What it makes for such images, with weights that take no memory."""
    import torch

    with torch.device("meta"):
        return make(shape, 1)


def build(size: str, *, shape: Shape, n_classes: int, seed: int, graphs: bool = False) -> Generator:
    """A freshly initialised generator of that size for images of `shape`; the same for the same seed.

    With `graphs` a GPU plays back what draws images, where its family can.
    """
    import torch

    make = DOOR.load(size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = make(shape, n_classes)
    generator.graphs = graphs
    return generator
