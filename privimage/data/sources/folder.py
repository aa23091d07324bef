"""Image folders: one directory per class, in it PNG, JPEG, BMP, WEBP or PGM files."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.data.fit import Pixels
from privimage.data.sources.encoded import SUFFIXES, Encoded, Pictured, must_be_folder, unread
from privimage.errors import InputError
from privimage.local import LocalPath

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Files:
    """Stored: image files."""

    files: tuple[Path, ...]

    def named(self, i: int) -> str:
        """See Stored."""
        return str(self.files[i])

    def opened(self, i: int) -> BinaryIO:
        """See Stored."""
        return self.files[i].open("rb")


class Folder(Pictured):
    """One directory of images a class. `size` None keeps the size of the images, which must be one square size."""

    root: LocalPath = Field(description="the path of the folder that holds one directory of images per class")

    what: ClassVar[str] = "image files, one directory a class"

    def read(self, root: Path, limit_classes: int | None) -> Encoded:
        """See Pictured."""
        return open_folder(root, size=self.size, channels=self.channels, limit_classes=limit_classes)

    def look(self, root: Path) -> None:
        """See Pictured: there are class directories."""
        class_folders(root)

    def left_out(self) -> dict[str, int] | None:
        """How many entries of the class directories, and files beside these, are not read, by reason."""
        found: Counter[str] = Counter()
        for entry in self.path.iterdir():
            if not entry.is_dir():
                found["files outside a class directory"] += 1
            elif entry.name.startswith("."):
                found["hidden directories"] += 1
            else:
                found.update(reason for path in entry.iterdir() if (reason := _unread(path)) is not None)
        return dict(found)


MEMBERS = {"folder": Folder}


def open_folder(root: Path, *, size: int | None, channels: int | None, limit_classes: int | None = None) -> Encoded:
    """The files of a folder with their labels and class names; classes and files ordered by name.

    For `size` and `channels` None see `Encoded.of`. Links are followed; hidden files and other kinds of file are left
    out.
    """
    folders = class_folders(root)[:limit_classes]
    files_of = [_image_files(folder) for folder in folders]
    return Encoded.of(
        Files(files=tuple(file for some in files_of for file in some)),
        y=np.repeat(np.arange(len(folders), dtype=np.int64), [len(some) for some in files_of]),
        classes=tuple(folder.name for folder in folders),
        size=size,
        channels=channels,
    )


def read_folder(
    root: Path, *, size: int | None, channels: int | None, limit_classes: int | None = None
) -> tuple[Pixels, NDArray[np.int64], tuple[str, ...]]:
    """All images [n, channels, size, size] of `open_folder`, their labels [n] and class names."""
    found = open_folder(root, size=size, channels=channels, limit_classes=limit_classes)
    return found.rows(np.arange(len(found.y))), found.y, found.classes


def _unread(path: Path) -> str | None:
    """Why an entry of a class directory is not read; None if it is."""
    if not path.name.startswith(".") and not path.is_file():
        return "directories inside a class directory"
    return unread(path.name)


def class_folders(root: Path) -> list[Path]:
    """The class directories of an image folder, sorted by name. Raises InputError if there are none."""
    must_be_folder(root)
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise InputError(f"{root}: no class directories; expected one directory of images per class")
    return folders


def _image_files(folder: Path) -> list[Path]:
    """The image files directly in a class directory, sorted by name."""
    visible = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    images = [path for path in visible if unread(path.name) is None]
    if not images:
        raise InputError(f"{folder}: empty class directory; no file ends in {', '.join(SUFFIXES)}")
    others = sorted({path.suffix for path in visible} - {path.suffix for path in images})
    if others:
        log.warning("%s: files that are not images are left out (%s)", folder, ", ".join(others))
    return images
