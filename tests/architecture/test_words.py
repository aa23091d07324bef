"""What the system refuses is told in its words (`strerror`) by the files that are named here, and by no other."""

from __future__ import annotations

from pathlib import Path

import privimage

ROOT = Path(privimage.__file__).parents[1]
REFUSALS = {
    "privimage/disk.py": "a file or a folder",
    "cluster/connect.py": "a network address, which is no path",
}


def saying(word: str) -> set[str]:
    """The files that hold this word."""
    folders = ("privimage", "cluster", "sweeps", "analysis")
    files = (file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return {str(file.relative_to(ROOT)) for file in files if word in file.read_text(encoding="utf-8")}


def test_what_the_system_refuses_is_said_in_one_place() -> None:
    assert saying("strerror") == REFUSALS.keys()
