"""Paths are of this machine: an address of a bucket or of a web page is refused wherever a path is given."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from privimage.errors import InputError
from privimage.field_types import Constraint
from privimage.plain_yaml import is_text, shown_path

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # pathlib makes s3:/bucket of s3://bucket


def refusal(path: str | Path) -> str | None:
    """Why this is no path of this machine, with the fix, or None.

    >>> refusal("s3://bucket/runs")
    'that is an address, and only folders and files of this machine can be used; mount it, and give the path'
    >>> refusal("data/scans")
    """
    text = str(path)
    if "://" in text or _ADDRESS.match(text):
        return "that is an address, and only folders and files of this machine can be used; mount it, and give the path"
    if not text or any(ord(character) < 32 for character in text):
        return "that is no path; give one without control characters, e.g. data/scans"
    if not is_text(text):
        return "its name is not UTF-8; rename it"
    try:
        Path(text).expanduser()
    except RuntimeError:
        return "no such user; write the path without ~"
    return None


def local_path(path: str | Path, *, named: str) -> Path:
    """The path, with the home of a user for ~.

    Raises InputError, which calls it by the name, if it is none of this machine.
    """
    why = refusal(path)
    if why is not None:
        raise InputError(f"{named}: got '{shown_path(path)}'; {why}")
    return Path(path).expanduser()


def _check(path: str) -> None:
    why = refusal(path)
    if why is not None:
        raise ValueError(why)


LocalPath = Annotated[str, Constraint(_check, {"minLength": 1, "not": {"pattern": f"://|^{_ADDRESS.pattern}"}})]
