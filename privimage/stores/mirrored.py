"""MirroredStore: the store of a root that is a bucket. The bucket has all of it; the working folder a copy of some.

An artefact is fetched when it is first asked for. It is put into the bucket before it is placed here, its manifest
last and only where none is: of two machines that built the same one, the first is kept and the other takes it. What an
access was begun with, and its checkpoints, are in the bucket alone, so that any machine goes on with the same noise,
and none keeps a copy that would outlive the answer.

Here the bucket holds internal artefacts too, below `store/internal/`: it has to be as private as the data.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from privimage.bucket import conditions_hold
from privimage.errors import Damaged, InputError, LostAnswer
from privimage.mirror import Mirror
from privimage.privacy.entropy import Entropy
from privimage.stores import manifest as manifests
from privimage.stores.file import FileStore
from privimage.stores.manifest import Manifest, parse_manifest, read_manifest
from privimage.stores.room import Room
from privimage.stores.store import Artefact, Built
from privimage.stores.unfinished import read_seed, seed_text

PLACES = {"public": "artefacts", "released": "artefacts", "internal": "internal/artefacts"}
FOLDERS = tuple(dict.fromkeys(PLACES.values()))

log = logging.getLogger(__name__)


class MirroredStore(FileStore):
    """A FileStore whose folder is a copy of what the bucket of its root has. See Store for what each method does."""

    copies: ClassVar[bool] = True

    def __init__(self, root: Path, mirror: Mirror) -> None:
        super().__init__(root)
        self._bucket, self._prefix = mirror.bucket, mirror.name(root)
        self._room = Room.of_this_machine(root)

    def get(self, kind: str, key: str) -> Artefact | None:
        """See Store. A copy here that is damaged is put aside and fetched anew; Damaged if the bucket has lost it."""
        damaged: Damaged | None = None
        try:
            found = super().get(kind, key)
        except Damaged as error:
            found, damaged = None, error
        if found is not None:
            self._room.used(self, found.manifest)
            return found
        manifest, here = self._manifest(kind, key), self.folder(kind, key).exists()  # else it went meanwhile
        if manifest is None:
            if damaged is not None and here:
                raise damaged
            return None
        if damaged is not None and here:
            log.warning("%s; fetched anew", damaged)
            with suppress(InputError):  # another process was faster
                super()._set_aside(kind, key)
        held = self._bucket.get(self._arrays(manifest))
        if held is None or hashlib.sha256(held.raw).hexdigest() != manifest.sha256:
            raise Damaged(f"{self._bucket.url}/{self._arrays(manifest)}: {'missing' if held is None else 'damaged'}")
        taken = self._taken(manifest, held.raw)
        self._room.filled(self, len(held.raw))
        return taken

    def find(self, kind: str = "*") -> Iterator[Manifest]:
        """See Store: what is here, then what is in the bucket alone, or damaged here, or gone meanwhile."""
        here, damaged = set(), {}
        for folder in sorted((self.root / "artefacts").glob(f"{kind}/[!.]*")):
            try:
                manifest = read_manifest(folder)
            except Damaged as error:
                damaged[folder.parent.name, folder.name] = error
            else:
                here.add((manifest.kind, manifest.key))
                yield manifest
        for place in FOLDERS:
            below = f"{self._prefix}/{place}" if kind == "*" else f"{self._prefix}/{place}/{kind}"
            for name in self._bucket.names(below):
                of, key, file = name.split("/")[-3:]
                if file == manifests.FILE and (of, key) not in here:
                    held = self._bucket.get(name)
                    if held is not None:
                        yield parse_manifest(held.raw, kind=of, key=key, where=f"{self._bucket.url}/{name}")
                        damaged.pop((of, key), None)
        for (of, key), told in damaged.items():
            if self.folder(of, key).exists():
                raise told

    def is_replaceable(self, manifest: Manifest) -> bool:
        """Whether the bucket has all of an artefact: then the copy here may go."""
        try:
            original = self._manifest(manifest.kind, manifest.key)
        except Damaged:
            return False
        if original is None:
            return False
        arrays = self._arrays(original)
        return arrays in self._bucket.names(arrays.rpartition("/")[0])

    def _manifest(self, kind: str, key: str) -> Manifest | None:
        found = self._held(kind, key)
        if found is None:
            return None
        name, raw = found
        return parse_manifest(raw, kind=kind, key=key, where=f"{self._bucket.url}/{name}")

    def _held(self, kind: str, key: str) -> tuple[str, bytes] | None:
        """The manifest in the bucket, by its name there and as it is; None if there is none."""
        for place in FOLDERS:
            name = f"{self._prefix}/{place}/{kind}/{key}/{manifests.FILE}"
            held = self._bucket.get(name)
            if held is not None:
                return name, held.raw
        return None

    def _place(self, manifest: Manifest, raw: bytes) -> None:
        """See FileStore: into the bucket first. Of one that is there already, that one is placed here."""
        conditions_hold(self._bucket.url)
        self._bucket.put(self._arrays(manifest), raw)
        if self._bucket.create(self._head(manifest), manifest.model_dump_json(indent=1).encode()):
            super()._place(manifest, raw)
            self._room.filled(self, len(raw))
        elif self.get(manifest.kind, manifest.key) is None:
            raise Damaged(f"{self._bucket.url}/{self._head(manifest)}: was there, and is gone")

    def _write(self, kind: str, key: str, built: Built) -> Artefact:
        """See FileStore: what is kept, which another machine may have put there first."""
        made, kept = super()._write(kind, key, built), self.get(kind, key)
        return made if kept is None else kept

    def _set_aside(self, kind: str, key: str) -> Path:
        """See FileStore: what is damaged in the bucket, whose manifest goes; its arrays stay. And a copy here."""
        while (found := self._held(kind, key)) is not None:
            name, raw = found
            self._bucket.put(f"{self._prefix}/damaged/{kind}-{key}.json", raw)
            self._bucket.delete(name)
        return super()._set_aside(kind, key) if self.folder(kind, key).exists() else self.root / "damaged"

    def _head(self, manifest: Manifest) -> str:
        return f"{self._prefix}/{PLACES[manifest.privacy]}/{manifest.kind}/{manifest.key}/{manifests.FILE}"

    def _arrays(self, manifest: Manifest) -> str:
        """Named by what they are: a manifest never comes to stand beside the arrays of another build."""
        at = f"{self._prefix}/{PLACES[manifest.privacy]}/{manifest.kind}/{manifest.key}"
        return f"{at}/{manifest.sha256}.safetensors"

    def entropy(self, name: str) -> Entropy:
        """See Store. The first machine that draws it for the name draws it for all."""
        conditions_hold(self._bucket.url)
        self._bucket.create(self._seed(name), seed_text(Entropy.fresh()))
        drawn = self._drawn(name)
        if drawn is None:
            raise LostAnswer(
                f"{self._bucket.url}/{self._seed(name)}: damaged, and the noise of an access may follow from it; "
                "restore it from a backup of the bucket"
            )
        return drawn

    def _drawn(self, name: str) -> Entropy | None:
        held = self._bucket.get(self._seed(name))
        return None if held is None else read_seed(held.raw)

    def keep(self, name: str, raw: bytes) -> None:
        """See Store."""
        self._bucket.put(self._checkpoint(name), raw)

    def kept(self, name: str) -> bytes | None:
        """See Store."""
        held = self._bucket.get(self._checkpoint(name))
        return None if held is None else held.raw

    def forget(self, name: str) -> None:
        """See Store."""
        self._bucket.delete(self._seed(name))
        self._bucket.delete(self._checkpoint(name))

    def tidy(self) -> int:
        """See FileStore. Of an answer that is stored, what its access was begun with goes from the bucket too."""
        for name in self._bucket.names(f"{self._prefix}/internal"):
            stem = name.rpartition("/")[2].removesuffix(".seed")
            kind, _, key = stem.rpartition("-")
            with suppress(Damaged):
                if name == self._seed(stem) and self._manifest(kind, key) is not None:
                    self.forget(stem)
        return super().tidy()

    def _seed(self, name: str) -> str:
        return f"{self._prefix}/internal/{name}.seed"

    def _checkpoint(self, name: str) -> str:
        return f"{self._prefix}/internal/{name}.checkpoint"
