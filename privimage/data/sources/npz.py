"""One .npz file: `x` uint8 [n, height, width] or [n, channels, height, width], `y` whole numbers [n], `classes` names.

The names of the classes are public, so they stand in the file: how many labels there are is not counted from images.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.data.sources.source import InMemory, Source
from privimage.errors import InputError
from privimage.local import LocalPath

ARRAYS = ("x", "y", "classes")


class Npz(Source):
    """The file at `root`."""

    root: LocalPath = Field(description="the path of an .npz file with x, y and classes")

    what: ClassVar[str] = "images in one .npz file"

    def open(self, *, cache: Path | None, test: bool = False, limit_classes: int | None = None) -> InMemory:
        """See Source."""
        x, y, classes = read_npz(self._file)
        if self.size is None and x.shape[2] != x.shape[3]:
            raise InputError(f"{self._file}: x: {x.shape[2]} x {x.shape[3]} pixels, not square; give size in the YAML")
        return InMemory(x=x, y=y, classes=classes, size=self.size, channels=self.channels).first(limit_classes)

    def check(self) -> None:
        """Raise InputError if there is no such file."""
        if not self._file.is_file():
            raise InputError(f"{self._file}: {'not a file' if self._file.exists() else 'no such file'}")

    @property
    def _file(self) -> Path:
        return Path(self.root).expanduser()


MEMBERS = {"npz": Npz}


def read_npz(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Images [n, channels, height, width], labels [n] and class names. Raises InputError naming the file and the array.

    Nothing is said of single values: they may be private.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays: dict[str, NDArray[Any]] = {name: found[name] for name in ARRAYS if name in found.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path}: damaged, no .npz file, or with arrays of objects; write it by numpy.savez") from None
    for name in ARRAYS:
        if name not in arrays:
            raise InputError(f"{path}: {name}: missing; an .npz set holds x, y and classes (the names of the labels)")
    x, y, names = (arrays[name] for name in ARRAYS)
    x = x[:, None] if x.ndim == 3 else x
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1] not in (1, 3) or 0 in x.shape:
        raise InputError(
            f"{path}: x: got {arrays['x'].dtype} {arrays['x'].shape}; expected uint8 [n, height, width] or "
            "[n, 1 or 3, height, width]"
        )
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) == 0 or len(set(names.tolist())) < len(names):
        raise InputError(f"{path}: classes: got {names.dtype} {names.shape}; expected a list of different names")
    if not np.issubdtype(y.dtype, np.integer) or y.shape != (len(x),):
        raise InputError(f"{path}: y: got {y.dtype} {y.shape}; expected {len(x)} whole numbers, one an image")
    if y.min() < 0 or y.max() >= len(names):
        raise InputError(f"{path}: y: labels outside 0 .. {len(names) - 1}, the places of classes; correct them")
    return np.ascontiguousarray(x), y.astype(np.int64), tuple(map(str, names))
