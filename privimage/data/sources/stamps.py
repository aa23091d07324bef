"""Stamps: what tells, without opening a file, that files are those that they were: names, sizes and times of change."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path


def stamp_of_files(paths: Iterable[Path | str]) -> str:
    """A digest of these files, in their order. Raises OSError for one that is not there."""
    h = hashlib.sha256()
    for path in paths:
        h.update(_told(os.fspath(path), os.stat(path)))
    return h.hexdigest()


def stamp_of_folders(folders: Iterable[Path]) -> str:
    """A digest of all that lies directly in these folders, in the order of its names."""
    h = hashlib.sha256()
    for folder in folders:
        with os.scandir(folder) as entries:
            there = sorted(entries, key=lambda entry: entry.name)
        h.update(os.fsencode(folder) + b"\0%d\0" % len(there))
        for entry in there:
            try:
                found = entry.stat()
            except OSError:  # a link to nothing: it is not read
                found = entry.stat(follow_symlinks=False)
            h.update(_told(entry.name, found))
    return h.hexdigest()


def _told(name: str, found: os.stat_result) -> bytes:
    """Time of change of the entry too, which no program sets back."""
    return os.fsencode(name) + b"\0%d %d %d\0" % (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
