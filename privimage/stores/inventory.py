"""Inventory: what a store holds, whether it is whole, and what may go where room is short.

Never what was paid for, what is internal, or what an unfinished access needs: only public artefacts, which the next
sweep that needs them makes again. Below a root that is a bucket, all that lies here are copies, and any may go.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from privimage.disk import exclusive, on_disk, refusal
from privimage.errors import Damaged
from privimage.stores.file import ARRAYS, DRAFT, FileStore
from privimage.stores.manifest import GONE, Manifest, PrivacyClass, read_manifest

RESTORE = "it may have been paid for: restore it from a backup of the store; it is never asked again"
AGAIN = "run the sweep again: it is made again, and costs no privacy"


@dataclass(frozen=True, kw_only=True)
class Item:
    """An artefact in the folder: its manifest, its bytes, when it was made and last used (seconds since 1970).

    The last use is as exact as the file system's times of access: about a day on most.
    """

    folder: Path
    manifest: Manifest
    bytes: int
    made: float
    used: float


@dataclass(frozen=True, kw_only=True)
class Damage:
    """An artefact that is not what was stored: what is wrong, naming the file, and what mends it."""

    what: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class Total:
    """All artefacts of a kind and privacy class."""

    kind: str
    privacy: PrivacyClass
    count: int
    bytes: int
    made: float
    used: float


def items(store: FileStore) -> Iterator[Item]:
    """The artefacts in the folder that are not seen to be damaged by their manifests, in order of their names."""
    for folder in _folders(store):
        with suppress(Damaged):
            yield _item(folder)


def totals(found: Sequence[Item]) -> list[Total]:
    """One line a kind and privacy class: how many, their bytes, when the oldest was made, when one was last used."""
    groups: dict[tuple[str, PrivacyClass], list[Item]] = {}
    for item in found:
        groups.setdefault((item.manifest.kind, item.manifest.privacy), []).append(item)
    return [
        Total(
            kind=kind,
            privacy=privacy,
            count=len(group),
            bytes=sum(item.bytes for item in group),
            made=min(item.made for item in group),
            used=max(item.used for item in group),
        )
        for (kind, privacy), group in sorted(groups.items())
    ]


def verify(store: FileStore) -> tuple[int, list[Damage]]:
    """How many artefacts are in the folder, and those that are damaged: seals, places and hashes are checked.

    Raises InputError where a file cannot be read.
    """
    folders = list(_folders(store))
    return len(folders), [damage for folder in folders if (damage := _damage(folder, store)) is not None]


def unneeded(store: FileStore, *, to: int, before: float = math.inf) -> list[Item]:
    """What would have to go for at most `to` bytes to be left, least recently used first; less where that is not all.

    Only what may go (see above), and was last used `before` that time.
    """
    found = list(items(store))
    over, gone = sum(item.bytes for item in found) - to, []
    may_go = (item for item in found if (store.copies or not item.manifest.paid) and item.used < before)
    for item in sorted(may_go, key=lambda item: item.used):
        if over <= 0:
            break
        gone.append(item)
        over -= item.bytes
    return gone


def remove(store: FileStore, gone: Sequence[Item]) -> list[Item]:
    """What was removed of `gone`.

    What somebody is making under its lock stays, and so does a copy of what the bucket has lost.

    Raises InputError if the folder cannot be written.
    """
    removed = []
    for item in gone:
        kind, key = item.manifest.kind, item.manifest.key
        lock = store.lock_of(kind, key)
        with on_disk(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(lock, wait=False) as alone:
                if alone and item.folder.exists() and store.is_replaceable(item.manifest):
                    aside = Path(tempfile.mkdtemp(dir=item.folder.parent, prefix=f"{DRAFT}{key[:32]}-"))
                    item.folder.rename(aside / "gone")  # a reader sees all of it or nothing
                    shutil.rmtree(aside)
                    removed.append(item)
    return removed


def _folders(store: FileStore) -> Iterator[Path]:
    yield from sorted((store.root / "artefacts").glob("*/[!.]*"))


def _item(folder: Path) -> Item:
    """Raises Damaged where its manifest cannot be read; the arrays, which tell when it was used, are not read here."""
    manifest = read_manifest(folder)
    try:
        arrays = (folder / ARRAYS).stat()
        size = sum(path.stat().st_size for path in folder.iterdir())
    except GONE:  # another process may remove it meanwhile
        raise Damaged(f"{folder / ARRAYS}: missing") from None
    return Item(
        folder=folder,
        manifest=manifest,
        bytes=size,
        made=arrays.st_mtime,
        used=max(arrays.st_mtime, arrays.st_atime),
    )


def _damage(folder: Path, store: FileStore) -> Damage | None:
    if store.copies:
        fix = f"it is a copy of what the bucket has: remove {folder}, and it is fetched again"
    else:
        fix = RESTORE  # also where the manifest that would say so cannot be read
    try:
        manifest = read_manifest(folder)
    except Damaged as error:
        return Damage(what=str(error), fix=fix)
    path = folder / ARRAYS
    try:
        with path.open("rb") as file:
            before = os.stat(file.fileno())
            whole = hashlib.file_digest(file, "sha256").hexdigest() == manifest.sha256
            with suppress(OSError):  # to check it is no use of it
                os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
    except GONE:
        whole = False
    except OSError as error:
        raise refusal(error, path, "read") from None
    return None if whole else Damage(what=f"{path}: missing or damaged", fix=fix if manifest.paid else AGAIN)
