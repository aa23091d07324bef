"""What every verb shares at the terminal: paths as they are typed, and lines as they are shown."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from privimage.bucket import is_bucket
from privimage.errors import InputError
from privimage.local import refusal
from privimage.plain_yaml import one_line, shown_path
from privimage.pull import made, pulled_ledger, pulled_run
from privimage.text import PLAIN

BUCKETS: dict[str, Callable[[str], Path]] = {
    **dict.fromkeys(("--root", "ROOT"), made),
    **dict.fromkeys(("RUN", "RUN_A", "RUN_B"), pulled_run),
    "LEDGER": pulled_ledger,
}  # what may be the URL of a bucket, and the folder that it is here
MOST = 2000  # characters of a line that says what went wrong


def _open_streams() -> None:
    """Let both streams take every character: what a Latin-1 terminal lacks is written as an escape."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Lasting(io.TextIOWrapper):
    """Standard error that outlives its reader: if a terminal or a pipe was closed, what is said is lost and no more."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def outlive_reader() -> None:
    """From now on no run ends, and no exit code changes, because nobody reads standard error any more."""
    stream = sys.stderr
    if type(stream) is io.TextIOWrapper:
        encoding, errors = stream.encoding, stream.errors
        sys.stderr = _Lasting(stream.detach(), encoding=encoding, errors=errors, line_buffering=True)


_open_streams()
out = Console(width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True)


class Refused(Exception):
    """A word of the command line that cannot be used; no ValueError, of which typer makes three lines of its own."""


def local(named: str) -> Callable[[str], Path]:
    """Reads a path of this machine as it was typed: pathlib would make s3:/bucket of s3://bucket."""

    def path(text: str) -> Path:
        if named in BUCKETS and is_bucket(text):
            try:
                return BUCKETS[named](text)
            except InputError as error:
                raise Refused(f"{named}: {error}") from None
        why = refusal(text)
        if why is not None:
            raise Refused(f"{named}: got '{shown_path(text)}'; {why}")
        return Path(text).expanduser()

    return path


def typed(named: str) -> Callable[[str], str]:
    """Reads a path as `local` does, and leaves it as it was typed: a folder may end in /."""

    def path(text: str) -> str:
        local(named)(text)
        return text

    return path


def complain(text: str) -> None:
    """Print what went wrong as one line, whatever stands in it and however wide the terminal is."""
    err.print(one_line(text, most=MOST), style="red", **PLAIN)
