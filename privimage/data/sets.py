"""PublicSet and PrivateSet: labelled images as distinct types, so that neither can be taken for the other.

A function that takes a PrivateSet returns a Release. Images are uint8, shape [n, channels, height, width]. They are
asked for by place, a batch or a block at a time, as not every set is in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

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


@runtime_checkable
class Digested(Pictures, Protocol):
    """Pictures of which digests are kept, so that nobody has to read all of them."""

    def digests(self, index: Index) -> NDArray[np.uint8]:
        """Sha-256 [len(index), 32] of the pixels of each of these images."""
        ...

    def fingerprint(self, y: NDArray[np.int64]) -> str | None:
        """That of the set of all these images with these labels (see Images), if it is known."""
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
        if isinstance(self.x, np.ndarray):
            return self.x[index]
        of, index = (self.x.of, self.x.index[index]) if isinstance(self.x, Chosen) else (self.x, index)
        return Chosen(of=of, index=index)

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
        known = self.x.fingerprint(self.y) if isinstance(self.x, Digested) else None
        return known or self._fingerprint()

    def _fingerprint(self) -> str:
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
    mine = np.unique(np.concatenate([_digests(part) for part in parts]))
    shared = int(np.isin(mine, _digests(public)).sum())
    if shared > SHARED * len(mine):
        raise InputError(
            f"{key}: more than {SHARED:.0%} of the sensitive images are among its images too; a public set may be "
            "shown to anybody, so it must not hold them"
        )


def check_own_test(*others: PrivateSet, test: PrivateSet, where: str, fix: str) -> None:
    """Raise InputError if a test split that was not cut here holds the images that are trained on: it tests nothing.

    As in `check_apart`, a few equal images are no reason, and how many there are is not told.
    """
    mine = np.unique(_digests(test))
    shared = int(np.isin(mine, np.concatenate([_digests(other) for other in others])).sum())
    if shared > SHARED * len(mine):
        raise InputError(f"{where}: more than {SHARED:.0%} of its test split are in its train split too; {fix}")


def digests_of(images: Images) -> NDArray[np.uint8]:
    """The sha-256 [n, 32] of the pixels of every image: all of them need not be in memory."""
    x, index = (images.x.of, images.x.index) if isinstance(images.x, Chosen) else (images.x, np.arange(len(images)))
    if isinstance(x, Digested):
        return np.ascontiguousarray(x.digests(index))
    raw = b"".join(hashlib.sha256(image.tobytes()).digest() for image in images.each())
    return np.frombuffer(raw, np.uint8).reshape(-1, 32)


def _digests(images: Images) -> NDArray[np.uint64]:
    """The first 64 bits of them.

    Of 10^7 images two that differ are alike in them once in 10^5 times, and a refusal needs one in a hundred.
    """
    return np.ascontiguousarray(digests_of(images)[:, :8]).view(np.uint64).ravel()


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
    return split_by_places(places_of(contents, seed=seed), fractions=fractions)


def places_of(contents: Iterable[bytes], *, seed: int) -> NDArray[np.float64]:
    """Where in [0, 1) an example stands by its content and the seed alone, evenly."""
    salt = f"split {seed} ".encode()
    digests = (hashlib.sha256(salt + content).digest() for content in contents)
    return np.fromiter((int.from_bytes(digest[:7], "big") / 2**56 for digest in digests), np.float64)


def split_by_places(places: NDArray[np.float64], *, fractions: tuple[float, ...]) -> tuple[NDArray[np.int64], ...]:
    """What `split_by_content` returns, of the places of all examples."""
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) < 0:
        raise InputError(f"data split: got {fractions}; fractions must be >= 0 and sum to 1")
    part = np.searchsorted(np.cumsum(fractions)[:-1], places, side="right")
    return tuple(np.flatnonzero(part == i) for i in range(len(fractions)))
