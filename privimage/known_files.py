"""Files that are known by their content, wherever they lie: a key holds their digest, never their place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from privimage.disk import refusal
from privimage.errors import InputError


def content_of_files(files: Mapping[str, Path]) -> str:
    """The digest of these files, 64 hex digits: of one, its sha256. `files` are by the keys that name them.

    Raises InputError, in one line, if one of them cannot be read.
    """
    found = [_sha256_of(key, path) for key, path in files.items()]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def check_content(files: Mapping[str, Path], *, digest: str) -> None:
    """Raise InputError if these are not the files of that digest."""
    found = content_of_files(files)
    if found != digest:
        told = " and ".join(f"{key}: {path}" for key, path in files.items())
        raise InputError(
            f"{told}: not as it was, or as its digest says: that begins with {digest[:8]}, its content's with "
            f"{found[:8]}; put the file back, or begin another sweep with it"
        )


def _sha256_of(key: str, path: Path) -> str:
    try:
        now = path.stat()  # in nanoseconds: as a tuple it knows seconds only
        return _read(path, (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns))
    except OSError as error:
        raise refusal(error, f"{key}: {path}", "read") from None


@lru_cache(maxsize=64)
def _read(path: Path, as_it_is: tuple[int, ...]) -> str:
    """Read once while the file stays as it is: a sweep is parsed many times."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
