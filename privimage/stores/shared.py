"""SharedStore: the store of a root with a shelf behind it. What may be shown is on both; the rest stays in the root."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from privimage.errors import Damaged
from privimage.stores import manifest as manifests
from privimage.stores.file import ARRAYS, FileStore
from privimage.stores.manifest import Manifest, parse_manifest
from privimage.stores.shelf import Shelf
from privimage.stores.store import Artefact

log = logging.getLogger(__name__)


class SharedStore(FileStore):
    """A FileStore that looks on the shelf for what it does not have, and puts there what is public or released."""

    def __init__(self, root: Path, shelf: Shelf) -> None:
        super().__init__(root)
        self._shelf = shelf

    def get(self, kind: str, key: str) -> Artefact | None:
        """See Store. What is found on the shelf is kept here too; what is damaged there counts as missing."""
        found = super().get(kind, key)
        if found is not None:
            return found
        try:
            manifest, raw = self._fetched(kind, key)
        except Damaged as error:
            log.warning("%s; taken as missing", error)
            return None
        if manifest is None:
            return None
        return self._taken(manifest, raw)

    def find(self, kind: str = "*") -> Iterator[Manifest]:
        """See Store: what is here, then what is on the shelf alone."""
        here = set()
        for manifest in super().find(kind):
            here.add((manifest.kind, manifest.key))
            yield manifest
        for name in self._shelf.find("" if kind == "*" else f"{kind}/"):
            of, key, file = name.split("/")
            if file == manifests.FILE and (of, key) not in here:
                raw = self._shelf.get(name)
                with suppress(Damaged):  # it counts as missing, as in `get`
                    if raw is not None:
                        yield parse_manifest(raw, kind=of, key=key, where=f"{of}/{key} on the shelf")

    def _place(self, manifest: Manifest, raw: bytes) -> None:
        """See FileStore. On the shelf first: what is here is never looked for there, nor put there again."""
        if manifest.privacy != "internal":
            at = f"{manifest.kind}/{manifest.key}"
            self._shelf.put(f"{at}/{ARRAYS}", raw)  # the manifest last: where it is, the arrays are
            self._shelf.put(f"{at}/{manifests.FILE}", manifest.model_dump_json(indent=1).encode())
        super()._place(manifest, raw)

    def _fetched(self, kind: str, key: str) -> tuple[Manifest | None, bytes]:
        """The manifest and the arrays from the shelf. Raises Damaged if they are not what was put under this name."""
        where = f"{kind}/{key} on the shelf"
        head = self._shelf.get(f"{kind}/{key}/{manifests.FILE}")
        if head is None:
            return None, b""
        manifest = parse_manifest(head, kind=kind, key=key, where=where)
        raw = self._shelf.get(f"{kind}/{key}/{ARRAYS}")
        if raw is None or hashlib.sha256(raw).hexdigest() != manifest.sha256 or manifest.privacy == "internal":
            raise Damaged(f"{where}: damaged")
        return manifest, raw
