"""A zip of an image folder: one directory a class. It is read where it lies; nothing is unpacked to disk."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from privimage.data.sources.encoded import MOST, Encoded, Pictured, must_be_file, shown, unread
from privimage.errors import InputError
from privimage.local import LocalPath

HEAD = struct.Struct("<4s22xHH")  # of a member: its signature, and how long its name and what follows are
ENCRYPTED = 1  # a flag of a member


class Member(NamedTuple):
    """Where a member lies in its archive."""

    name: str
    offset: int
    packed: int  # bytes
    size: int  # bytes, unpacked
    deflated: bool
    crc: int


@dataclass(frozen=True, kw_only=True)
class Zipped:
    """Stored: members of a zip archive."""

    archive: Path
    members: tuple[Member, ...]

    def named(self, i: int) -> str:
        """See Stored."""
        return f"{self.archive}: {shown(self.members[i].name)}"

    def opened(self, i: int) -> BinaryIO:
        """See Stored. No more is unpacked than the archive says that there is."""
        member = self.members[i]
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
        folders = [PurePosixPath(member.name).parent for member in members]
        if not members or len({len(folder.parts) for folder in folders}) > 1 or not folders[0].parts:
            raise InputError(f"{root}: expected one directory of images per class, all equally deep, and no others")
        if len({folder.parent for folder in folders}) > 1:
            raise InputError(f"{root}: its class directories do not lie in one directory; make a zip of one of them")
        classes = tuple(sorted({folder.name for folder in folders}))
        label = {name: i for i, name in enumerate(classes)}
        return Encoded.of(
            Zipped(archive=root, members=members),
            y=np.array([label[folder.name] for folder in folders], np.int64),
            classes=classes,
            size=self.size,
            channels=self.channels,
            limit_classes=limit_classes,
        )

    def left_out(self) -> dict[str, int] | None:
        """How many files of the archive are not read, by reason."""
        names = (info.filename for info in _infos(self.path) if not info.is_dir())
        return dict(Counter(reason for name in names if (reason := _unread(name)) is not None))


MEMBERS = {"zip": Zip}


def members_of(archive: Path) -> tuple[Member, ...]:
    """The images in a zip archive, ordered by name. Raises InputError naming the archive, or a member that is wrong."""
    found = []
    for info in _infos(archive):
        if info.is_dir() or _unread(info.filename) is not None:
            continue
        wrong = _wrong(info)
        if wrong is not None:
            raise InputError(f"{archive}: {shown(info.filename)}: {wrong}")
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        found.append(Member(info.filename, info.header_offset, info.compress_size, info.file_size, deflated, info.CRC))
    return tuple(sorted(found))


def _infos(archive: Path) -> list[zipfile.ZipInfo]:
    must_be_file(archive)
    try:
        with zipfile.ZipFile(archive) as file:
            return file.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error):
        raise InputError(f"{archive}: damaged, or no zip file") from None


def _unread(name: str) -> str | None:
    """Why a member is not read: as for files, and what systems leave in hidden directories and in __MACOSX."""
    if any(
        (part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in PurePosixPath(name).parts
    ):
        return "hidden files"
    return unread(name)


def _wrong(info: zipfile.ZipInfo) -> str | None:
    """Why a member cannot be read, or None."""
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts:
        return "its name leads out of the archive"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted; write the archive without a password"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed in a way that is not read; write the archive by deflate"
    if info.file_size > MOST:
        return f"unpacks to {info.file_size} bytes; at most {MOST} are read of an image"
    return None
