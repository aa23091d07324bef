"""Chain: an append-only file of JSON lines, each sealed with the hash of itself and so of every line before it.

Beside X.jsonl lies X.head, which says how many lines there are and the hash of the last one. One line is added in
four steps, each on disk before the next begins: a draft of the new head, the line, the head, the folder's entries.
Only then may anything rest on the line. So, whenever the machine stops:

- a last line without its newline was being written: nothing rests on it, and it is left out;
- a head that lags by one line was about to be replaced: the line counts;
- a head that knows of more lines, or of others, means that lines were lost or rewritten: nothing is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from pydantic import Field

from privimage.disk import make_folder, on_disk, refusal, sync
from privimage.errors import InputError
from privimage.schema import Frozen, digest

GENESIS = "0" * 64

RawLine = dict[str, Any]
HeadState = Literal["agrees", "lags", "missing"]


class Head(Frozen):
    """What X.head says: the number of lines, and the hash of the last one."""

    lines: int = Field(ge=1)
    hash: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """The lines of a chain, verified; how many bytes they take; and how the head compares with them."""

    lines: tuple[RawLine, ...]
    size: int
    head: HeadState

    @property
    def last(self) -> str:
        """The hash that the next line has to name."""
        return str(self.lines[-1]["hash"]) if self.lines else GENESIS

    def sealed(self, fields: Mapping[str, Any]) -> RawLine:
        """The line that would come next: these fields, its number, the time or theirs, its hash. Writes nothing."""
        at = fields.get("at", datetime.now(UTC).isoformat(timespec="seconds"))
        line = {"number": len(self.lines), **fields, "at": at, "previous": self.last}
        return line | {"hash": digest(line)}


class Chain:
    """The chain in the file `path`. Safe for concurrent processes on one file system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        real = path.resolve()  # a ledger that is reached by a link has one head and one lock
        self.head = real.with_suffix(".head")
        self._draft = real.with_suffix(".head.draft")
        self._lock = FileLock(str(real) + ".lock")

    def read(self) -> Found:
        """The chain as it is now; writes nothing and needs no lock, so that a copy for reading can be verified.

        Raises InputError naming the line where the chain is broken or before which it ends.
        """
        head, raw = self._snapshot()
        whole = raw[: raw.rfind(b"\n") + 1]
        lines = self._verified(whole)
        return Found(lines=lines, size=len(whole), head=self._compared(lines, head))

    @contextmanager
    def held(self) -> Iterator[Found]:
        """The chain, while no other process can add to it; a head that lags or is missing is written anew first.

        Raises InputError as `read` does, and if the folder cannot be written.
        """
        with self._on_disk():
            make_folder(self.path.parent)
            lock = self._lock.acquire()
        with lock:
            found = self.read()
            if found.head != "agrees":
                with self._on_disk():
                    sync(self.path)  # its writer may have been killed before it did this
                    self._write_draft(Head(lines=len(found.lines), hash=found.last))
                    self._replace_head()
            yield found

    def append(self, found: Found, line: RawLine) -> None:
        """Add a line that `found.sealed` made, while the chain is held. It is on disk when this returns.

        Raises InputError if the file system refuses: then nothing may rest on the line.
        """
        raw = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        with self._on_disk():
            self._write_draft(Head(lines=len(found.lines) + 1, hash=line["hash"]))  # a full disk shows here
            new = not self.path.exists()
            try:
                _write(self.path, raw, at=found.size)
                if new:
                    sync(self.head.parent)
            except OSError:
                with suppress(OSError):  # what this leaves is a torn line, or a whole one that counts
                    os.truncate(self.path, found.size)
                raise
            self._replace_head()

    def _snapshot(self) -> tuple[Head | None, bytes]:
        """Head and file of one moment: if lines were added in between, read both again."""
        while True:
            head = self._read_head()
            raw = self._read(self.path) or b""
            if self._read_head() == head:
                return head, raw

    def _read_head(self) -> Head | None:
        raw = self._read(self.head)
        if raw is None:
            return None
        try:
            return Head.model_validate_json(raw)
        except ValueError:
            raise InputError(
                f"{self.head}: damaged; restore it, or remove it if {self.path.name} is known to be whole"
            ) from None

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise refusal(error, path, "read") from None

    def _verified(self, whole: bytes) -> tuple[RawLine, ...]:
        """The lines. The hash covers what stands in the file."""
        lines: list[RawLine] = []
        previous = GENESIS
        for number, raw in enumerate(whole.split(b"\n")[:-1]):
            where = f"{self.path}: line {number + 1}"
            try:
                line = json.loads(raw.decode())
            except ValueError:
                raise InputError(f"{where} is not JSON; the ledger is damaged; restore it from a backup") from None
            if not isinstance(line, dict) or not _follows(line, number, previous):
                raise InputError(f"{where} breaks the hash chain; the ledger was changed; restore it from a backup")
            lines.append(line)
            previous = line["hash"]
        return tuple(lines)

    def _compared(self, lines: tuple[RawLine, ...], head: Head | None) -> HeadState:
        if head is None:
            return "missing" if lines else "agrees"
        if head.lines > len(lines):
            raise InputError(
                f"{self.path}: ends before line {head.lines}, which {self.head.name} knows of; restore it from a backup"
            )
        if lines[head.lines - 1]["hash"] != head.hash:
            raise InputError(
                f"{self.path}: line {head.lines} is not the one that {self.head.name} knows of; "
                "the ledger was rewritten; restore it from a backup"
            )
        if len(lines) > head.lines + 1:
            raise InputError(
                f"{self.head}: knows of {head.lines} lines only, but {self.path.name} has {len(lines)}; the two are "
                "of different times; restore both from one backup"
            )
        return "agrees" if head.lines == len(lines) else "lags"

    def _write_draft(self, head: Head) -> None:
        _write(self._draft, head.model_dump_json().encode(), at=0)

    def _replace_head(self) -> None:
        os.replace(self._draft, self.head)
        sync(self.head.parent)

    def _on_disk(self) -> AbstractContextManager[None]:
        return on_disk(self.path, fix="nothing may be asked of the data before it can be")


def _follows(line: RawLine, number: int, previous: str) -> bool:
    """Whether a line is the one with this number, after the line with that hash, and unchanged."""
    fields = {name: value for name, value in line.items() if name != "hash"}
    return (line.get("number"), line.get("previous"), line.get("hash")) == (number, previous, digest(fields))


def _write(path: Path, raw: bytes, *, at: int) -> None:
    """Put `raw` at byte `at`, make it the end of the file, and wait for the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.ftruncate(handle, at)
        os.lseek(handle, at, os.SEEK_SET)
        while raw:
            raw = raw[os.write(handle, raw) :]
        os.fsync(handle)
    finally:
        os.close(handle)
