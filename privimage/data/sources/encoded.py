"""Encoded images, PNG, JPEG, BMP, WEBP or PGM, wherever their bytes lie: in files, in an archive, in a table.

One is decoded when it is asked for. All sources of such images share what is here: how they are decoded, what is
refused, what is left out.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import struct
import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from privimage.data.fit import Pixels, colours, fit, unreadable
from privimage.data.sources.source import Source
from privimage.errors import InputError
from privimage.local import LocalPath
from privimage.plain_yaml import one_line
from privimage.progress import tracked

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")  # Pillow's PPM also reads PGM
UNREADABLE = "damaged, or not a PNG, JPEG, BMP, WEBP or PGM image"
AHEAD = 10_000  # images that are handed to the threads at a time
MOST = 1 << 28  # bytes of one encoded image: what an archive says is more is not unpacked

T = TypeVar("T")


class Stored(Protocol):
    """Where encoded images lie, by place. A process gets a copy of it by pickle."""

    def named(self, i: int) -> str:
        """What messages call image i: the path of its file, or of the archive and its name there."""
        ...

    def opened(self, i: int) -> BinaryIO:
        """Its bytes. Raises OSError or ValueError where they are not there, or are damaged."""
        ...

    def take(self, index: NDArray[np.int64]) -> Stored:
        """Those at these places: what a process gets that reads no others."""
        ...


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Rows of encoded images: those at the places `place` of what is stored."""

    stored: Stored
    place: NDArray[np.int64]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    size: int
    channels: int

    @staticmethod
    def of(
        stored: Stored,
        *,
        y: NDArray[np.int64],
        classes: tuple[str, ...],
        size: int | None,
        channels: int | None,
        limit_classes: int | None = None,
    ) -> Encoded:
        """All images of `stored`, with labels `y`, or those of the first classes.

        `size` None keeps the size of the images, which must then be one square size. `channels` None is 1 when all
        images are grey, else 3.
        """
        place = np.arange(len(y)) if limit_classes is None else np.flatnonzero(y < limit_classes)
        return Encoded(
            stored=stored,
            place=place,
            y=y[place],
            classes=classes[:limit_classes],
            size=_common_size(stored, place) if size is None else size,
            channels=max(_each(lambda i: _decoded(stored, i, colours), place.tolist()))
            if channels is None
            else channels,
        )

    def rows(self, index: NDArray[np.int64]) -> Pixels:
        """See Rows. Raises InputError naming the image that cannot be decoded."""
        x = np.empty((len(index), self.channels, self.size, self.size), np.uint8)

        def read(at: tuple[int, int]) -> None:
            to, i = at
            x[to] = _decoded(self.stored, i, self._fitted)

        _each(read, list(enumerate(self.place[index].tolist())))
        return x

    def contents(self) -> Iterable[bytes]:
        """The name of its class and a digest of every image as it is stored."""
        digests = _each(lambda i: _digest(self.stored, i), self.place.tolist())
        return self._contents(digests)

    def part(self, start: int, stop: int) -> Encoded:
        """Those at places `start` to `stop`, which knows of no others."""
        some = slice(start, stop)
        stored = self.stored.take(self.place[some])
        return replace(self, stored=stored, place=np.arange(len(self.place[some])), y=self.y[some])

    def read(self) -> tuple[Pixels, list[bytes]]:
        """All of them, as `rows` and `contents` give them; every one is opened once, one after the other."""
        x = np.empty((len(self.y), self.channels, self.size, self.size), np.uint8)
        digests = list[bytes]()
        for to, i in enumerate(self.place.tolist()):
            with _readable(self.stored, i, UNREADABLE), self.stored.opened(i) as file:
                raw = file.read()
            digests.append(hashlib.sha256(raw).digest())
            x[to] = _of_raw(self.stored, i, io.BytesIO(raw), self._fitted)
        return x, list(self._contents(digests))

    def _fitted(self, image: Image.Image) -> Pixels:
        return fit(image, size=self.size, channels=self.channels)

    def _contents(self, digests: Iterable[bytes]) -> Iterable[bytes]:
        names = [name.encode() + b" " for name in self.classes]
        return [names[label] + digest for label, digest in zip(self.y.tolist(), digests, strict=True)]


class Pictured(Source):
    """A source of encoded images at `root`: `size` None keeps their size, which must be one square size."""

    root: LocalPath
    test_root: LocalPath | None = None  # where the images of a test split of your own lie; null: it is cut from root

    place: ClassVar[tuple[str, ...]] = ("root", "test_root")

    def open(self, *, cache: Path | None, test: bool = False, limit_classes: int | None = None) -> Encoded:
        """See Source."""
        root = self.test_root if test and self.test_root is not None else self.root
        return self.read(Path(root).expanduser(), limit_classes)

    def stamp(self, *, test: bool = False) -> str | None:
        """See Source."""
        root = self.test_root if test and self.test_root is not None else self.root
        return self.stamp_of(Path(root).expanduser())

    def stamp_of(self, root: Path) -> str | None:
        """See Source.stamp, of the images at a path."""
        return None

    @abstractmethod
    def read(self, root: Path, limit_classes: int | None) -> Encoded:
        """The images at a path, or those of the first classes. Raises InputError naming what cannot be read."""

    def check(self) -> None:
        """Raise InputError if there is nothing to read, by names only."""
        for root in (self.root, self.test_root):
            if root is not None:
                self.look(Path(root).expanduser())

    @abstractmethod
    def look(self, root: Path) -> None:
        """Raise InputError if there is nothing to read at a path, by names only."""

    def check_sensitive(self) -> None:
        """Raise ValueError without channels."""
        must_say_channels(self)

    @property
    def has_test(self) -> bool:
        """See Source."""
        return self.test_root is not None

    @property
    def identity(self) -> dict[str, Any]:
        """Without the test split: of a public set it is not read, of a sensitive one the revision says which it is."""
        return self.model_dump(mode="json", exclude={"test_root"})

    @property
    def path(self) -> Path:
        """Where the images lie."""
        return Path(self.root).expanduser()


def must_say_channels(source: Source) -> None:
    """Raise ValueError where the channels of sensitive images would be counted from them."""
    if source.channels is None:
        raise ValueError("channels: give 1 (grey) or 3 (colour): one colour image must not decide it for all others")


def shown(name: str) -> str:
    """The name of a file in an archive or a table, as a message may repeat it."""
    return one_line(name, most=200)


def unread(name: str) -> str | None:
    """Why a file of this name is not read as an image; None if it is.

    >>> unread("cat/a.JPG"), unread("cat/._a.jpg"), unread("cat/notes.txt")
    (None, 'hidden files', 'files of other kinds')
    """
    last = name.rpartition("/")[2]
    if last.startswith("."):
        return "hidden files"
    return None if posixpath.splitext(last)[1].lower() in SUFFIXES else "files of other kinds"


def must_be_file(path: Path) -> None:
    """Raise InputError if there is no such file."""
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")


def must_be_folder(path: Path) -> None:
    """Raise InputError if there is no such folder."""
    if not path.is_dir():
        raise InputError(f"{path}: {'not a folder' if path.exists() else 'no such folder'}")


def files_at(root: Path, *, suffix: str) -> tuple[Path, ...]:
    """The files of one kind that a path names, in the order of their names: one, those of a folder, those of a pattern.

    Raises InputError if there are none.
    """
    if root.is_file():
        return (root,)
    pattern = "*" in root.name
    folder, name = (root.parent, root.name) if pattern else (root, f"*{suffix}")
    if pattern or root.exists():
        must_be_folder(folder)
    found = sorted(path for path in folder.glob(name) if path.is_file()) if folder.is_dir() else []
    if not found:
        where = f"no {suffix} files in it" if root.is_dir() else "no such file or folder"
        raise InputError(f"{root}: {'no such files' if pattern else where}")
    return tuple(found)


def _each(function: Callable[..., T], items: Sequence[object]) -> list[T]:
    """`function` of every item, in order. Threads suffice: Pillow decodes and resizes without the lock."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        parts = (items[start : start + AHEAD] for start in range(0, len(items), AHEAD))
        found = (one for part in parts for one in threads.map(function, part))  # all at once would be a heap of futures
        return list(tracked(found, total=len(items), label="reading images"))


def _decoded(stored: Stored, i: int, use: Callable[[Image.Image], T]) -> T:
    """What `use` makes of an opened image. Raises InputError naming it when it cannot be decoded."""
    with _readable(stored, i, UNREADABLE), stored.opened(i) as file:
        return _of_raw(stored, i, file, use)


def _of_raw(stored: Stored, i: int, file: BinaryIO, use: Callable[[Image.Image], T]) -> T:
    """The same of its bytes."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            refused = unreadable(image)
            if refused is None:
                return use(image)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, IndexError, struct.error, zlib.error, Image.DecompressionBombError):
        # What the decoder says may quote bytes of the file, so it is not repeated.
        raise InputError(f"{stored.named(i)}: {UNREADABLE}") from None
    raise InputError(f"{stored.named(i)}: {refused}")


def _digest(stored: Stored, i: int) -> bytes:
    with _readable(stored, i), stored.opened(i) as file:
        return hashlib.sha256(file.read()).digest()


@contextmanager
def _readable(stored: Stored, i: int, said: str = "damaged; it cannot be read") -> Iterator[None]:
    """Raise InputError naming the image where its bytes cannot be read."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, struct.error, zlib.error):
        raise InputError(f"{stored.named(i)}: {said}") from None


def _common_size(stored: Stored, place: NDArray[np.int64]) -> int:
    places = place.tolist()
    sizes = _each(lambda i: _decoded(stored, i, lambda image: image.size), places)
    for i, (width, height) in zip(places, sizes, strict=True):
        if (width, height) != (sizes[0][0], sizes[0][0]):
            raise InputError(
                f"{stored.named(i)}: is {width} x {height}, not one square size for all images; give size in the YAML"
            )
    return sizes[0][0]
