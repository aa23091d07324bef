"""Files of JSON lines that survive a full disk and a power cut: every line carries a seal, a digest of the rest of it.

A line that was torn, filled with NULs or changed is known by its seal and never taken for another one. `heal` takes
such lines out, and keeps a copy of them beside the file.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from filelock import FileLock

from privimage.disk import on_disk, sync, write
from privimage.mirror import mirror_of

LINE = re.compile(rb'\{"seal":"([0-9a-f]{16})",(.*\})')


def _seal(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest()[:16].encode()


def parse(line: bytes) -> bytes | None:
    """The JSON object of a line without its seal; None if the line is damaged.

    >>> line = sealed('{"a":1}').removesuffix(b"\\n")
    >>> parse(line), parse(line.replace(b"1}", b"2}"))
    (b'{"a":1}', None)
    """
    found = LINE.fullmatch(line)
    return b"{" + found[2] if found and _seal(found[2]) == found[1] else None


def sealed(text: str) -> bytes:
    """The line of a JSON object (its text on one line, with at least one key), seal first."""
    rest = text[1:].encode()
    return b'{"seal":"' + _seal(rest) + b'",' + rest + b"\n"


def append(path: Path, text: str) -> None:
    """Add the line of a JSON object, whole and on disk before this returns; a last line cut by a crash goes.

    Below a root that is a bucket, it is put there first. Raises InputError if it cannot be written.
    """
    mirror, line = mirror_of(path), sealed(text)
    with on_disk(path), FileLock(str(path) + ".lock"), path.open("a+b") as file:
        if mirror is not None:
            mirror.add(path, line)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def heal(path: Path) -> int:
    """How many places of the file were mended: damaged lines are taken out, and a copy of them is kept beside it.

    Raises InputError if it cannot be read or written.
    """
    if not path.exists():
        return 0
    with on_disk(path), FileLock(str(path) + ".lock"):
        raw = path.read_bytes()
        found = raw.splitlines()
        whole = b"".join(line + b"\n" for line in found if parse(line) is not None)
        if whole == raw:
            return 0
        damaged = [line for line in found if parse(line) is None]
        with path.with_name(f"{path.name}.damaged").open("ab") as copy:
            copy.write(b"".join(line + b"\n" for line in damaged))
        draft = path.with_name(f".{path.name}.draft")
        write(draft, whole)
        os.replace(draft, path)
        sync(path.parent)
    return max(1, len(damaged))
