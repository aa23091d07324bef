"""A labels file: one line an image, with the name of its file and its label; the images lie in a folder."""

from __future__ import annotations

import csv
import errno
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import ClassVar

from pydantic import Field

from privimage.data.sources.encoded import Encoded, must_be_file, must_be_folder, shown, unread
from privimage.data.sources.folder import Files
from privimage.data.sources.labelled import Labelled
from privimage.data.sources.stamps import stamp_of_files
from privimage.errors import InputError
from privimage.local import LocalPath


class Csv(Labelled):
    """The images that a CSV file (or TSV, by its name) lists, under the names of two of its columns."""

    root: LocalPath = Field(description="the path of a CSV file with a header, and one line an image")
    images: LocalPath | None = None  # the folder that the names of files are below; null: that of the CSV file
    file: str = "file"  # the column with the name of the file
    label: str = "label"  # the column with the label

    what: ClassVar[str] = "image files that a CSV file gives labels"
    place: ClassVar[tuple[str, ...]] = ("root", "test_root", "images")

    def look(self, root: Path) -> None:
        """See Pictured."""
        must_be_file(root)
        must_be_folder(self._folder(root))

    def read(self, root: Path, limit_classes: int | None) -> Encoded:
        """See Pictured."""
        rows, folder = self._rows(root), self._folder(root)
        for line, name, _ in rows:
            if not _is_file(folder / name):
                raise InputError(f"{root}: line {line}: {shown(name)}: no such file in {folder}")
        return self.labelled(
            Files.of([folder], [[name for _, name, _ in rows]]),
            [label for *_, label in rows],
            limit_classes,
            root=root,
            named=lambda i: f"{root}: line {rows[i][0]}",
        )

    def stamp_of(self, root: Path) -> str:
        """See Pictured: of the CSV file and of all that it lists."""
        folder = self._folder(root)
        return stamp_of_files((root, *(folder / name for _, name, _ in self._rows(root))))

    def left_out(self) -> dict[str, int] | None:
        """How many files in and below the folder are not read: images that are not listed, and other kinds."""
        folder = self._folder(self.path)
        listed = {folder / name for _, name, _ in self._rows(self.path)}
        found: Counter[str] = Counter()
        for path in folder.rglob("*"):
            if path.is_file() and path not in listed and path != self.path:
                found[unread(path.name) or "images that are not listed"] += 1
        return dict(found)

    def _folder(self, root: Path) -> Path:
        """What the names of files are below."""
        return Path(self.images).expanduser() if self.images is not None else root.parent

    def _rows(self, root: Path) -> list[tuple[int, str, str]]:
        """Line, name of the file and label, in the order of the file."""
        must_be_file(root)
        found, seen, one = list[tuple[int, str, str]](), set[str](), dict[str, str]()
        try:
            with root.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file, delimiter="\t" if root.suffix.lower() == ".tsv" else ",", strict=True)
                for column in (self.file, self.label):
                    there = list(rows.fieldnames or ()).count(column)
                    if not there:
                        raise InputError(f"{root}: no column '{shown(column)}' in its header; name it in the YAML")
                    if there > 1:
                        raise InputError(f"{root}: line 1: column '{shown(column)}' stands there twice; rename one")
                for row in rows:
                    name, label = row[self.file], row[self.label]
                    wrong = "a field is missing" if not name or not label else _wrong(name, seen)
                    if any(row.get(None) or ()):  # where DictReader puts what the header has no name for
                        wrong = "has more fields than the header; put one that holds a separator in quotes"
                    if wrong is not None:
                        raise InputError(f"{root}: line {rows.line_num}: {wrong}")
                    seen.add(str(PurePosixPath(name)))
                    found.append((rows.line_num, name, one.setdefault(label, label)))
        except (csv.Error, UnicodeDecodeError):
            raise InputError(f"{root}: damaged, or no CSV file in UTF-8") from None
        return found


MEMBERS = {"csv": Csv}


def _is_file(path: Path) -> bool:
    """Whether it is one; there is none of a name that is too long, or that no file can have."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def _wrong(name: str, seen: set[str]) -> str | None:
    """Why no image is read under this name, or None."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return "its file is not below the folder of the images"
    if str(path) in seen:  # however it is written: ./a.png is a.png
        return "its file stands in a line above, too"
    reason = unread(name)
    return None if reason is None else f"{shown(name)}: not read ({reason})"
