"""Output: one form of files that synthetic images are written in: the protocol that its file here fills.

A file of this folder that declares MEMBERS, or an entry point of the group `privimage.outputs`, brings a form; the path
that is asked for says which is meant.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privimage.doors import Door
from privimage.errors import InputError
from privimage.local import local_path
from privimage.progress import Tell


@dataclass(frozen=True, kw_only=True)
class ImageBlocks:
    """Synthetic images, read block by block: `blocks` gives them in order, uint8 [b, *shape], y their labels [n]."""

    y: NDArray[np.int64]
    classes: tuple[str, ...]  # the names of all labels
    shape: tuple[int, int, int]  # (channels, height, width)
    blocks: Callable[[], Iterator[NDArray[np.uint8]]]

    def each(self, tell: Tell) -> Iterator[tuple[int, NDArray[np.uint8], int]]:
        """The place, image and label of every one, in order."""
        i = 0
        for block in self.blocks():
            for image in block:
                yield i, image, int(self.y[i])
                i += 1
            tell(i, len(self.y))

    def number(self, i: int) -> str:
        """What file names call the image at a place: its place, with as many digits for all."""
        return f"{i:0{max(6, len(str(len(self.y) - 1)))}d}"


class Output(ABC):
    """A form of files. What it writes follows from the images alone, byte for byte: no time, no name of a user."""

    form: ClassVar[str]  # an example of a path that means it, for messages

    @abstractmethod
    def fits(self, to: str) -> bool:
        """Whether a path, as it was typed, means this form."""

    def refuses(self, name: str, counts: Mapping[int, int]) -> str | None:
        """Why so many images of each label cannot be written in a file of this name, with the fix; None if they can."""
        return None

    def names(self, name: str, n: int) -> tuple[str, ...]:
        """What n images become, in the folder of the path whose last part is `name`."""
        return (name,)

    def taken(self, path: Path) -> bool:
        """Whether something is there that it would take the place of."""
        return os.path.lexists(path)

    @abstractmethod
    def write(self, drawn: ImageBlocks, into: Path, name: str, tell: Tell) -> None:
        """Write all its `names` into a folder. Raises OSError where that cannot be."""


def suffixed(to: str, suffix: str) -> bool:
    """Whether a path, as it was typed, is that of a file of this suffix.

    >>> suffixed("a/b.npz", ".npz"), suffixed("a/b.npz/", ".npz")
    (True, False)
    """
    return not to.endswith("/") and Path(to).suffix == suffix


def _refuses(member: Any) -> str | None:
    return None if isinstance(member, Output) else "it must be an Output"


DOOR: Door[Output] = Door(kind="output", folder="analysis/outputs", refuses=_refuses)


def output_of(to: str | Path, *, named: str) -> tuple[Output, Path]:
    """The form that a path means, and the path. Raises InputError, which calls it by the name, if it means none."""
    path, members = local_path(to, named=named), DOOR.members().values()
    if path.name in ("", ".."):
        raise InputError(f"{named}: got '{to}'; name a file, or a new folder that ends in /")
    found = [member for member in members if member.fits(str(to))]
    if len(found) != 1:
        forms = ", ".join(sorted(member.form for member in members))
        raise InputError(f"{to}: unknown suffix {path.suffix!r}; allowed: {forms}")
    return found[0], path
