"""Hidden: where the trials of private selections leave what they make, so that nobody can count them.

What they make lies in folders of mode 0700, two levels deep: who may list only what is outside sees the folder's name,
and neither how many entries it has nor when one was added. The times of what lies outside are those of the beginning.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from privimage.disk import private_folder
from privimage.errors import Damaged
from privimage.stores.file import FileStore
from privimage.stores.store import Artefact, Built, Origin, Store

INTERNAL = "internal"


class HiddenStore(FileStore):
    """A store inside the internal folder of another: it finds what lies there, and puts nothing there.

    All that it keeps is `internal`, also what is public by itself: how much there is follows the number of trials.
    """

    def __init__(self, outer: Store) -> None:
        super().__init__(outer.root / INTERNAL / "drawn")
        self._outer = outer

    def get(self, kind: str, key: str) -> Artefact | None:
        """The artefact, from here or from the store around it; None if neither has it."""
        with suppress(Damaged):  # whoever it belongs to will say so; here it is made again
            found = FileStore(self._outer.root).get(kind, key)  # never from a shelf: what is fetched lies outside then
            if found is not None:
                return found
        return super().get(kind, key)

    def fetch(self, kind: str, key: str, build: Callable[[], Built], *, paid: bool = False) -> tuple[Artefact, Origin]:
        """See Store.fetch."""
        private_folder(self._outer.root / INTERNAL)
        return super().fetch(kind, key, lambda: replace(build(), privacy="internal"), paid=paid)


def level_times(*roots: Path, at: float) -> None:
    """Give everything below `roots` that was changed after `at` that time (seconds since 1970), folders included.

    What lies in an internal folder stays as it is, and so does what others are still writing (names with a dot).
    """
    for path in (found for root in roots for found in _inside_out(root)):
        with suppress(FileNotFoundError):  # somebody else's, and gone meanwhile
            if path.stat(follow_symlinks=False).st_mtime > at:
                os.utime(path, (at, at), follow_symlinks=False)


def _inside_out(root: Path) -> Iterator[Path]:
    """Everything below a folder, then the folder: a change inside would give it a new time."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for path in sorted(root.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir() and not path.is_symlink() and path.name != INTERNAL:
                yield from _inside_out(path)
            else:
                yield path
    yield root
