"""Slot: one small secret file beside a ledger, read and replaced as a whole by one process at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from privimage import disk
from privimage.bucket import Bucket, conditions_hold
from privimage.disk import exclusive, make_folder, on_disk, refusal


class Slot(Protocol):
    """The bytes of one name."""

    def read(self) -> bytes | None:
        """What is there, or None. Raises InputError if it cannot be read."""
        ...

    def change(self, decide: Callable[[bytes | None], bytes | None]) -> None:
        """Put there what `decide` makes of what is there; None leaves it. Nobody else changes it in between.

        It is kept for good when this returns. `decide` may be called again, if another was faster. Raises InputError if
        it cannot be written.
        """
        ...


class FileSlot:
    """The file `path`, of mode 600. Safe for concurrent processes on one file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """See Slot."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise refusal(error, self.path, "read") from None

    def change(self, decide: Callable[[bytes | None], bytes | None]) -> None:
        """See Slot."""
        with on_disk(self.path):
            make_folder(self.path.parent, mode=0o700)
            with exclusive(self.path.with_suffix(".lock")):
                raw = decide(self.read())
                if raw is None:
                    return
                draft = self.path.with_name(f".{self.path.name}")
                draft.touch(mode=0o600)
                disk.write(draft, raw)
                draft.replace(self.path)
                disk.sync(self.path.parent)


class BucketSlot:
    """The object `name` of a bucket. Nothing of it is kept on this machine: `path` is what messages call it."""

    def __init__(self, path: Path, *, bucket: Bucket, name: str) -> None:
        self.path = path
        self._bucket, self._name = bucket, name

    def read(self) -> bytes | None:
        """See Slot."""
        found = self._bucket.get(self._name)
        return None if found is None else found.raw

    def change(self, decide: Callable[[bytes | None], bytes | None]) -> None:
        """See Slot."""
        conditions_hold(self._bucket.url)
        while True:
            before = self._bucket.get(self._name)
            raw = decide(None if before is None else before.raw)
            if raw is None or self._bucket.swap(self._name, raw, before=before):
                return
