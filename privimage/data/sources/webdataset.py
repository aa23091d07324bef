"""WebDataset shards: tar files of samples, each the members that share a key, e.g. 000007.jpg and 000007.cls.

Of every shard the places of its images are looked up once; an image is then read where it lies. Nothing is unpacked to
disk.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.data.names import PackedNames
from privimage.data.sources.encoded import MOST, SUFFIXES, Encoded, files_at, shown
from privimage.data.sources.labelled import Labelled
from privimage.data.sources.stamps import stamp_of_files
from privimage.data.sources.tars import DAMAGED_TAR, must_end, refused
from privimage.errors import InputError
from privimage.field_types import spelt
from privimage.local import LocalPath
from privimage.plain_json import read_json

MOST_LABEL = 1 << 20  # bytes of a member that holds a label
Extension = Annotated[str, spelt(r"[^./]+(\.[^./]+)?", use="an extension, e.g. cls, or one and a field: json.label")]


class Spot(NamedTuple):
    """Where an image lies."""

    shard: int
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Shards:
    """Stored: members of tar files; `places` int64 [n, fields of Spot]."""

    shards: tuple[Path, ...]
    names: PackedNames
    places: NDArray[np.int64]

    def named(self, i: int) -> str:
        """See Stored."""
        return f"{self.shards[self.places[i, 0]]}: {shown(self.names[i])}"

    def take(self, index: NDArray[np.int64]) -> Shards:
        """See Stored."""
        return replace(self, names=self.names.take(index), places=self.places[index])

    def opened(self, i: int) -> BinaryIO:
        """See Stored."""
        place = Spot(*self.places[i].tolist())
        with self.shards[place.shard].open("rb") as file:
            file.seek(place.offset)
            raw = file.read(place.size)
        if len(raw) < place.size:
            raise ValueError("cut")
        return io.BytesIO(raw)


class WebDataset(Labelled):
    """One shard, those of a folder, or those whose names fit a pattern; in the order of their names."""

    root: LocalPath = Field(description="the path of a tar file, of a folder of them, or a pattern: data/train-*.tar")
    image: Extension | None = None  # the extension of the image of a sample; null: the only one that is an image
    label: Extension = "cls"  # that of its label, or that of a JSON object and the field that holds it: json.label

    what: ClassVar[str] = "images in WebDataset shards"

    def look(self, root: Path) -> None:
        """See Pictured."""
        files_at(root, suffix=".tar")

    def read(self, root: Path, limit_classes: int | None) -> Encoded:
        """See Pictured."""
        shards, places, labels = files_at(root, suffix=".tar"), array("q"), list[str]()
        names, one = list[PackedNames](), dict[str, str]()
        for number, shard in enumerate(shards):
            own = list[str]()
            with _opened(shard) as tar:
                for key, parts in _samples(tar, shard):
                    image = self._image(parts, named=f"{shard}: {shown(key)}")
                    own.append(image.name)
                    places.extend(Spot(number, image.offset_data, image.size))
                    label = self._label(tar, parts, named=f"{shard}: {shown(key)}")
                    labels.append(one.setdefault(label, label))  # one string for all that are equal
            names.append(PackedNames.of(own))
        rows = np.frombuffer(places, np.int64).reshape(-1, len(Spot._fields))
        stored = Shards(shards=shards, names=PackedNames.joined(names), places=rows)
        return self.labelled(stored, labels, limit_classes, root=root, named=stored.named)

    def stamp_of(self, root: Path) -> str:
        """See Pictured: of the shards."""
        return stamp_of_files(files_at(root, suffix=".tar"))

    def left_out(self) -> dict[str, int] | None:
        """How many members are neither the image nor the label of a sample."""
        found = 0
        for shard in files_at(self.path, suffix=".tar"):
            with _opened(shard) as tar:
                found += sum(len(parts) - 2 for _, parts in _samples(tar, shard))
        return {"members that are neither image nor label": found} if found else {}

    def _image(self, parts: dict[str, tarfile.TarInfo], *, named: str) -> tarfile.TarInfo:
        images = [ext for ext in parts if (ext == self.image if self.image else f".{ext}" in SUFFIXES)]
        if len(images) != 1:
            raise InputError(
                f"{named}: {'several images' if images else 'no image'} in this sample; name it by `image`"
            )
        if parts[images[0]].size > MOST:
            raise InputError(f"{named}: an image of {parts[images[0]].size} bytes; at most {MOST} are read")
        return parts[images[0]]

    def _label(self, tar: tarfile.TarFile, parts: dict[str, tarfile.TarInfo], *, named: str) -> str:
        extension, _, field = self.label.partition(".")
        member = parts.get(extension)
        file = tar.extractfile(member) if member is not None and member.size <= MOST_LABEL else None
        if file is None:
            raise InputError(f"{named}: no .{extension} in this sample; name by `label` what holds its label")
        try:
            text = file.read().decode()
            found: Any = read_json(text)[field] if field else text.strip()
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{named}: no label under {self.label}; name by `label` what holds it") from None
        if not isinstance(found, str | int) or found == "":
            raise InputError(f"{named}: its label under {self.label} is no name and no whole number")
        return str(found)


MEMBERS = {"webdataset": WebDataset}


@contextmanager
def _opened(shard: Path) -> Iterator[tarfile.TarFile]:
    """A shard as long as it is read. Raises InputError naming it if it is damaged, or packed."""
    try:
        with tarfile.open(shard, "r:") as tar:
            yield tar
    except InputError:
        raise
    except DAMAGED_TAR as error:
        if refused(error):
            raise
        raise InputError(f"{shard}: damaged, or no tar file; one that is packed (.tar.gz) has to be unpacked") from None


def _samples(tar: tarfile.TarFile, shard: Path) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """The members of every sample by extension, in the order of their keys in the shard.

    Raises InputError for a member that stands there twice: one would hide the other.
    """
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in tar:
        folder, slash, name = posixpath.normpath(member.name).rpartition("/")
        key, dot, extension = name.partition(".")
        if member.isreg() and not member.issparse() and key and dot:
            parts = samples.setdefault(folder + slash + key, {})
            if extension.lower() in parts:
                twice = "stands there twice, or in upper and lower case; give every sample its own key"
                raise InputError(f"{shard}: {shown(member.name)}: {twice}")
            parts[extension.lower()] = member
    must_end(tar, shard)
    return iter(samples.items())
