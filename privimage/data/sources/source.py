"""Source: where images come from. A file of this folder, or an installed package, brings one (see `privimage.doors`).

A source is the configuration of one kind of set, as the sweep file writes it beside `name`, and opens it. What is
opened gives images by index, so that nobody has to hold all of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.data.fit import Pixels, fit_all
from privimage.data.sets import Images, Index, Pictures, contents_of
from privimage.doors import Door
from privimage.schema import Frozen

LARGE = (
    1 << 28
)  # bytes of decoded images: of more a decoded copy is kept on disk and mapped, 256 MiB are held in memory
SetRole = Literal["sensitive", "public"]


class Rows(Pictures, Protocol):
    """An opened set of labelled images: `y` int64 [n] in 0 .. len(classes)-1."""

    @property
    def y(self) -> NDArray[np.int64]:
        """The labels."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, which are public."""
        ...

    def rows(self, index: Index) -> Pixels:
        """See Pictures: in the size that was asked for."""
        ...

    def contents(self) -> Iterable[bytes]:
        """Of every image, in order, what tells it from all others: its label and its content as it was found."""
        ...


class Source(Frozen):
    """The configuration of one source; `size` and `channels` are the side and the colours that images are brought to.

    `what` says in a few words which images these are. `own_shape` is (channels, side) of a set that always has the
    same, `n_train` how many images it has to train on, `has_test` that it has a test split of its own. `place`
    names the fields that only say where the images lie: of a sensitive set they are no part of any key. Of a set that
    is LARGE and has a `stamp` a decoded copy is read. `in_memory`: whether all images of another are read once and
    held; else they are asked for by index each time, from what was opened, which every process gets a copy of.
    """

    name: str
    size: int | None = Field(default=None, ge=8, le=1024)  # pixels a side; null: as they are
    channels: Literal[1, 3] | None = None  # 1 grey, 3 colour; null: as they are

    what: ClassVar[str]
    roles: ClassVar[tuple[SetRole, ...]] = ("sensitive", "public")
    own_shape: ClassVar[tuple[int, int] | None] = None
    n_train: ClassVar[int | None] = None
    place: ClassVar[tuple[str, ...]] = ("root",)
    in_memory: ClassVar[bool] = True

    @abstractmethod
    def open(self, *, cache: Path | None, test: bool = False, limit_classes: int | None = None) -> Rows:
        """The set (with `test` its own test split), or its first `limit_classes` classes.

        What is slow to make may be kept under `cache`, if the images are public. Raises InputError if they cannot be
        read; a message about sensitive images names files and keys, never what is in them.
        """

    def check(self) -> None:
        """Raise InputError or OSError if the set is not where it should be; by names only, no image is opened."""

    def check_sensitive(self) -> None:
        """Raise ValueError for settings with which one private image would decide something for all others."""

    def stamp(self, *, test: bool = False) -> str | None:
        """What tells, no file opened, that the files are those that they were; None if nothing does.

        A digest of names, sizes and times of change of all that `open` reads. As long as it is the same, a set that is
        LARGE is decoded once, and kept.
        """
        return None

    def left_out(self) -> dict[str, int] | None:
        """How many entries are not read, by reason; None if there can be none."""
        return None

    @property
    def has_test(self) -> bool:
        """Whether `open` has a test split that comes with the set, or that the user cut."""
        return False

    @property
    def identity(self) -> dict[str, Any]:
        """The public description of the images: names and settings, never anything computed from them."""
        return self.model_dump(mode="json")

    @property
    def channels_and_side(self) -> tuple[int | None, int | None]:
        """Of the images, as far as the configuration alone tells."""
        channels, side = self.own_shape or (None, None)
        return self.channels or channels, self.size or side

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(channels, height, width) of the images, as far as the configuration alone tells; else None."""
        channels, side = self.channels_and_side
        return None if channels is None or side is None else (channels, side, side)


@dataclass(frozen=True, kw_only=True)
class InMemory:
    """Rows of a set that is small: images `x` as they were found, fitted when they are asked for."""

    x: Pixels
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    size: int | None = None
    channels: int | None = None

    def first(self, limit_classes: int | None) -> InMemory:
        """The same with the first so many classes only; all of them if None."""
        if limit_classes is None:
            return self
        kept = self.y < limit_classes
        return replace(self, x=self.x[kept], y=self.y[kept], classes=self.classes[:limit_classes])

    def rows(self, index: Index) -> Pixels:
        """See Rows."""
        return fit_all(self.x[index], size=self.size, channels=self.channels)

    def contents(self) -> Iterable[bytes]:
        """See Rows."""
        return contents_of(Images(x=self.x, y=self.y))


def _refuses(member: object) -> str | None:
    if not (isinstance(member, type) and issubclass(member, Source)):
        return f"a class below privimage.data.sources.source.Source is needed, got {member!r:.60}"
    if not getattr(member, "what", None):
        return "it has to say `what` it is"
    if getattr(member.open, "__isabstractmethod__", False):
        return "it has to define `open`"
    return None


SOURCES: Door[type[Source]] = Door(kind="source", folder="data/sources", refuses=_refuses)
