"""Sizes: the door of generators. A model size is named in the file of its family, or by a package that brings one."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from privimage.doors import Door
from privimage.errors import InputError
from privimage.generators import Shape

if TYPE_CHECKING:
    from privimage.generators.generator import Generator

Make = Callable[[Shape, int], "Generator"]  # (shape of the images, number of labels): InputError if it cannot be
DEFAULT = "dct-mlp-512"


def _refuses(member: Any) -> str | None:
    return None if callable(member) else "it must be a function (shape, n_classes) -> Generator"


DOOR: Door[Make] = Door(kind="model size", folder="generators", refuses=_refuses)


@lru_cache(maxsize=256)
def check(size: str, shape: Shape) -> None:
    """Raise InputError if there is no generator of that size for images of `shape`. Allocates nothing."""
    import torch

    from privimage.generators.generator import Generator

    make = DOOR.load(size)
    try:
        with torch.device("meta"):
            made = make(shape, 1)
    except InputError as error:
        raise InputError(
            f"method.model.size: {size} does not fit images of {shape[1]} x {shape[2]} pixels: {error}; set size of "
            "data.sensitive and data.public, or take another model"
        ) from None
    if not isinstance(made, Generator):
        raise InputError(f"method.model.size: {size} makes a {type(made).__name__}, not a Generator; take another")


def build(size: str, *, shape: Shape, n_classes: int, seed: int) -> Generator:
    """A freshly initialised generator of that size for images of `shape`; the same for the same seed."""
    import torch

    make = DOOR.load(size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(shape, n_classes)
