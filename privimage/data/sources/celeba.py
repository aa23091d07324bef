"""CelebA: the aligned faces, in their folder or their zip file, with one of their 40 attributes as label."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from privimage.data.sources.encoded import Encoded, Stored, must_be_file, must_be_folder, must_say_channels, shown
from privimage.data.sources.folder import Files
from privimage.data.sources.source import Source
from privimage.data.sources.stamps import stamp_of_files, stamp_of_folders
from privimage.data.sources.zip import Members, Zipped, members_of
from privimage.errors import InputError
from privimage.local import LocalPath

IMAGES, ATTRIBUTES, PARTITION = "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"
FOLDERS = ("", "Img", "Anno", "Eval")  # where the files lie: side by side, or as they are published
TEST = "2"  # in the partition; 0 and 1 are to train and to validate on


class CelebA(Source):
    """The faces whose attributes are listed; with `size` the square at their centre, 178 pixels, resized to it."""

    root: LocalPath = Field(description="the path of the folder that holds img_align_celeba and list_attr_celeba.txt")
    attribute: str | None = "Male"  # the label: with it or without; null: one label for all
    official: bool = False  # keep the test split of list_eval_partition.txt; false: one is cut by content, as elsewhere

    what: ClassVar[str] = "202,599 faces, and attributes of them"

    def open(self, *, cache: Path | None, test: bool = False, limit_classes: int | None = None) -> Encoded:
        """See Source."""
        has = read_attribute(self._file(ATTRIBUTES), self.attribute)
        names = list(has)
        if self.official:
            parts = self._partition(names)
            names = [name for name in names if (parts[name] == TEST) == test]
        y = np.array([has[name] for name in names], np.int64)
        classes = ("face",) if self.attribute is None else (f"not {self.attribute}", self.attribute)
        return Encoded.of(
            self._stored(names),
            y=y,
            classes=classes,
            size=self.size,
            channels=self.channels,
            limit_classes=limit_classes,
        )

    def check(self) -> None:
        """Raise InputError if there are no images, or no lists of them."""
        must_be_folder(self.path)
        for name in (ATTRIBUTES, *((PARTITION,) if self.official else ())):
            self._file(name)
        self._images()

    def left_out(self) -> dict[str, int] | None:
        """How many images are there and not listed."""
        listed, images = read_attribute(self._file(ATTRIBUTES), None), self._images()
        there = _named(members_of(images)) if images.suffix == ".zip" else images.rglob("*.jpg")
        unlisted = sum(Path(name).name not in listed for name in there)
        return {"images that are not listed": unlisted} if unlisted else {}

    def check_sensitive(self) -> None:
        """Raise ValueError without channels."""
        must_say_channels(self)

    @property
    def has_test(self) -> bool:
        """See Source."""
        return self.official

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.root).expanduser()

    def stamp(self, *, test: bool = False) -> str:
        """See Source: of the lists, and of the archive, or of all in the folder of the images."""
        lists = [self._file(name) for name in (ATTRIBUTES, *((PARTITION,) if self.official else ()))]
        images = self._images()
        if images.suffix == ".zip":
            return stamp_of_files((*lists, images))
        return stamp_of_files(lists) + stamp_of_folders([self._unpacked(images)])

    def _file(self, name: str) -> Path:
        found = next((path for folder in FOLDERS if (path := self.path / folder / name).is_file()), None)
        if found is None:
            raise InputError(f"{self.path / name}: no such file; put it there, as CelebA is published")
        return found

    def _images(self) -> Path:
        """The folder of the images, or their archive."""
        for folder in FOLDERS:
            for path in (self.path / folder / IMAGES, self.path / folder / f"{IMAGES}.zip"):
                if path.exists():
                    (must_be_file if path.suffix == ".zip" else must_be_folder)(path)
                    return path
        raise InputError(
            f"{self.path / IMAGES}: no such folder, nor {IMAGES}.zip; put it there, as CelebA is published"
        )

    def _stored(self, names: Sequence[str]) -> Stored:
        """The images of these names. Raises InputError naming the first that is not there."""
        images = self._images()
        if images.suffix == ".zip":
            members = members_of(images)
            place = {members.names[i].rsplit("/", 1)[-1]: i for i in range(len(members))}
            _must_have(names, place.keys(), where=images)
            if len(place) < len(members):
                raise InputError(f"{images}: holds images of one name in two folders; leave one folder in it")
            return Zipped(archive=images, members=members).take(np.array([place[name] for name in names], np.int64))
        folder = self._unpacked(images)
        _must_have(names, {path.name for path in folder.iterdir()}, where=folder)
        return Files.of([folder], [names])

    def _unpacked(self, images: Path) -> Path:
        below = images / IMAGES
        return below if below.is_dir() else images  # as some unpack it

    def _partition(self, names: Sequence[str]) -> dict[str, str]:
        file = self._file(PARTITION)
        parts: dict[str, str] = {}
        for number, line in enumerate(_lines(file), 1):
            name, (part,) = _row(file, number, line, known=parts, allowed={"0", "1", TEST}, width=1)
            parts[name] = part
        _must_have(names, set(parts), where=file)
        return parts


MEMBERS = {"celeba": CelebA}


def read_attribute(file: Path, attribute: str | None) -> dict[str, bool]:
    """Whether the image of a name has the attribute; False of all images for None.

    Raises InputError naming the file and the line that is not as CelebA's are.
    """
    lines = _lines(file)
    if len(lines) < 3 or not lines[0].strip().isdecimal():
        raise InputError(f"{file}: damaged; expected how many images there are, the attributes, and one line an image")
    attributes = lines[1].split()
    if attribute is not None and attribute not in attributes:
        raise InputError(f"{file}: no attribute '{shown(attribute)}'; it has {shown(', '.join(attributes))}")
    column = None if attribute is None else attributes.index(attribute)
    found: dict[str, bool] = {}
    for number, line in enumerate(lines[2:], 3):
        name, values = _row(file, number, line, known=found, allowed={"1", "-1"}, width=len(attributes))
        found[name] = column is not None and values[column] == "1"
    if lines[0].strip().lstrip("0") != str(len(found)).lstrip("0"):
        said = shown(lines[0].strip())
        raise InputError(f"{file}: damaged; it says that it lists {said} images, and lists {len(found)}")
    return found


def _named(members: Members) -> Iterator[str]:
    return (members.names[i] for i in range(len(members)))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{file}: damaged, or no text in UTF-8") from None


def _row(
    file: Path, number: int, line: str, *, known: Container[str], allowed: set[str], width: int
) -> tuple[str, list[str]]:
    """The name of an image and what stands behind it."""
    name, *values = line.split() or [""]
    if len(values) != width or not allowed.issuperset(values) or "/" in name or name in known:
        told = " or ".join(sorted(allowed))
        raise InputError(f"{file}: line {number}: expected the name of an image, given once, and {width} times {told}")
    return name, values


def _must_have(names: Sequence[str], there: Container[str], *, where: Path) -> None:
    missing = next((name for name in names if name not in there), None)
    if missing is not None:
        raise InputError(f"{where}: {shown(missing)}: listed, but not there; complete the set")
