"""A folder as a shelf: file:///path, on a disk that several machines or people mount."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

from privimage import disk
from privimage.disk import make_folder, on_disk
from privimage.errors import InputError
from privimage.stores.manifest import GONE
from privimage.stores.shelf import Shelf


class FileShelf(Shelf):
    """The files below a folder."""

    what: ClassVar[str] = "a folder that several machines mount: file:///path"

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def open(cls, address: str) -> Self:
        """See Shelf. The folder has to be there: a disk that is not mounted is no empty shelf."""
        parts = urlsplit(address)
        root = Path(unquote(parts.path))
        if parts.netloc or not root.is_absolute():
            raise InputError(f"{address}: give an absolute path after three slashes, e.g. file:///mnt/privimage")
        if not root.is_dir():
            raise InputError(f"{address}: no such folder; mount the disk, or make the folder once")
        return cls(root)

    def get(self, name: str) -> bytes | None:
        """See Shelf."""
        path = self._root / name
        with on_disk(path):
            try:
                return path.read_bytes()
            except GONE:
                return None

    def put(self, name: str, raw: bytes) -> None:
        """See Shelf."""
        path = self._root / name
        with on_disk(path):
            make_folder(path.parent)
            handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".draft-")
            os.close(handle)
            try:
                disk.write(Path(draft), raw)
                os.chmod(draft, 0o644)
                os.replace(draft, path)
                disk.sync(path.parent)
            except OSError:
                os.unlink(draft)
                raise

    def find(self, prefix: str) -> Iterator[str]:
        """See Shelf."""
        kind = prefix.partition("/")[0] if "/" in prefix else "*"
        names = (path.relative_to(self._root).as_posix() for path in self._root.glob(f"{kind}/*/[!.]*"))
        yield from sorted(name for name in names if name.startswith(prefix))


MEMBERS = {"file": FileShelf}
