"""FileStore: the content-addressed folder of artefacts, each with its privacy class. Single flight across processes.

An artefact is named arrays plus a manifest, at `artefacts/<kind>/<key>/`, where the key is the digest of everything
that determines it (so a hit is the answer, and a cache needs no invalidation). Written to a temporary folder and
renamed, so that a reader sees all of it or nothing. `public` and `released` artefacts may be shared and shown;
`internal` ones never leave the folder.

The store never removes an artefact. What is damaged is moved to `damaged/` and computed again where that is free;
where it may have been paid for it stays where it is, and nothing is asked.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from privimage import disk
from privimage.disk import exclusive, make_folder, on_disk, refusal, sync
from privimage.errors import Damaged, InputError, LostAnswer
from privimage.finite import diverged, is_finite
from privimage.stores import manifest as manifests
from privimage.stores.manifest import Manifest, read_manifest
from privimage.stores.store import Artefact, Built, Origin
from privimage.stores.unfinished import Unfinished

ARRAYS = "arrays.safetensors"
DRAFT = ".draft-"

log = logging.getLogger(__name__)


class FileStore(Unfinished):
    """The artefacts under the folder `root`; see Store for what each method does."""

    copies: ClassVar[bool] = False  # whether what lies here is a copy of what lies elsewhere

    def is_replaceable(self, manifest: Manifest) -> bool:
        """Whether an artefact can be had again if it goes from here: by making it, at no cost in privacy."""
        return not manifest.paid

    def folder(self, kind: str, key: str) -> Path:
        """The folder of an artefact, whether or not it exists."""
        return self.root / "artefacts" / kind / key

    def get(self, kind: str, key: str) -> Artefact | None:
        """The artefact, or None if it is not there. Writes nothing.

        Raises Damaged if it is not what was stored under this name, InputError if it cannot be read.
        """
        folder = self.folder(kind, key)
        if not os.path.lexists(folder):
            return None
        manifest, path = read_manifest(folder), folder / ARRAYS
        try:
            raw = path.read_bytes()
        except manifests.GONE:
            raise Damaged(f"{path}: missing") from None
        except OSError as error:
            raise refusal(error, path, "read") from None
        if hashlib.sha256(raw).hexdigest() != manifest.sha256:
            raise Damaged(f"{path}: damaged")
        try:
            return Artefact(manifest=manifest, arrays=load_safetensors(raw))
        except SafetensorError:
            raise Damaged(f"{path}: unreadable") from None

    def find(self, kind: str = "*") -> Iterator[Manifest]:
        """The manifests of all artefacts of a kind (or of all), in order of their names. Raises as `get` does."""
        for folder in sorted((self.root / "artefacts").glob(f"{kind}/[!.]*")):
            yield read_manifest(folder)

    def put(self, kind: str, key: str, built: Built) -> Artefact:
        """The stored artefact. If this key was stored before, the earlier one stays and is returned."""
        return self.fetch(kind, key, lambda: built)[0]

    def fetch(self, kind: str, key: str, build: Callable[[], Built], *, paid: bool = False) -> tuple[Artefact, Origin]:
        """See Cache.fetch. Processes that share this folder take turns on a file lock: one builds, the others wait."""
        with suppress(Damaged):  # judged below, where nobody else is at it
            found = self.get(kind, key)
            if found is not None:
                return found, "hit"
        with self._locked(kind, key):
            found = self._usable(kind, key, paid=paid)
            if found is not None:
                return found, "joined"
            return self._write(kind, key, build()), "built"

    def _usable(self, kind: str, key: str, *, paid: bool) -> Artefact | None:
        """As `get`; a damaged artefact that is free to compute again is moved out of the way."""
        try:
            return self.get(kind, key)
        except Damaged as error:
            if paid:
                raise LostAnswer(
                    f"{error}; it may have been paid for and is never asked again; "
                    "restore it from a backup of the store"
                ) from None
            log.warning("%s; kept under %s, and computed again", error, self._set_aside(kind, key))
            return None

    def _set_aside(self, kind: str, key: str) -> Path:
        aside = self.root / "damaged"
        with on_disk(aside):
            make_folder(aside, mode=0o700)
            place = Path(tempfile.mkdtemp(dir=aside, prefix=f"{kind}-{key[:32]}-"))
            os.replace(self.folder(kind, key), place / "artefact")
        return place

    def _write(self, kind: str, key: str, built: Built) -> Artefact:
        if not is_finite(built.arrays):
            raise diverged(kind)
        raw = save_safetensors({name: np.asarray(array, order="C") for name, array in built.arrays.items()})
        manifest = Manifest(
            kind=kind,
            key=key,
            privacy=built.privacy,
            events=built.events,
            receipts=built.receipts,
            meta=dict(built.meta or {}),
            sha256=hashlib.sha256(raw).hexdigest(),
            bytes=len(raw),
        ).sealed()
        self._place(manifest, raw)
        return Artefact(manifest=manifest, arrays=dict(built.arrays))

    def _place(self, manifest: Manifest, raw: bytes) -> None:
        """Write an artefact: all of it or nothing. One that is there already stays."""
        folder = self.folder(manifest.kind, manifest.key)
        with on_disk(folder):
            make_folder(folder.parent)
            draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{DRAFT}{_short(manifest.key)}-"))
            try:
                disk.write(draft / ARRAYS, raw)
                disk.write(draft / manifests.FILE, manifest.model_dump_json(indent=1).encode())
                sync(draft)
                os.rename(draft, folder)
                sync(folder.parent)
            except OSError:
                shutil.rmtree(draft, ignore_errors=True)
                raise

    def _taken(self, manifest: Manifest, raw: bytes) -> Artefact | None:
        """The artefact that was fetched from elsewhere, placed in this folder, or by a process that was faster."""
        try:
            FileStore._place(self, manifest, raw)  # here alone: it is where it comes from
        except InputError:
            if not self.folder(manifest.kind, manifest.key).exists():
                raise
        return FileStore.get(self, manifest.kind, manifest.key)

    @contextmanager
    def _locked(self, kind: str, key: str) -> Iterator[None]:
        lock = self.lock_of(kind, key)
        with ExitStack() as held:
            with on_disk(lock):
                lock.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(exclusive(lock))
            yield

    def lock_of(self, kind: str, key: str) -> Path:
        """The lock under which an artefact is made, and may go."""
        return self.root / "locks" / f"{kind}-{_short(key)}.lock"

    def tidy(self) -> int:
        """How many drafts of killed writers were removed. Never one whose writer may live: it holds a lock.

        What an access was begun with goes too where its answer is stored: with it the noise could be taken off.
        """
        removed = 0
        for draft in (self.root / "artefacts").glob(f"*/{DRAFT}*"):
            kind, key = draft.parent.name, draft.name.removeprefix(DRAFT).rpartition("-")[0]
            with suppress(OSError), exclusive(self.lock_of(kind, key), wait=False) as alone:
                if alone:
                    shutil.rmtree(draft)
                    removed += 1
        for seed in (self.root / "internal").glob("*.seed"):  # of an answer that was stored, or of one that was begun
            kind, _, key = seed.stem.rpartition("-")
            with suppress(OSError, InputError), exclusive(self.lock_of(kind, key), wait=False) as alone:
                if alone and self.get(kind, key) is not None:
                    self.forget(seed.stem)
        for lock in (self.root / "locks").glob("*.lock"):
            with suppress(OSError), exclusive(lock, wait=False):
                pass  # its name goes with it
        return removed + self.tidy_internal()


def _short(key: str) -> str:
    return key[:32]
