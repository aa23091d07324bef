"""What was written stays written after a power cut: syncing files and folders. And locks that leave no file behind."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from privimage.errors import InputError
from privimage.mirror import mirror_of

FULL = (errno.ENOSPC, errno.EDQUOT)  # the system often names no file then
FIXES = {
    **dict.fromkeys(FULL, "make room, and run the same command again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "see that it may be read and written"),
    errno.EROFS: "give another place",
    errno.ENOENT: "give one that exists",
}


def refusal(error: OSError, path: object, what: str, *, fix: str | None = None) -> InputError:
    """What the system refused at a path that cannot be `what` (read, written), as one line with what mends it."""
    return InputError(f"{path}: cannot be {what} ({error.strerror or error}); {fix or mend(error)}")


def mend(error: OSError) -> str:
    """What mends what the system refused."""
    return FIXES.get(error.errno or 0, "give another place, or see that it may be read and written")


@contextmanager
def on_disk(path: Path, *, fix: str | None = None) -> Iterator[None]:
    """Raise InputError, naming the path and what mends it, where the disk is full or may not be written."""
    try:
        yield
    except OSError as error:
        raise refusal(error, path, "written", fix=fix or f"nothing was lost; {mend(error)}") from error


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, raw: bytes) -> None:
    """Write a file, and wait until it is on disk."""
    with path.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, text: str) -> None:
    """Put `text` in the place of a file, so that whoever reads it later sees all of the old or all of the new.

    Below a root that is a bucket, it is put there first. Of a link, what it names is written. Raises InputError if it
    cannot be written: then the old one stays.
    """
    with on_disk(path):
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: cannot be written (it is no regular file); give another place, or none")
        path = Path(os.path.realpath(path)) if path.is_symlink() else path
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") == text:
            return
        mirror = mirror_of(path)
        if mirror is not None:
            mirror.put(path, text.encode())
        draft = path.with_name(f".{path.name}.draft")
        write(draft, text.encode())
        os.replace(draft, path)
        sync(path.parent)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Make a folder, and those above it that are missing, and wait until their names are on disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    for made in missing:
        sync(made.parent)


def private_folder(folder: Path) -> None:
    """Make the folder if it is missing; nobody else may list it, also if it was open before (a copy, say)."""
    make_folder(folder, mode=0o700)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


@contextmanager
def exclusive(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """True while this caller alone, of all threads and processes, holds the lock file; it is removed at the end.

    With `wait` False, False if another holds it. Raises OSError if the file cannot be made or locked.
    """
    handle = _locked(path, wait=wait)
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: whoever waits on it sees that the name is gone, and makes another
        os.close(handle)


def _locked(path: Path, *, wait: bool) -> int | None:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _names(path, handle):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _names(path: Path, handle: int) -> bool:
    """Whether the path is still the name of the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
