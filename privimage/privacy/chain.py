"""Chain: lines that are only ever added, each sealed with the hash of itself and so of every line before it.

Beside the lines lies a head, which says how many there are and the hash of the last one. A line is added first, then
the head is replaced, and only then may anything rest on the line. So, whenever the machine stops:

- a head that lags by one line was about to be replaced: the line counts;
- a head that knows of more lines, or of others, means that lines were lost or rewritten: nothing is read.

Where they are kept: in a file (`file_chain.py`), or in a bucket (`bucket_chain.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from privimage.errors import InputError
from privimage.schema import Frozen, digest

GENESIS = "0" * 64

RawLine = dict[str, Any]
HeadState = Literal["agrees", "lags", "missing"]


class Head(Frozen):
    """What the head says: the number of lines, and the hash of the last one."""

    lines: int = Field(ge=1)
    hash: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """The lines of a chain, verified; how many bytes of its file they take; and how the head compares with them."""

    lines: tuple[RawLine, ...]
    size: int = 0
    head: HeadState

    @property
    def last(self) -> str:
        """The hash that the next line has to name."""
        return last_hash(self.lines)

    def sealed(self, fields: Mapping[str, Any]) -> RawLine:
        """The line that would come next: these fields, its number, the time or theirs, its hash. Writes nothing."""
        at = fields.get("at", datetime.now(UTC).isoformat(timespec="seconds"))
        line = {"number": len(self.lines), **fields, "at": at, "previous": self.last}
        return line | {"hash": digest(line)}


Decide = Callable[[Found], RawLine | None]


class Chain(Protocol):
    """A chain, by the path of its file, or of the local copy of what a bucket has. Safe for concurrent processes."""

    path: Path

    def read(self) -> Found:
        """The chain as it is now. Raises InputError naming the line where it is broken or before which it ends."""
        ...

    def add(self, decide: Decide) -> bool:
        """Whether a line was added: the one that `decide` made by `Found.sealed` of the chain as it was then.

        Nothing is added in between, and the line is kept for good when this returns. `decide` may be called again,
        if another was faster. Where it returns None or raises, nothing is added. Raises InputError as `read` does,
        and where it cannot be written: then nothing may rest on the line.
        """
        ...


def raw_line(line: RawLine) -> bytes:
    """The bytes of a line, without its end."""
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()


def last_hash(lines: tuple[RawLine, ...]) -> str:
    """The hash that the next line has to name."""
    return str(lines[-1]["hash"]) if lines else GENESIS


def verified(raws: Iterable[bytes], *, name: str, after: tuple[RawLine, ...] = ()) -> tuple[RawLine, ...]:
    """These lines behind those of `after`. The hash covers what stands there.

    Raises InputError, which calls the chain by the name, where it is broken.
    """
    lines, previous = list(after), last_hash(after)
    for number, raw in enumerate(raws, start=len(after)):
        where = f"{name}: line {number + 1}"
        try:
            line = json.loads(raw.decode())
        except (ValueError, RecursionError):
            raise InputError(f"{where} is not JSON; the ledger is damaged; restore it from a backup") from None
        if not isinstance(line, dict) or not _follows(line, number, previous):
            raise InputError(f"{where} breaks the hash chain; the ledger was changed; restore it from a backup")
        lines.append(line)
        previous = line["hash"]
    return tuple(lines)


def compared(lines: tuple[RawLine, ...], head: Head | None, *, name: str, head_name: str) -> HeadState:
    """How the head compares with the lines. Raises InputError if it knows of more of them, or of others."""
    if head is None:
        return "missing" if lines else "agrees"
    if head.lines > len(lines):
        raise InputError(f"{name}: ends before line {head.lines}, which {head_name} knows of; restore it from a backup")
    if lines[head.lines - 1]["hash"] != head.hash:
        raise InputError(
            f"{name}: line {head.lines} is not the one that {head_name} knows of; "
            "the ledger was rewritten; restore it from a backup"
        )
    if len(lines) > head.lines + 1:
        raise InputError(
            f"{name}: has {len(lines)} lines, but {head_name} knows of {head.lines} lines only; the two are "
            "of different times; restore both from one backup"
        )
    return "agrees" if head.lines == len(lines) else "lags"


def read_head(raw: bytes, *, where: str, fix: str) -> Head:
    """The head. Raises InputError if it is damaged, with what mends it."""
    try:
        return Head.model_validate_json(raw)
    except ValueError:
        raise InputError(f"{where}: damaged; {fix}") from None


def _follows(line: RawLine, number: int, previous: str) -> bool:
    """Whether a line is the one with this number, after the line with that hash, and unchanged."""
    fields = {name: value for name, value in line.items() if name != "hash"}
    return (line.get("number"), line.get("previous"), line.get("hash")) == (number, previous, digest(fields))
