"""PublicSet and PrivateSet: labelled images as distinct types, so that neither can be taken for the other.

A function that takes a PrivateSet returns a Release. Images are uint8, shape [n, channels, height, width].
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from privimage.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Images:
    """Labelled images: `x` uint8 [n, channels, height, width], `y` int64 [n] in 0 .. len(classes)-1."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64]

    def __post_init__(self) -> None:
        assert self.x.dtype == np.uint8 and self.x.ndim == 4, (self.x.dtype, self.x.shape)
        assert self.y.shape == (len(self.x),), (self.y.shape, self.x.shape)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.x.shape[1], self.x.shape[2], self.x.shape[3]

    @cached_property
    def fingerprint(self) -> str:
        """Sha-256 of pixels and labels."""
        h = hashlib.sha256(repr((self.x.shape, self.y.shape)).encode())
        h.update(np.ascontiguousarray(self.x).tobytes())
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
    classes: tuple[str, ...]

    def __repr__(self) -> str:  # never pixels or labels, not even in a traceback
        return f"PrivateSet(id={self.id!r}, shape={self.shape})"


@dataclass(frozen=True, kw_only=True)
class SensitiveData:
    """The three disjoint splits of a sensitive set: training, validation (scores), test (diagnostics)."""

    train: PrivateSet
    validation: PrivateSet
    test: PrivateSet


def stratified_split(y: NDArray[np.int64], *, fractions: tuple[float, ...], seed: int) -> tuple[NDArray[np.int64], ...]:
    """Indices of disjoint parts that together hold every example, each class split by `fractions`.

    The split is a public function of (labels, fractions, seed). Fractions sum to 1; shares are rounded per
    class.

    >>> [len(part) for part in stratified_split(np.zeros(10, int), fractions=(.5, .3, .2), seed=0)]
    [5, 3, 2]
    """
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) < 0:
        raise InputError(f"data split: got {fractions}; fractions must be >= 0 and sum to 1")
    rng = np.random.default_rng(seed)
    parts: list[list[NDArray[np.int64]]] = [[] for _ in fractions]
    for label in np.unique(y):
        index = rng.permutation(np.flatnonzero(y == label))
        cuts = np.round(np.cumsum(fractions)[:-1] * len(index)).astype(int)
        for part, chunk in zip(parts, np.split(index, cuts), strict=True):
            part.append(chunk)
    return tuple(np.sort(np.concatenate(part)) if part else np.empty(0, np.int64) for part in parts)
