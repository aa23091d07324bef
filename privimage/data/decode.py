"""Decoding a large set once, block by block on all cores, into files that are read by rows.

A block that is done has a mark, a digest of all that was written of it: so a decoding that was killed goes on where it
was, whatever reached the disk, and damage is seen later.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privimage import disk, lines
from privimage.data.fit import Pixels
from privimage.data.mapped import label_digest, mapped
from privimage.data.sets import Images, places_of
from privimage.data.sources.encoded import Encoded
from privimage.data.sources.source import Rows
from privimage.errors import InputError
from privimage.paths import CopyFolder
from privimage.processes import cores, spread
from privimage.progress import tracked
from privimage.schema import Frozen

BLOCK_BYTES = 1 << 23  # of decoded images that are one block
WORTH_A_PROCESS = 5000  # images: under a second of decoding, against half of one to start Python
DRAFT = ".draft"
MARK = 32  # bytes of sha-256


class CopyPlan(Frozen):
    """What a decoded copy is of, and how large: `shape` [n, channels, height, width], `block` images a block.

    `seed` is that of the split of a sensitive set: its copy knows where every image stands in it. None: a public set.
    """

    stamp: str
    shape: tuple[int, int, int, int]
    block: int
    seed: int | None

    @property
    def widths(self) -> dict[str, int]:
        """Bytes of an image in every file of the copy."""
        columns = {"digests": MARK} | ({"places": 8, "contents": MARK} if self.seed is not None else {})
        return {CopyFolder.IMAGES: int(np.prod(self.shape[1:])), **columns}

    @property
    def starts(self) -> range:
        """The first places of all blocks."""
        return range(0, self.shape[0], self.block)

    def mark(self, folder: CopyFolder, start: int) -> bytes:
        """The digest of what stands of a block in all files. Raises InputError where one is not of its size."""
        h = hashlib.sha256()
        for name, width in self.widths.items():
            h.update(mapped(folder.column(name), (self.shape[0], width))[start : start + self.block].tobytes())
        return h.digest()


class CopyFacts(Frozen):
    """All that is known of a decoded copy beside its files: `digests` of the small ones."""

    plan: CopyPlan
    classes: tuple[str, ...]
    digests: dict[str, str]
    of_all: str  # the fingerprint of a public set
    left_out: dict[str, int] | None


@dataclass(frozen=True, kw_only=True)
class DecodeBlock:
    """Encoded images, to be decoded to their places in a draft."""

    plan: CopyPlan
    draft: Path
    start: int
    images: Encoded


def plan_of(rows: Rows, *, stamp: str, seed: int | None) -> CopyPlan:
    """The plan of a copy of all of them; one image is decoded, to see its shape."""
    shape = (rows.channels, rows.size, rows.size) if isinstance(rows, Encoded) else rows.rows(np.arange(1)).shape[1:]
    each = int(np.prod(shape))
    return CopyPlan(stamp=stamp, shape=(len(rows.y), *shape), block=max(1, BLOCK_BYTES // each), seed=seed)


def decode(rows: Rows, plan: CopyPlan, *, folder: Path, left_out: dict[str, int] | None) -> CopyFolder:
    """The copy that was made in `folder`, where it takes the place of all others; whoever calls this holds its lock.

    What a killed call left is gone on with. Raises InputError for an image that cannot be decoded, OSError where the
    disk is full or may not be written: then nothing is left of it.
    """
    draft = CopyFolder(path=folder / DRAFT)
    try:
        done = _begun(draft, plan)
        _decode_all(rows, plan, draft, done)
        _finish(rows, plan, draft, left_out)
    except (InputError, OSError):
        shutil.rmtree(draft.path, ignore_errors=True)
        raise
    copy = CopyFolder(path=folder / secrets.token_hex(8))
    os.replace(draft.path, copy.path)
    disk.sync(folder)
    for other in folder.iterdir():
        if other != copy.path:
            shutil.rmtree(other, ignore_errors=True)
    return copy


def _begun(draft: CopyFolder, plan: CopyPlan) -> bool:
    """Whether a draft of the same was begun; else an empty one is made, with room for all of it."""
    text = lines.sealed(plan.model_dump_json())
    if draft.plan.exists() and draft.plan.read_bytes() == text:
        return True
    shutil.rmtree(draft.path, ignore_errors=True)
    disk.make_folder(draft.path, mode=0o700)
    sizes = {draft.column(name): width * plan.shape[0] for name, width in plan.widths.items()}
    for path, size in {**sizes, draft.marks: MARK * len(plan.starts)}.items():
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _reserve_room(handle, size)
        finally:
            os.close(handle)
    disk.write(draft.plan, text)
    return False


def _reserve_room(handle: int, size: int) -> None:
    """Make a file as long as that, with room on the disk for all of it where the file system can promise it."""
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(handle, size)


def _decode_all(rows: Rows, plan: CopyPlan, draft: CopyFolder, begun: bool) -> None:
    marks = mapped(draft.marks, (len(plan.starts), MARK))
    with draft.marks.open("r+b") as file, closing(_blocks(rows, plan, draft, marks if begun else None)) as blocks:
        for start, mark in tracked(blocks, total=len(plan.starts), label="decoding images (once)"):
            os.pwrite(file.fileno(), mark, start // plan.block * MARK)


def _blocks(
    rows: Rows, plan: CopyPlan, draft: CopyFolder, marks: NDArray[np.uint8] | None
) -> Generator[tuple[int, bytes], None, None]:
    """The first place and the mark of every block, once it is written."""
    if not isinstance(rows, Encoded):
        yield from _in_turn(rows, plan, draft)
        return
    todo = list[int]()
    for number, start in enumerate(plan.starts):
        mark = b"" if marks is None else marks[number].tobytes()
        if mark.strip(b"\0") and plan.mark(draft, start) == mark:
            yield start, mark
        else:
            todo.append(start)
    each = (
        DecodeBlock(plan=plan, draft=draft.path, start=start, images=rows.part(start, start + plan.block))
        for start in todo
    )
    processes = min(cores(), len(todo), plan.block * len(todo) // WORTH_A_PROCESS)
    with closing(spread(decode_block, each, processes=processes)) as done:
        yield from done


def _in_turn(rows: Rows, plan: CopyPlan, draft: CopyFolder) -> Iterator[tuple[int, bytes]]:
    """The same of images that are no files of their own: read in their order, here."""
    contents = iter(rows.contents() if plan.seed is not None else ())
    for start in plan.starts:
        x = rows.rows(np.arange(start, min(start + plan.block, plan.shape[0])))
        yield start, _put(plan, draft, start, x, islice(contents, len(x)))


def decode_block(block: DecodeBlock) -> tuple[int, bytes]:
    """Its first place and its mark, once its images are in the draft."""
    x, contents = block.images.read()
    return block.start, _put(block.plan, CopyFolder(path=block.draft), block.start, x, contents)


def _put(plan: CopyPlan, draft: CopyFolder, start: int, x: Pixels, contents: Iterable[bytes]) -> bytes:
    """Write images, and what is known of them, to their places in the files of the draft; the mark of the block."""
    found = {CopyFolder.IMAGES: x.tobytes(), "digests": b"".join(hashlib.sha256(i.tobytes()).digest() for i in x)}
    if plan.seed is not None:
        each = list(contents)
        found["places"] = places_of(each, seed=plan.seed).tobytes()
        found["contents"] = b"".join(hashlib.sha256(content).digest() for content in each)
    h = hashlib.sha256()
    for name, width in plan.widths.items():
        h.update(found[name])
        handle = os.open(draft.column(name), os.O_WRONLY)
        try:
            _write_at(handle, memoryview(found[name]), start * width)
        finally:
            os.close(handle)
    return h.digest()


def _write_at(handle: int, raw: memoryview, at: int) -> None:
    while raw:
        written = os.pwrite(handle, raw, at)
        raw, at = raw[written:], at + written


def _finish(rows: Rows, plan: CopyPlan, draft: CopyFolder, left_out: dict[str, int] | None) -> None:
    """Write the labels and the facts; all of it is on disk when this returns."""
    disk.write(draft.column("labels"), np.ascontiguousarray(rows.y, np.int64).tobytes())
    of_all = "" if plan.seed is not None else Images(x=mapped(draft.images, plan.shape), y=rows.y).fingerprint
    small = {name: digest_of(draft.column(name)) for name in small_files(plan) if name != "labels"}
    facts = CopyFacts(
        plan=plan,
        classes=rows.classes,
        digests=small | {"labels": label_digest(rows.y)},
        of_all=of_all,
        left_out=left_out,
    )
    draft.plan.unlink()
    for path in draft.path.iterdir():
        disk.sync(path)
    disk.write(draft.facts, lines.sealed(facts.model_dump_json()))
    disk.sync(draft.path)


def small_files(plan: CopyPlan) -> tuple[str, ...]:
    """The names of all files of a copy but the images and the facts."""
    return ("labels", CopyFolder(path=Path()).marks.name, *(name for name in plan.widths if name != CopyFolder.IMAGES))


def digest_of(path: Path) -> str:
    """Sha-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
