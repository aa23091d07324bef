"""Room: how much the copies in a working folder may take on this machine; what was not used for longest goes."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from pydantic import ByteSize, TypeAdapter, ValidationError

from privimage.errors import InputError
from privimage.stores import inventory
from privimage.stores.file import ARRAYS, FileStore
from privimage.stores.manifest import Manifest

VARIABLE = "PRIVIMAGE_CACHE_SIZE"
SHARE = 0.05  # of the room: when so much was added it is looked whether there is too much, and so much is left free
WHOLE = re.compile(r"\s*([0-9]+|[0-9]*\.[0-9]+)\s*[A-Za-z]*\s*")  # a number and a unit, and nothing more
IN_USE = 60.0  # seconds since its last use in which nothing goes


class Room:
    """Keeps the artefacts of a store below `most` bytes (None: without a limit), whoever added them.

    Several processes may be over it for a moment, by SHARE each.
    """

    def __init__(self, most: int | None) -> None:
        self._most, self._added = most, float("inf")

    @classmethod
    def of_this_machine(cls, root: Path) -> Room:
        """That of PRIVIMAGE_CACHE_SIZE, one a process and folder. Raises InputError if it is no size."""
        return _of(root, os.environ.get(VARIABLE, ""))

    def used(self, store: FileStore, manifest: Manifest) -> None:
        """Take down that an artefact was used now: most file systems note a reading once a day."""
        if self._most is None:
            return
        arrays = store.folder(manifest.kind, manifest.key) / ARRAYS
        with suppress(OSError):  # it went, or belongs to somebody else
            os.utime(arrays, ns=(time.time_ns(), arrays.stat().st_mtime_ns))

    def filled(self, store: FileStore, added: int) -> None:
        """Make room, if there is too little, after so many bytes came to the store."""
        if self._most is None:
            return
        self._added += added
        if self._added < SHARE * self._most:
            return
        self._added = 0
        most = int((1 - SHARE) * self._most)
        inventory.remove(store, inventory.unneeded(store, to=most, before=time.time() - IN_USE))


@cache  # every trial opens the store anew, and each would read all manifests
def _of(root: Path, given: str) -> Room:
    return Room(size(given, named=VARIABLE) if given else None)


def size(text: str, *, named: str) -> int:
    """Bytes. Raises InputError, naming what was given, if the text is no size.

    >>> size("20G", named="--to"), size("1.5MiB", named="--to")
    (20000000000, 1572864)
    """
    try:
        if WHOLE.fullmatch(text):  # pydantic stops at what it does not know: of "20,5G" it reads 20 bytes
            return TypeAdapter(ByteSize).validate_python(text)
    except ValidationError:
        pass
    raise InputError(f"{named}: got '{text}'; expected a size, e.g. 500M, 20G or 20GiB")
