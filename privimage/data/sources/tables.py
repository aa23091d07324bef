"""Images and labels as columns of Arrow tables: what parquet files and saved datasets have in common.

An image is the bytes of a file, or a struct of `bytes` and `path`, as Hugging Face's datasets writes it. Of a large
table one group of rows is read at a time, and the last few are kept.
"""

from __future__ import annotations

import io
import threading
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from privimage.data.sources.encoded import Encoded, shown
from privimage.data.sources.labelled import Labelled
from privimage.data.sources.stamps import stamp_of_files
from privimage.errors import InputError
from privimage.plain_json import read_json

BYTES = ("binary", "large_binary", "binary_view")
_ONE_READS = threading.Lock()  # so that no group is unpacked by several threads at once


@dataclass(frozen=True, kw_only=True)
class Form:
    """How files of one form are read: `rows` gives the schema and how many rows each group has, `group` one column."""

    what: str  # such a file
    rows: Callable[[Path], tuple[Any, list[int]]]
    group: Callable[[Path, int, str], Any]


@lru_cache(maxsize=4)
def _group(form: Form, file: Path, number: int, changed: int, column: str) -> Any:
    return form.group(file, number, column)


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Stored: the cells of one column.

    `groups` are (file, number in it, when the file was changed), `starts` the places of their first rows.
    """

    form: Form
    column: str
    groups: tuple[tuple[Path, int, int], ...]
    starts: tuple[int, ...]
    rows: NDArray[np.int64]  # of these cells, of all groups end to end

    def named(self, i: int) -> str:
        """See Stored: the file, and the row in it, from 0."""
        row = int(self.rows[i])
        group = bisect_right(self.starts, row) - 1
        file, number, _ = self.groups[group]
        return f"{file}: row {row - self.starts[group - number]}"

    def take(self, index: NDArray[np.int64]) -> Cells:
        """See Stored."""
        return replace(self, rows=self.rows[index])

    def opened(self, i: int) -> BinaryIO:
        """See Stored."""
        row = int(self.rows[i])
        group = bisect_right(self.starts, row) - 1
        file, number, changed = self.groups[group]
        with _ONE_READS, readable(file, self.form.what):
            cell = _group(self.form, file, number, changed, self.column)[row - self.starts[group]].as_py()
        raw = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(raw, bytes):
            raise InputError(f"{self.named(i)}: {self.column}: no bytes; write the table with its images in it")
        return io.BytesIO(raw)


class Table(Labelled):
    """Two columns of a table: the bytes of images, and labels. What a table of `datasets` calls its classes is used."""

    image: str = "image"  # the column with the bytes of images
    label: str = "label"  # the column with labels

    form: ClassVar[Form]

    @abstractmethod
    def files(self, root: Path) -> tuple[Path, ...]:
        """The files of the table, in order. Raises InputError if there are none."""

    def stamp_of(self, root: Path) -> str:
        """See Pictured: of its files."""
        return stamp_of_files(self.files(root))

    def look(self, root: Path) -> None:
        """See Pictured: there are files, and what reads them."""
        arrow()
        self.files(root)

    def read(self, root: Path, limit_classes: int | None) -> Encoded:
        """See Pictured."""
        groups, starts, labels = list[tuple[Path, int, int]](), list[int](), list[str]()
        own: tuple[str, ...] | None = None
        arrow()
        for file in self.files(root):
            with readable(file, self.form.what):
                schema, rows = self.form.rows(file)
                names = self._names(file, schema)
                if starts and names != own:
                    raise InputError(f"{file}: {self.label}: its classes have other names than in the files before it")
                own, changed = names, file.stat().st_mtime_ns
                for number in range(len(rows)):
                    groups.append((file, number, changed))
                    starts.append(len(labels))
                    labels += _labels(file, self.label, self.form.group(file, number, self.label), own)
        stored = Cells(
            form=self.form, column=self.image, groups=tuple(groups), starts=tuple(starts), rows=np.arange(len(labels))
        )
        return self.labelled(stored, labels, limit_classes, root=root, named=stored.named, own=own)

    def _names(self, file: Path, schema: Any) -> tuple[str, ...] | None:
        """What the table calls its classes, if it does. Raises InputError if it lacks a column or has other names."""
        for column in (self.image, self.label):
            there = schema.names.count(column)
            if there > 1:
                raise InputError(f"{file}: {there} columns are called '{shown(column)}'; rename all but one")
            if not there:
                raise InputError(f"{file}: no column '{shown(column)}'; it has {shown(', '.join(schema.names))}")
        kind = schema.field(self.image).type
        if not _is_bytes(kind):
            raise InputError(f"{file}: {self.image}: holds {shown(str(kind))}; expected the bytes of image files")
        try:
            told = read_json((schema.metadata or {}).get(b"huggingface", b"{}"))
            names = told["info"]["features"][self.label]["names"]
        except (KeyError, TypeError, ValueError):
            return None
        if names is None:
            return None
        wrong = _wrong_names(names)
        if wrong is not None:
            raise InputError(f"{file}: {self.label}: {wrong}; write the table again by datasets")
        if self.classes is not None and list(self.classes) != names:
            raise InputError(
                f"{file}: {self.label}: its classes have other names than in the YAML; write them as there"
            )
        return tuple(names)


def _is_bytes(kind: Any) -> bool:
    """Whether cells of this type are bytes, or hold them in a field `bytes`."""
    if arrow().types.is_struct(kind):
        place = kind.get_field_index("bytes")  # -1 too where there are several
        return place >= 0 and str(kind.field(place).type) in BYTES
    return str(kind) in BYTES


def _wrong_names(names: Any) -> str | None:
    """Why these are not what a table calls its classes, or None."""
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        return "the names of its classes are no list of names"
    return None if len(set(names)) == len(names) else "it names two classes alike"


def arrow() -> Any:
    """The pyarrow module. Raises InputError if it is not installed."""
    try:
        import pyarrow
    except ImportError:
        raise InputError("reading tables needs the package pyarrow; install it with pip") from None
    return pyarrow


@contextmanager
def readable(file: Path, what: str) -> Iterator[None]:
    """Raise InputError naming the file where pyarrow cannot read it."""
    try:
        yield
    except InputError:
        raise
    except (arrow().ArrowException, OSError, ValueError, KeyError, MemoryError):
        raise InputError(f"{file}: damaged, or not {what}") from None


def _labels(file: Path, column: str, cells: Any, own: tuple[str, ...] | None) -> list[str]:
    """The labels in one column; where the table names its classes, whole numbers are their places, always.

    Raises InputError where there is none, or where they are no names or whole numbers.
    """
    if cells.null_count:
        raise InputError(f"{file}: {column}: a row has no label; give it one, or leave it out")
    found = cells.to_pylist()
    if not all(isinstance(label, str | int) and (own is None or not isinstance(label, bool)) for label in found):
        raise InputError(f"{file}: {column}: holds {shown(str(cells.type))}; write names or whole numbers")
    if own is None:
        text = {label: str(label) for label in set(found)}  # one string for all that are equal
        return [text[label] for label in found]
    named = {i: name for i, name in enumerate(own)}
    return [named.get(label, "") if isinstance(label, int) else label for label in found]
