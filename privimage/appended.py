"""Appended: what was added to a file of lines since it was last looked at, so that nobody reads a line twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


class Appended:
    """The whole lines of the file `path`, to which lines are only added, each given once.

    It begins anew with the first line where it cannot go on: where the file is another one (`lines.heal` puts one in
    its place), is shorter than what was read of it, or has something else where the line stood that was read last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.forget()

    def forget(self) -> None:
        """Begin anew at the next look."""
        self._file: tuple[int, int] | None = None  # device and inode
        self._end, self._last = 0, b""  # of what was read: where it ends, and its last line

    def read(self) -> tuple[bool, list[bytes]]:
        """(whether it begins anew, the lines since the last look without their ends).

        A last line without its end is still being written, or was cut, and is left out. Raises OSError.
        """
        with self.path.open("rb") as file:
            begins = not self._goes_on(file)
            if begins:
                self.forget()
            stat = os.fstat(file.fileno())
            self._file = stat.st_dev, stat.st_ino
            file.seek(self._end)
            raw = file.read()
        whole = raw[: raw.rfind(b"\n") + 1]
        found = whole.splitlines(keepends=True)
        if found:
            self._end, self._last = self._end + len(whole), found[-1]
        return begins, [line.rstrip(b"\r\n") for line in found]

    def _goes_on(self, file: BinaryIO) -> bool:
        stat = os.fstat(file.fileno())
        if self._file != (stat.st_dev, stat.st_ino) or stat.st_size < self._end:
            return False
        file.seek(self._end - len(self._last))
        return file.read(len(self._last)) == self._last
