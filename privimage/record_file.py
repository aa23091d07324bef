"""RecordFile: the records of a run while they come. All that ask in one process share it, so each line is parsed once.

A sweep looks at its records every second, and before and after every trial. `record.load` reads all of a file anew.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from threading import Lock

from privimage import lines
from privimage.appended import Appended
from privimage.disk import refusal
from privimage.record import READ, Record, load, parsed

ID = re.compile(rb'\{"id":"([^"\\]*)"')  # what a record begins with: to find one, no other is parsed


class RecordFile:
    """The records in the file `path` as of the last look. Safe for several threads.

    What a line that was read earlier has become on the disk since is not seen: `record.load`, and so the next command,
    sees it. While a line is known to be damaged, every look reads all of the file.
    """

    def __init__(self, path: Path) -> None:
        self._added, self._lock = Appended(path), Lock()
        self._begin()

    def all(self) -> list[Record]:
        """All records, oldest first, one an id; none where there is no file yet. Raises as `record.load` else."""
        with self._lock:
            self._look()
            if self._damaged:
                return load(self._added.path)  # it says which line
            return [self._record(id) for id in self._texts]

    def find(self, id: str) -> Record | None:
        """The record of that id, or None. No other one is parsed, and a damaged line is none. Raises InputError."""
        with self._lock:
            self._look()
            return self._record(id) if id in self._texts else None

    def _begin(self) -> None:
        self._count = 0
        self._damaged = False
        self._texts: dict[str | int, tuple[int, bytes]] = {}  # id (its number, if it is no record) -> number, JSON
        self._records: dict[str | int, Record] = {}  # those that were asked for

    def _look(self) -> None:
        try:
            begins, found = self._added.read()
            if begins:
                self._begin()
            for line in found:
                self._take(line)
        except FileNotFoundError:
            self._begin()
        except OSError as error:
            raise refusal(error, self._added.path, "read", fix=READ) from None
        except BaseException:  # interrupted: what was read and not taken is read again
            self._added.forget()
            raise
        if self._damaged:
            self._added.forget()

    def _take(self, line: bytes) -> None:
        number, text = self._count, lines.parse(line)
        self._count += 1
        if text is None:
            self._damaged = True
            return
        begin = ID.match(text)
        id = begin[1].decode() if begin else number
        self._texts[id] = number, text
        self._records.pop(id, None)

    def _record(self, id: str | int) -> Record:
        if id not in self._records:
            number, text = self._texts[id]
            self._records[id] = parsed(text, path=self._added.path, number=number)
        return self._records[id]


@cache
def record_file(path: Path) -> RecordFile:
    """The one of this process."""
    return RecordFile(path)


def so_far(path: Path) -> list[Record]:
    """As `record.load`; none where no trial has ended yet, so that there is no file."""
    return record_file(path).all()


def find(path: Path, id: str) -> Record | None:
    """The last record of that id, or None where its trial has not ended."""
    return record_file(path).find(id)
