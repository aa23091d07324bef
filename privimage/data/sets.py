"""PublicSet and PrivateSet: labelled images as distinct types, so that neither can be taken for the other.

A function that takes a PrivateSet returns a Release. Images are uint8, shape [n, channels, height, width]. They are
asked for by place, a batch or a block at a time, as not every set is in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from privimage.errors import InputError, Violation

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
SHARED = 0.01  # of the sensitive images may also be among the public ones
BLOCK = 256  # images at a time where all are looked at
Index = NDArray[np.int64]


class Pictures(Protocol):
    """Whatever gives images by place: a set, or what an opened source is."""

    def rows(self, index: Index) -> NDArray[np.uint8]:
        """The images of these places, uint8 [len(index), channels, height, width]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Pictures: those at the places `index` of others. Nothing is read or copied before it is asked for."""

    of: Pictures
    index: Index

    def rows(self, index: Index) -> NDArray[np.uint8]:
        """See Pictures."""
        return self.of.rows(self.index[index])


@dataclass(frozen=True, kw_only=True)
class Images:
    """Labelled images: `y` int64 [n] in 0 .. len(classes)-1, and `x`, which holds the n images or gives them by place.

    An array is uint8 [n, channels, height, width]. Ask for images by `rows` or `blocks`, which serve both.
    """

    x: NDArray[np.uint8] | Pictures
    y: NDArray[np.int64]

    def __post_init__(self) -> None:
        wrong = isinstance(self.x, np.ndarray) and (
            self.x.dtype != np.uint8 or self.x.ndim != 4 or self.y.shape != (len(self.x),)
        )
        if wrong or self.y.ndim != 1:
            raise ValueError(f"images {getattr(self.x, 'dtype', '')} {self._shape} with labels {self.y.shape}")

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, index: Index) -> NDArray[np.uint8]:
        """The images of these places. Whoever needs a batch asks for no more: not every set is in memory."""
        return self.x[index] if isinstance(self.x, np.ndarray) else self.x.rows(index)

    def blocks(self, size: int = BLOCK) -> Iterator[NDArray[np.uint8]]:
        """All images in their order, so many at a time."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield self.x[start:stop] if isinstance(self.x, np.ndarray) else self.x.rows(np.arange(start, stop))

    def each(self) -> Iterator[NDArray[np.uint8]]:
        """All images in their order, one by one; read by blocks."""
        return (image for block in self.blocks() for image in block)

    def part(self, index: Index) -> NDArray[np.uint8] | Pictures:
        """The images of these places, as `x` of another set."""
        return self.x[index] if isinstance(self.x, np.ndarray) else Chosen(of=self.x, index=index)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        _, channels, height, width = self._shape
        return channels, height, width

    @property
    def _shape(self) -> tuple[int, ...]:
        """Of all images together."""
        return self.x.shape if isinstance(self.x, np.ndarray) else (len(self), *self.x.rows(np.zeros(1, int)).shape[1:])

    @cached_property
    def fingerprint(self) -> str:
        """Sha-256 of pixels and labels."""
        h = hashlib.sha256(repr(((len(self), *self.shape), self.y.shape)).encode())
        for block in self.blocks():
            h.update(np.ascontiguousarray(block).tobytes())
        h.update(np.ascontiguousarray(self.y).tobytes())
        return h.hexdigest()


@dataclass(frozen=True, kw_only=True)
class PublicSet(Images):
    """Public labelled images; free to read, cache and show."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PrivateSet(Images):
    """One split of a sensitive set. `id` names its ledger; `name` and `classes` (the labels) are public."""

    name: str
    id: str
    split: Part
    classes: tuple[str, ...]

    def must_be(self, split: Part) -> None:
        """Raise Violation if this is another split: the price of an access is that of the split it declares."""
        if self.split != split:
            raise Violation(f"{self.id}: the {split} split is declared, and the {self.split} split would be read")

    def __repr__(self) -> str:  # never pixels or labels, not even in a traceback
        return f"PrivateSet(id={self.id!r}, split={self.split!r}, shape={self.shape})"


def check_apart(public: PublicSet, sensitive: SensitiveData, *, key: str) -> None:
    """Raise InputError if the public set holds the sensitive images: then nothing that is computed from it is public.

    A few equal images (blank ones, say) are no reason. How many there are is not told: it is a private number.
    """
    parts = (sensitive.train, sensitive.validation, sensitive.test)
    mine = set().union(*(_digests(part) for part in parts))
    shared = len(mine & _digests(public))
    if shared > SHARED * len(mine):
        raise InputError(
            f"{key}: more than {SHARED:.0%} of the sensitive images are among its images too; a public set may be "
            "shown to anybody, so it must not hold them"
        )


def _digests(images: Images) -> set[bytes]:
    """One for every different image: all of them need not be in memory."""
    return {hashlib.sha256(image.tobytes()).digest() for image in images.each()}


def contents_of(images: Images) -> Iterator[bytes]:
    """Label and pixels of every image as bytes."""
    return (b"%d " % label + image.tobytes() for image, label in zip(images.each(), images.y, strict=True))


def content_of(examples: Iterable[bytes]) -> str:
    """The digest of digests of examples in any order: 64 hex digits, and as private as the images.

    >>> content_of([b"a", b"b"]) == content_of([b"b", b"a"]) != content_of([b"a", b"b", b"b"])
    True
    """
    return hashlib.sha256(b"".join(sorted(examples))).hexdigest()


@dataclass(frozen=True, kw_only=True)
class SensitiveData:
    """The three disjoint splits of a sensitive set: training, validation (scores), test (diagnostics).

    `content` is the digest of all of it as it was found, before any resizing; as private as the images.
    """

    train: PrivateSet
    validation: PrivateSet
    test: PrivateSet
    content: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        self.train.must_be("train")
        self.validation.must_be("validation")
        self.test.must_be("test")


def split_by_content(
    contents: Iterable[bytes], *, fractions: tuple[float, ...], seed: int
) -> tuple[NDArray[np.int64], ...]:
    """Indices of disjoint parts that together hold every example, about `fractions` of them each.

    An example's part depends on its own content (and the seed) alone, so one example more or less changes one part and
    leaves the others as they are: what disjoint parts are charged for rests on this. `contents` are the examples with
    their labels as they were found, before any resizing, so that a set is split in one way at every size. Copies stay
    together.

    >>> contents = [b"%d" % (i // 2) for i in range(1000)]
    >>> sum(len(part) for part in split_by_content(contents, fractions=(0.7, 0.1, 0.2), seed=0))
    1000
    """
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) < 0:
        raise InputError(f"data split: got {fractions}; fractions must be >= 0 and sum to 1")
    salt = f"split {seed} ".encode()
    digests = (hashlib.sha256(salt + content).digest() for content in contents)
    place = np.array([int.from_bytes(digest[:7], "big") / 2**56 for digest in digests])  # in [0, 1), even
    part = np.searchsorted(np.cumsum(fractions)[:-1], place, side="right")
    return tuple(np.flatnonzero(part == i) for i in range(len(fractions)))
