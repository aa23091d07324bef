"""Unfinished: what an access that was begun keeps until it ends, so that a killed one goes on as it was.

Its entropy, which keys the noise, and its checkpoint. Both are `internal` (mode 600) and go once the answer is stored.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from privimage import disk
from privimage.disk import make_folder, on_disk, sync
from privimage.privacy.entropy import Entropy

IDLE_SECONDS = 3600.0  # a small draft that nobody touched for so long is a dead writer's


class Unfinished:
    """The unfinished accesses under `root/internal`, by name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def entropy(self, name: str) -> Entropy:
        """256 bits from the operating system, drawn once for `name` and kept until `forget`.

        They key the noise of one private access. Kept on disk (`internal`, mode 600) before the access is charged,
        so that an access that was killed is finished with the same noise instead of being asked again.
        """
        path = self._entropy_path(name)
        with on_disk(path):
            make_folder(path.parent, mode=0o700)
            if path.exists() and self._drawn(name) is None:  # damaged from outside: nothing was asked with less
                path.unlink()
            if not path.exists():
                self._draw(name)
            sync(path.parent)  # before the charge is: an access that is charged can always be finished
            drawn = self._drawn(name)
        return self.entropy(name) if drawn is None else drawn

    def _draw(self, name: str) -> None:
        path = self._entropy_path(name)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{name}.")  # mode 600
        os.close(handle)
        try:
            disk.write(Path(draft), seed_text(Entropy.fresh()))
            with suppress(FileExistsError):
                os.link(draft, path)  # whole or not at all, and the first one stays
        finally:
            os.unlink(draft)

    def _drawn(self, name: str) -> Entropy | None:
        """The entropy that was drawn for `name`; None if there is none or its file is damaged."""
        try:
            return read_seed(self._entropy_path(name).read_bytes())
        except FileNotFoundError:
            return None

    def has_entropy(self, name: str) -> bool:
        """Whether an access of that name was begun and not finished, and what it was begun with is whole."""
        return self._drawn(name) is not None

    def keep(self, name: str, raw: bytes) -> None:
        """Keep the checkpoint of the unfinished stage `name` until `forget`, in place of the one before it.

        Written whole or not at all, `internal` (mode 600). Only the builder of a stage writes, so there is one draft.
        """
        path = self._checkpoint_path(name)
        draft = path.parent / f".{path.name}"
        with on_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.touch(mode=0o600)
            disk.write(draft, raw)
            os.replace(draft, path)

    def kept(self, name: str) -> bytes | None:
        """What `keep` wrote last, or None. It may have been damaged since."""
        try:
            return self._checkpoint_path(name).read_bytes()
        except FileNotFoundError:
            return None

    def forget(self, name: str) -> None:
        """Remove the entropy and the checkpoint of `name`, and drafts of them that a killed process left.

        Once the answer is stored, nobody may be able to subtract its noise.
        """
        drafts = (self.root / "internal").glob(f".{name}.*")
        for path in (self._entropy_path(name), self._checkpoint_path(name), *drafts):
            if path.exists():  # asked first: a store that is only read may hold nothing of it
                with on_disk(path):
                    path.unlink(missing_ok=True)

    def _entropy_path(self, name: str) -> Path:
        return self.root / "internal" / f"{name}.seed"

    def _checkpoint_path(self, name: str) -> Path:
        return self.root / "internal" / f"{name}.checkpoint"

    def tidy_internal(self) -> int:
        """How many drafts were removed: those that nobody touched for an hour."""
        removed = 0
        for draft in (self.root / "internal").glob(".*"):
            with suppress(OSError):
                if time.time() - draft.stat().st_mtime > IDLE_SECONDS:
                    draft.unlink()
                    removed += 1
        return removed


def seed_text(entropy: Entropy) -> bytes:
    """What the file of a seed holds: the bits, and a check of them."""
    drawn = entropy.raw.hex()
    return f"{drawn} {_check(drawn)}".encode()


def read_seed(raw: bytes) -> Entropy | None:
    """The entropy in the file of a seed; None if it is damaged."""
    try:
        drawn, _, check = raw.decode("ascii").partition(" ")
    except UnicodeDecodeError:
        return None
    return Entropy(bytes.fromhex(drawn)) if check == _check(drawn) else None


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
