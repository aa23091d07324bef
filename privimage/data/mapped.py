"""Mapped: pictures in a file of decoded images, of which each process maps what it is asked for and holds nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privimage.errors import InputError
from privimage.paths import CopyFolder


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """Pictures uint8 [n, channels, height, width] in a folder of `privimage.data.decoded`, and digests of them.

    What is pickled is where they lie: every process opens the file when it first needs an image.
    """

    folder: Path
    shape: tuple[int, int, int, int]
    labels: str = ""  # sha-256 of the labels with which `of_all` was made
    of_all: str = ""  # the fingerprint of the set of all images (see Images)

    def rows(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See Pictures. Raises InputError where the file is not there, or is cut."""
        found: NDArray[np.uint8] = self._x[index]
        return found

    def digests(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See Digested."""
        found: NDArray[np.uint8] = mapped(CopyFolder(path=self.folder).column("digests"), (self.shape[0], 32))[index]
        return found

    def fingerprint(self, y: NDArray[np.int64]) -> str | None:
        """See Digested."""
        return self.of_all if self.of_all and label_digest(y) == self.labels else None

    @cached_property
    def _x(self) -> NDArray[np.uint8]:
        return mapped(CopyFolder(path=self.folder).images, self.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # never what is mapped


def label_digest(y: NDArray[np.int64]) -> str:
    """Sha-256 of labels."""
    return hashlib.sha256(np.ascontiguousarray(y, np.int64).tobytes()).hexdigest()


def mapped(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The bytes of a file as an array that is read where it lies. Raises InputError if it is not of this size."""
    try:
        return np.asarray(np.memmap(path, np.uint8, mode="r", shape=shape))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file on this machine; a large set is decoded once, below --root, which has to lie on "
            "storage that all nodes share; if it was deleted, run the same command again"
        ) from None
    except (OSError, ValueError):
        raise InputError(
            f"{path}: damaged, or not to be read; delete its folder, and run the same command again"
        ) from None
