"""A zip of an image folder: one directory a class. It is read where it lies; nothing is unpacked to disk."""

from __future__ import annotations

import io
import posixpath
import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.data.names import PackedNames
from privimage.data.sources.encoded import MOST, Encoded, Pictured, must_be_file, shown, unread
from privimage.data.sources.stamps import stamp_of_files
from privimage.errors import InputError
from privimage.local import LocalPath

HEAD = struct.Struct("<4s22xHH")  # of a member: its signature, and how long its name and what follows are
ENCRYPTED = 1  # a flag of a member


class Member(NamedTuple):
    """Where a member lies in its archive."""

    offset: int
    packed: int  # bytes
    size: int  # bytes, unpacked
    deflated: int
    crc: int


@dataclass(frozen=True, kw_only=True)
class Members:
    """Members of an archive: their names, and `places` int64 [n, fields of Member]."""

    names: PackedNames
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index: NDArray[np.int64]) -> Members:
        """Those at these places."""
        return Members(names=self.names.take(index), places=self.places[index])


@dataclass(frozen=True, kw_only=True)
class Zipped:
    """Stored: members of a zip archive."""

    archive: Path
    members: Members

    def named(self, i: int) -> str:
        """See Stored."""
        return f"{self.archive}: {shown(self.members.names[i])}"

    def take(self, index: NDArray[np.int64]) -> Zipped:
        """See Stored."""
        return replace(self, members=self.members.take(index))

    def opened(self, i: int) -> BinaryIO:
        """See Stored. No more is unpacked than the archive says that there is."""
        member = Member(*self.members.places[i].tolist())
        with self.archive.open("rb") as file:
            file.seek(member.offset)
            signature, name, extra = HEAD.unpack(file.read(HEAD.size))
            if signature != b"PK\x03\x04":
                raise ValueError("no member here")
            file.seek(name + extra, io.SEEK_CUR)
            raw = file.read(member.packed)
        if member.deflated:
            raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw, member.size + 1)
        if len(raw) != member.size or zlib.crc32(raw) != member.crc:
            raise ValueError("damaged")
        return io.BytesIO(raw)


class Zip(Pictured):
    """The images of a zip archive, of which every one lies in the directory of its class."""

    root: LocalPath = Field(description="the path of a zip file that holds one directory of images per class")

    what: ClassVar[str] = "images in a zip file, one directory a class"

    def look(self, root: Path) -> None:
        """See Pictured."""
        must_be_file(root)

    def read(self, root: Path, limit_classes: int | None) -> Encoded:
        """See Pictured."""
        members = members_of(root)
        number = dict[str, int]()  # of a directory, in the order in which they come
        of = [number.setdefault(members.names[i].rpartition("/")[0], len(number)) for i in range(len(members))]
        folders = [PurePosixPath(name) for name in number]
        if not folders or len({len(folder.parts) for folder in folders}) > 1 or not folders[0].parts:
            raise InputError(f"{root}: expected one directory of images per class, all equally deep, and no others")
        if len({folder.parent for folder in folders}) > 1:
            raise InputError(f"{root}: its class directories do not lie in one directory; make a zip of one of them")
        classes = tuple(sorted({folder.name for folder in folders}))
        label = np.array([classes.index(folder.name) for folder in folders], np.int64)
        return Encoded.of(
            Zipped(archive=root, members=members),
            y=label[of],
            classes=classes,
            size=self.size,
            channels=self.channels,
            limit_classes=limit_classes,
        )

    def stamp_of(self, root: Path) -> str:
        """See Pictured: of the archive."""
        return stamp_of_files([root])

    def left_out(self) -> dict[str, int] | None:
        """How many files of the archive are not read, by reason."""
        names = (info.filename for info in _infos(self.path) if not info.is_dir())
        return dict(Counter(reason for name in names if (reason := _unread(name)) is not None))


MEMBERS = {"zip": Zip}


def members_of(archive: Path) -> Members:
    """The images in a zip archive, ordered by name. Raises InputError naming the archive, or a member that is wrong."""
    found = list[tuple[str, Member]]()
    for info in _infos(archive):
        if info.is_dir() or _unread(info.filename) is not None:
            continue
        wrong = _wrong(info)
        if wrong is not None:
            raise InputError(f"{archive}: {shown(info.filename)}: {wrong}")
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        place = Member(info.header_offset, info.compress_size, info.file_size, deflated, info.CRC)
        found.append((info.filename, place))
    found.sort()
    names = sorted((posixpath.normpath(name), name) for name, _ in found)
    twice = next((name for (one, _), (other, name) in pairwise(names) if one == other), None)
    if twice is not None:
        raise InputError(f"{archive}: {shown(twice)}: stands there twice; give every image its own name")
    places = np.array([place for _, place in found], np.int64).reshape(-1, len(Member._fields))
    return Members(names=PackedNames.of(name for name, _ in found), places=places)


def _infos(archive: Path) -> list[zipfile.ZipInfo]:
    must_be_file(archive)
    try:
        with zipfile.ZipFile(archive) as file:
            return file.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error):
        raise InputError(f"{archive}: damaged, or no zip file") from None


def _unread(name: str) -> str | None:
    """Why a member is not read: as for files, and what systems leave in hidden directories and in __MACOSX."""
    if any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in name.split("/")):
        return "hidden files"
    return unread(name)


def _wrong(info: zipfile.ZipInfo) -> str | None:
    """Why a member cannot be read, or None."""
    if info.filename.startswith("/") or ".." in info.filename.split("/"):
        return "its name leads out of the archive"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted; write the archive without a password"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed in a way that is not read; write the archive by deflate"
    if info.file_size > MOST:
        return f"unpacks to {info.file_size} bytes; at most {MOST} are read of an image"
    return None
