"""The images of an .npz file that are more than is held in memory: unpacked as they are asked for, in their order."""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from privimage.data.fit import Pixels, fit_all
from privimage.errors import InputError

PACKED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)
AT_ONCE = 1 << 23  # bytes that are unpacked at a time


@dataclass(frozen=True, kw_only=True)
class ArrayStream:
    """An array in a file: its head is known, and its rows are read in their order."""

    path: Path
    member: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @staticmethod
    def of(path: Path, names: tuple[str, ...], *, most: int) -> ArrayStream | None:
        """The first array of these names, if it has more than `most` elements. Raises InputError if it lies by columns.

        Raises what zipfile and numpy raise of a damaged file.
        """
        with zipfile.ZipFile(path) as file:
            member = next((f"{name}.npy" for name in names if f"{name}.npy" in file.namelist()), None)
            if member is None:
                return None
            with file.open(member) as raw:
                shape, by_columns, dtype = _head(raw)
                size = raw.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize
            if dtype.hasobject or int(np.prod(shape, dtype=object)) <= most:
                return None
            if file.getinfo(member).file_size != size:
                raise ValueError("cut")
        if by_columns:
            raise InputError(f"{path}: x: lies in Fortran's order; write numpy.ascontiguousarray(x)")
        return ArrayStream(path=path, member=member, dtype=dtype, shape=shape)

    @property
    def ndim(self) -> int:
        """Of the array."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return int(np.prod(self.shape[1:])) * self.dtype.itemsize

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """The rows, end to end."""
        with zipfile.ZipFile(self.path) as file, file.open(self.member) as raw:
            _head(raw)
            yield raw

    def read(self, raw: IO[bytes], n: int) -> NDArray[Any]:
        """The next n rows."""
        found = raw.read(n * self.width)
        if len(found) < n * self.width:
            raise EOFError
        return np.frombuffer(found, self.dtype).reshape(n, *self.shape[1:])


def _head(raw: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    major, _ = npy.read_magic(raw)
    read = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
    return read(raw)


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """Rows of a stream: those at the places `place`; `to_bytes` makes uint8 of what stands there."""

    stream: ArrayStream
    to_bytes: Callable[[NDArray[Any]], Pixels]
    place: NDArray[np.int64]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    size: int | None
    channels: int | None

    def first(self, limit_classes: int | None) -> Streamed:
        """The same with the first so many classes only; all of them if None."""
        if limit_classes is None:
            return self
        kept = self.y < limit_classes
        return replace(self, place=self.place[kept], y=self.y[kept], classes=self.classes[:limit_classes])

    def rows(self, index: NDArray[np.int64]) -> Pixels:
        """See Rows. Quick in the order of the file; whoever asks for what was passed makes it begin anew."""
        order = np.argsort(self.place[index], kind="stable")
        blocks = [order[start : start + self._block] for start in range(0, len(order), self._block)]
        found = [self._fitted(self.place[index[block]]) for block in blocks] or [self._fitted(self.place[:0])]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return np.concatenate(found)[back] if len(found) > 1 else found[0][back]

    def contents(self) -> Iterator[bytes]:
        """See Rows: as of a set in memory."""
        reader = replace(self)  # which stands at a place of its own
        for start in range(0, len(self.y), self._block):
            places = self.place[start : start + self._block]
            for image, label in zip(reader._at(places), self.y[start : start + self._block], strict=True):
                yield b"%d " % label + image.tobytes()

    @property
    def _block(self) -> int:
        """Images at a time."""
        return max(1, AT_ONCE // self.stream.width)

    def _fitted(self, places: NDArray[np.int64]) -> Pixels:
        return fit_all(self._at(places), size=self.size, channels=self.channels)

    def _at(self, places: NDArray[np.int64]) -> Pixels:
        """The images at places in rising order, as they were found."""
        shape = self.stream.shape[1:] if self.stream.ndim == 4 else (1, *self.stream.shape[1:])
        x = np.empty((len(places), *shape), np.uint8)
        ends = np.flatnonzero(np.diff(places) != 1) + 1  # of places that follow each other
        for start, end in zip([0, *ends.tolist()], [*ends.tolist(), len(places)], strict=True):
            if start < end:
                x[start:end] = self._reader.between(int(places[start]), end - start).reshape(-1, *shape)
        return x

    @cached_property
    def _reader(self) -> _StreamReader:
        return _StreamReader(self.stream, self.to_bytes)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


class _StreamReader:
    """Reads a stream forward, and begins anew for what it has passed."""

    def __init__(self, stream: ArrayStream, to_bytes: Callable[[NDArray[Any]], Pixels]) -> None:
        self._stream, self._to_bytes, self._lock = stream, to_bytes, threading.Lock()
        self._rows: Iterator[tuple[int, Pixels]] = iter(())
        self._held: tuple[int, Pixels] | None = None

    def between(self, start: int, n: int) -> Pixels:
        """n rows from a place on, as bytes. Raises InputError naming the file where it is damaged."""
        parts = list[Pixels]()
        with self._lock:
            if self._held is None or start < self._held[0]:
                self._rows, self._held = self._blocks(), None
            while n:
                at, rows = self._held or (0, np.empty(0, np.uint8))
                if start >= at + len(rows):
                    self._held = next(self._rows)
                    continue
                parts.append(rows[start - at : start - at + n])
                start, n = start + len(parts[-1]), n - len(parts[-1])
        return np.concatenate(parts)

    def _blocks(self) -> Iterator[tuple[int, Pixels]]:
        """The first place and the rows of every block."""
        stream, block = self._stream, max(1, AT_ONCE // self._stream.width)
        try:
            with stream.opened() as raw:
                for at in range(0, len(stream), block):
                    yield at, self._to_bytes(stream.read(raw, min(block, len(stream) - at)))
        except InputError:
            raise
        except PACKED:
            raise InputError(f"{stream.path}: damaged; write it by numpy.savez") from None
