"""What every verb shares at the terminal: paths as they are typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from privimage.local import refusal


class Refused(Exception):
    """A word of the command line that cannot be used; no ValueError, of which typer makes three lines of its own."""


def local(named: str) -> Callable[[str], Path]:
    """Reads a path of this machine as it was typed: pathlib would make s3:/bucket of s3://bucket."""

    def path(text: str) -> Path:
        why = refusal(text)
        if why is not None:
            raise Refused(f"{named}: got '{text}'; {why}")
        return Path(text)

    return path
