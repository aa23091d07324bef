"""Image folders: one directory per class, in it PNG, JPEG, BMP, WEBP or PGM files."""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from privimage.data.fit import Pixels, colours, fit, unreadable
from privimage.data.sources.source import Source
from privimage.errors import InputError
from privimage.local import LocalPath
from privimage.progress import tracked

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")  # Pillow's PPM also reads PGM

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Files:
    """Rows of an image folder: a file is read when its image is asked for."""

    files: tuple[Path, ...]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    size: int
    channels: int

    def rows(self, index: NDArray[np.int64]) -> Pixels:
        """See Rows. Raises InputError naming the file that cannot be decoded."""
        x = np.empty((len(index), self.channels, self.size, self.size), np.uint8)

        def read(place: tuple[int, int]) -> None:
            at, i = place
            x[at] = _decoded(self.files[i], lambda image: fit(image, size=self.size, channels=self.channels))

        _each(read, list(enumerate(index.tolist())))
        return x

    def contents(self) -> Iterable[bytes]:
        """The name of its class and a digest of every file."""
        return _each(_content, self.files)


class Folder(Source):
    """One directory of images a class. `size` None keeps the size of the images, which must be one square size."""

    root: LocalPath = Field(description="the path of the folder that holds one directory of images per class")

    what: ClassVar[str] = "image files, one directory a class"

    def open(self, *, cache: Path | None, test: bool = False, limit_classes: int | None = None) -> Files:
        """See Source."""
        return open_folder(self._folder, size=self.size, channels=self.channels, limit_classes=limit_classes)

    def check(self) -> None:
        """Raise InputError if there are no class directories."""
        class_folders(self._folder)

    def check_sensitive(self) -> None:
        """Raise ValueError without channels."""
        if self.channels is None:
            raise ValueError(
                "channels: give 1 (grey) or 3 (colour): one colour image must not decide it for all others"
            )

    def left_out(self) -> dict[str, int] | None:
        """How many entries of the class directories, and files beside these, are not read, by reason."""
        found: Counter[str] = Counter()
        for entry in self._folder.iterdir():
            if not entry.is_dir():
                found["files outside a class directory"] += 1
            elif entry.name.startswith("."):
                found["hidden directories"] += 1
            else:
                found.update(reason for path in entry.iterdir() if (reason := _unread(path)) is not None)
        return dict(found)

    @property
    def _folder(self) -> Path:
        return Path(self.root).expanduser()


MEMBERS = {"folder": Folder}


def open_folder(root: Path, *, size: int | None, channels: int | None, limit_classes: int | None = None) -> Files:
    """The files of a folder with their labels and class names; classes and files ordered by name.

    `size` None keeps the size of the images, which must then be one square size. `channels` None is 1 when
    all images are grey, else 3. Links are followed; hidden files and other kinds of file are left out.
    """
    folders = class_folders(root)[:limit_classes]
    files_of = [_image_files(folder) for folder in folders]
    files = tuple(file for some in files_of for file in some)
    return Files(
        files=files,
        y=np.repeat(np.arange(len(folders), dtype=np.int64), [len(some) for some in files_of]),
        classes=tuple(folder.name for folder in folders),
        size=_common_size(files, _each(_size, files)) if size is None else size,
        channels=max(_each(_colours, files)) if channels is None else channels,
    )


def read_folder(
    root: Path, *, size: int | None, channels: int | None, limit_classes: int | None = None
) -> tuple[Pixels, NDArray[np.int64], tuple[str, ...]]:
    """All images [n, channels, size, size] of `open_folder`, their labels [n] and class names."""
    found = open_folder(root, size=size, channels=channels, limit_classes=limit_classes)
    return found.rows(np.arange(len(found.y))), found.y, found.classes


def _content(file: Path) -> bytes:
    return file.parent.name.encode() + b" " + hashlib.sha256(file.read_bytes()).digest()


def _unread(path: Path) -> str | None:
    """Why an entry of a class directory is not read; None if it is."""
    if path.name.startswith("."):
        return "hidden files"
    if not path.is_file():
        return "directories inside a class directory"
    return None if path.suffix.lower() in SUFFIXES else "files of other kinds"


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
