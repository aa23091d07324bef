"""FileChain: a chain in a file of JSON lines.

Beside X.jsonl lies X.head. One line is added in four steps, each on disk before the next begins: a draft of the new
head, the line, the head, the folder's entries. So, beside what holds for every chain, whenever the machine stops:

- a last line without its newline was being written: nothing rests on it, and it is left out.

Every look reads all bytes of the file. Those that this process has verified before are compared with what they were
then, byte by byte, and only lines behind them are parsed and hashed. One byte that differs, or a file that is shorter,
and all of it is verified from its first line, so a line that was changed is refused at the next look, however old.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from privimage.disk import make_folder, on_disk, refusal, sync
from privimage.privacy.chain import Decide, Found, Head, RawLine, compared, raw_line, read_head, verified


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """The bytes of a chain's file that were verified, whole lines, and what they say."""

    raw: bytes = b""
    lines: tuple[RawLine, ...] = ()


_VERIFIED: dict[Path, Prefix] = {}  # what this process has verified last, by file: every trial opens a ledger anew


class FileChain:
    """The chain in the file `path`. Safe for concurrent processes on one file system. See Chain."""

    def __init__(self, path: Path) -> None:
        self.path = path
        real = path.resolve()  # a ledger that is reached by a link has one head and one lock
        self._real = real
        self.head = real.with_suffix(".head")
        self._draft = real.with_suffix(".head.draft")
        self._lock = FileLock(str(real) + ".lock")

    def read(self) -> Found:
        """See Chain. Writes nothing and needs no lock, so that a copy for reading can be verified."""
        head, raw = self._snapshot()
        whole = raw[: raw.rfind(b"\n") + 1]
        lines = self._verified(whole)
        compare = compared(lines, head, name=str(self.path), head_name=self.head.name)
        return Found(lines=lines, size=len(whole), head=compare)

    def _verified(self, whole: bytes) -> tuple[RawLine, ...]:
        """The lines of the file, whose whole lines these are. Raises InputError naming one that breaks the chain."""
        known = _VERIFIED.get(self._real, Prefix())
        if not whole.startswith(known.raw):
            known = Prefix()
        lines = verified(whole[len(known.raw) :].split(b"\n")[:-1], name=str(self.path), after=known.lines)
        _VERIFIED[self._real] = Prefix(raw=whole, lines=lines)
        return lines

    def add(self, decide: Decide) -> bool:
        """See Chain. A head that lags or is missing is written anew first."""
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
            line = decide(found)
            if line is not None:
                self._append(found, line)
        return line is not None

    def _append(self, found: Found, line: RawLine) -> None:
        raw = raw_line(line) + b"\n"
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
        fix = f"restore it, or remove it if {self.path.name} is known to be whole"
        return read_head(raw, where=str(self.head), fix=fix)

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise refusal(error, path, "read") from None

    def _write_draft(self, head: Head) -> None:
        _write(self._draft, head.model_dump_json().encode(), at=0)

    def _replace_head(self) -> None:
        os.replace(self._draft, self.head)
        sync(self.head.parent)

    def _on_disk(self) -> AbstractContextManager[None]:
        return on_disk(self.path, fix="nothing may be asked of the data before it can be")


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
