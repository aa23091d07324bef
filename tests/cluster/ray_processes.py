"""The processes of one Ray of several on this machine, by the folder in which it keeps its files. Not a test."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def processes_of(folder: Path) -> list[tuple[int, str]]:
    """The processes of a Ray whose RAY_TMPDIR is `folder` or below it, with their titles; not this one.

    Some of Ray's own write their title over their environment, and are known by a file that they have open there.
    """
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is somebody else's
            if int(entry.name) != os.getpid() and (_told(entry, folder) or _writes(entry, folder)):
                title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(entry.name), title.strip()))
    return found


def _told(entry: Path, folder: Path) -> bool:
    kept = (entry / "environ").read_bytes()
    return any(f"RAY_TMPDIR={folder}{end}".encode() in kept for end in ("/", "\0"))


def _writes(entry: Path, folder: Path) -> bool:
    return any(os.readlink(link).startswith(f"{folder}/") for link in (entry / "fd").iterdir())
