"""What an image folder holds beside the images that are read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from privimage.data.sources.folder import SUFFIXES


def left_out(root: Path) -> dict[str, int]:
    """How many entries of the class directories (and files beside these) are not read, by reason; none if all are."""
    found: Counter[str] = Counter()
    for entry in root.iterdir():
        if not entry.is_dir():
            found["files outside a class directory"] += 1
        elif entry.name.startswith("."):
            found["hidden directories"] += 1
        else:
            found.update(reason for path in entry.iterdir() if (reason := _reason(path)) is not None)
    return dict(found)


def _reason(path: Path) -> str | None:
    """Why an entry of a class directory is not read; None if it is."""
    if path.name.startswith("."):
        return "hidden files"
    if not path.is_file():
        return "directories inside a class directory"
    return None if path.suffix.lower() in SUFFIXES else "files of other kinds"
