"""Image folders: one directory per class, in it PNG, JPEG, BMP, WEBP or PGM files."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.data.fit import Pixels
from privimage.data.names import PackedNames
from privimage.data.sources.encoded import SUFFIXES, Encoded, Pictured, must_be_folder, shown, unread
from privimage.data.sources.stamps import stamp_of_folders
from privimage.errors import InputError
from privimage.local import LocalPath
from privimage.plain_yaml import shown_path

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Files:
    """Stored: image files, each by its folder (a place in `folders`) and its name there."""

    folders: tuple[Path, ...]
    folder: NDArray[np.int32]
    names: PackedNames

    @staticmethod
    def of(folders: Sequence[Path], names: Sequence[Sequence[str]]) -> Files:
        """Those of these names in every folder."""
        return Files(
            folders=tuple(folders),
            folder=np.repeat(np.arange(len(folders), dtype=np.int32), [len(some) for some in names]),
            names=PackedNames.of(name for some in names for name in some),
        )

    def named(self, i: int) -> str:
        """See Stored."""
        return shown_path(self._path(i))

    def opened(self, i: int) -> BinaryIO:
        """See Stored."""
        return open(self._path(i), "rb")

    def take(self, index: NDArray[np.int64]) -> Files:
        """See Stored."""
        return replace(self, folder=self.folder[index], names=self.names.take(index))

    def _path(self, i: int) -> str:
        return os.path.join(self.folders[int(self.folder[i])], self.names[i])


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

    def stamp_of(self, root: Path) -> str:
        """See Pictured: of all in the class directories."""
        return stamp_of_folders(class_folders(root))

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
    files = Files.of(folders, [_image_files(folder) for folder in folders])
    return Encoded.of(
        files,
        y=files.folder.astype(np.int64),
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


def _image_files(folder: Path) -> list[str]:
    """The names of the image files directly in a class directory, sorted."""
    with os.scandir(folder) as entries:
        visible = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    images = [name for name in visible if unread(name) is None]
    if not images:
        raise InputError(f"{shown_path(folder)}: empty class directory; no file ends in {', '.join(SUFFIXES)}")
    others = sorted({Path(name).suffix for name in visible} - {Path(name).suffix for name in images})
    if others:
        log.warning("%s: files that are not images are left out (%s)", shown_path(folder), shown(", ".join(others)))
    return images
