"""One .npz file: `x` uint8 [n, height, width] or [n, channels, height, width], `y` whole numbers [n], `classes` names.

The names of the classes are public, so they stand in the file, or in the YAML: how many labels there are is not counted
from images. `image` and `label` are other names of x and y; x may be numbers of 0 .. 1 if the YAML says so.
"""

from __future__ import annotations

import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.data.sources import source
from privimage.data.sources.encoded import must_be_file
from privimage.data.sources.labelled import Names
from privimage.data.sources.npz_stream import ArrayStream, Streamed
from privimage.data.sources.source import InMemory, Source
from privimage.data.sources.stamps import stamp_of_files
from privimage.errors import InputError
from privimage.local import LocalPath
from privimage.schema import is_null

ARRAYS = {"x": ("x", "image", "images"), "y": ("y", "label", "labels"), "classes": ("classes",)}  # and other names
Scale = Literal["unit"]


class Npz(Source):
    """The file at `root`."""

    root: LocalPath = Field(description="the path of an .npz file with x, y and classes")

    classes: Names | None = Field(
        default=None, exclude_if=is_null
    )  # the names of the labels, in order; null: those in the file
    scale: Scale | None = Field(
        default=None, exclude_if=is_null
    )  # unit: x holds numbers of 0 .. 1, made bytes by rounding 255 times them; null: bytes

    what: ClassVar[str] = "images in one .npz file"

    def open(self, *, cache: Path | None, test: bool = False, limit_classes: int | None = None) -> InMemory | Streamed:
        """See Source. What would not be held in memory is unpacked as it is asked for."""
        x, y, classes = read_npz(self._file, classes=self.classes, scale=self.scale)
        height, width = x.shape[-2:]
        if self.size is None and height != width:
            raise InputError(f"{self._file}: x: {height} x {width} pixels, not square; give size in the YAML")
        if isinstance(x, ArrayStream):
            return Streamed(
                stream=x,
                to_bytes=partial(_bytes, self._file, scale=self.scale),
                place=np.arange(len(y)),
                y=y,
                classes=classes,
                size=self.size,
                channels=self.channels,
            ).first(limit_classes)
        return InMemory(x=x, y=y, classes=classes, size=self.size, channels=self.channels).first(limit_classes)

    def stamp(self, *, test: bool = False) -> str:
        """See Source: of the file."""
        return stamp_of_files([self._file])

    def check(self) -> None:
        """Raise InputError if there is no such file."""
        must_be_file(self._file)

    @property
    def _file(self) -> Path:
        return Path(self.root).expanduser()


MEMBERS = {"npz": Npz}


def read_npz(
    path: Path, *, classes: tuple[str, ...] | None = None, scale: Scale | None = None
) -> tuple[NDArray[np.uint8] | ArrayStream, NDArray[np.int64], tuple[str, ...]]:
    """Images [n, channels, height, width], labels [n] and class names. Raises InputError naming the file and the array.

    `classes` and `scale` are those of the configuration. Images that are LARGE are not read: of an ArrayStream all but
    the values was checked. Nothing is said of single values: they may be private.
    """
    arrays = _arrays(path)
    if classes is not None:
        _same_names(path, arrays.setdefault("classes", np.array(classes)), classes)
    for name in ARRAYS:
        if name not in arrays:
            raise InputError(
                f"{path}: {name}: missing; an .npz set holds x, y and classes (the names of the labels, which the YAML "
                "may give)"
            )
    x, y, names = arrays["x"], arrays["y"], arrays["classes"]
    _check_images(path, x, scale)
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) == 0 or len(set(names.tolist())) < len(names):
        raise InputError(f"{path}: classes: got {names.dtype} {names.shape}; expected a list of different names")
    if not np.issubdtype(y.dtype, np.integer) or y.shape != (len(x),):
        raise InputError(f"{path}: y: got {y.dtype} {y.shape}; expected {len(x)} whole numbers, one an image")
    if y.min() < 0 or y.max() >= len(names):
        raise InputError(f"{path}: y: labels outside 0 .. {len(names) - 1}, the places of classes; correct them")
    found = x if isinstance(x, ArrayStream) else np.ascontiguousarray(_bytes(path, x, scale=scale))
    if not isinstance(found, ArrayStream) and found.ndim == 3:
        found = found[:, None]
    return found, y.astype(np.int64), tuple(map(str, names))


def _check_images(path: Path, x: NDArray[Any] | ArrayStream, scale: Scale | None) -> None:
    """Raise InputError for an array that holds no images, by its head."""
    if scale == "unit" and x.dtype.kind != "f":
        raise InputError(f"{path}: x: got {x.dtype}; scale: unit is for numbers of 0 .. 1; remove it")
    shape = (len(x), 1, *x.shape[1:]) if x.ndim == 3 else x.shape
    if (x.dtype != np.uint8 and scale is None) or len(shape) != 4 or shape[1] not in (1, 3) or 0 in shape:
        hint = "; of numbers of 0 .. 1 give scale: unit" if x.dtype.kind == "f" else ""
        raise InputError(
            f"{path}: x: got {x.dtype} {x.shape}; expected uint8 [n, height, width] or [n, 1 or 3, height, width]{hint}"
        )


def _arrays(path: Path) -> dict[str, Any]:
    """Those that are there, under the first of their names: arrays, and x as a ArrayStream where it is LARGE."""
    try:
        stream = ArrayStream.of(path, ARRAYS["x"], most=source.LARGE)
        with np.load(path, allow_pickle=False) as found:
            there = {name: next((n for n in names if n in found.files), None) for name, names in ARRAYS.items()}
            arrays = {name: found[n] for name, n in there.items() if n is not None and (stream is None or name != "x")}
        return arrays if stream is None else {**arrays, "x": stream}
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path}: damaged, no .npz file, or with arrays of objects; write it by numpy.savez") from None
    except MemoryError:
        raise InputError(f"{path}: says that it holds more than there is memory for") from None


def _same_names(path: Path, found: NDArray[Any], given: tuple[str, ...]) -> None:
    if found.tolist() != list(given):
        raise InputError(f"{path}: classes: the file has other names than the YAML; remove `classes` there")


def _bytes(path: Path, x: NDArray[Any], *, scale: Scale | None) -> NDArray[np.uint8]:
    """The same, or of numbers of 0 .. 1 uint8: 255 times them, rounded."""
    if scale is None:
        return x
    if not ((x >= 0) & (x <= 1)).all():
        raise InputError(f"{path}: x: not all of it in 0 .. 1, as scale: unit says; bring it there")
    return np.stack([(255 * image.astype(np.float64)).round().astype(np.uint8) for image in x])
