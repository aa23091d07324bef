"""Image folders: one directory per class, in it PNG, JPEG, BMP, WEBP or PGM files."""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from privimage.data.fit import Pixels, colours, fit, unreadable
from privimage.data.progress import tracked
from privimage.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")  # Pillow's PPM also reads PGM

T = TypeVar("T")
log = logging.getLogger(__name__)


def read_folder(
    root: Path, *, size: int | None, channels: int | None, limit_classes: int | None = None
) -> tuple[Pixels, NDArray[np.int64], tuple[str, ...]]:
    """Images [n, channels, size, size], labels [n] and class names; classes and files ordered by name.

    `size` None keeps the size of the images, which must then be one square size. `channels` None is 1 when
    all images are grey, else 3. Links are followed; hidden files and other kinds of file are left out.
    """
    folders = class_folders(root)[:limit_classes]
    files_of = [_image_files(folder) for folder in folders]
    files = [file for some in files_of for file in some]
    y = np.repeat(np.arange(len(folders), dtype=np.int64), [len(some) for some in files_of])
    if size is None:
        size = _common_size(files, _each(_size, files))
    if channels is None:
        channels = max(_each(_colours, files))
    side, depth = size, channels
    x = np.empty((len(files), depth, side, side), np.uint8)

    def read(place: tuple[int, Path]) -> None:
        x[place[0]] = _decoded(place[1], lambda image: fit(image, size=side, channels=depth))

    _each(read, list(enumerate(files)))
    return x, y, tuple(folder.name for folder in folders)


def read_contents(root: Path) -> list[bytes]:
    """The name of its class and a digest of every file that `read_folder` reads, in its order."""
    files = [file for folder in class_folders(root) for file in _image_files(folder)]
    return _each(lambda file: file.parent.name.encode() + b" " + hashlib.sha256(file.read_bytes()).digest(), files)


def class_folders(root: Path) -> list[Path]:
    """The class directories of an image folder, sorted by name. Raises InputError if there are none."""
    if not root.is_dir():
        raise InputError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise InputError(f"{root}: no class directories; expected one directory of images per class")
    return folders


def _image_files(folder: Path) -> list[Path]:
    """The image files directly in a class directory, sorted by name."""
    visible = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    images = [path for path in visible if path.suffix.lower() in SUFFIXES]
    if not images:
        raise InputError(f"{folder}: empty class directory; no file ends in {', '.join(SUFFIXES)}")
    others = sorted({path.suffix for path in visible} - {path.suffix for path in images})
    if others:
        log.warning("%s: files that are not images are left out (%s)", folder, ", ".join(others))
    return images


def _each(function: Callable[..., T], items: Sequence[object]) -> list[T]:
    """`function` of every item, in order. Threads suffice: Pillow decodes and resizes without the lock."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        return list(tracked(threads.map(function, items), total=len(items), label="reading images"))


def _decoded(path: Path, use: Callable[[Image.Image], T]) -> T:
    """What `use` makes of an opened image. Raises InputError naming the file when it cannot be decoded."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            refused = unreadable(image)
            if refused is None:
                return use(image)
    except (OSError, SyntaxError, ValueError, IndexError, struct.error, Image.DecompressionBombError):
        # What the decoder says may quote bytes of the file, so it is not repeated.
        raise InputError(f"{path}: damaged, or not a PNG, JPEG, BMP, WEBP or PGM image") from None
    raise InputError(f"{path}: {refused}")


def _size(path: Path) -> tuple[int, int]:
    return _decoded(path, lambda image: image.size)


def _colours(path: Path) -> int:
    return _decoded(path, colours)


def _common_size(files: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> int:
    for file, (width, height) in zip(files, sizes, strict=True):
        if (width, height) != (sizes[0][0], sizes[0][0]):
            raise InputError(
                f"{file}: is {width} x {height}, not one square size for all images; give size in the YAML"
            )
    return sizes[0][0]
