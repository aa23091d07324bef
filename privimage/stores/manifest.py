"""Manifest: what an artefact says of itself, bound to its arrays, its place in the store, and what was paid for it.

The seal is the digest of everything else that the manifest says; among that are the kind and the key (its place) and
the digest of the arrays. So a damaged manifest, other arrays, or the folder of another artefact in its place are seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from privimage.disk import refusal
from privimage.errors import Damaged
from privimage.privacy.budget import Event
from privimage.privacy.receipt import Receipt
from privimage.schema import Frozen, digest

PrivacyClass = Literal["public", "released", "internal"]
FILE = "manifest.json"
GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)  # no file of that name is there


class Manifest(Frozen):
    """What an artefact is: kind, key, privacy class, the events behind it, its receipts, meta data, content hash."""

    kind: str
    key: str
    privacy: PrivacyClass
    events: tuple[Event, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    meta: dict[str, Any] = Field(default_factory=dict)
    sha256: str
    bytes: int
    seal: str = ""

    @property
    def paid(self) -> bool:
        """Whether privacy was paid for it, as far as it says."""
        return bool(self.events or self.receipts) or self.privacy != "public"

    def sealed(self) -> Self:
        """The same with its seal."""
        return self.model_copy(update={"seal": self._seal()})

    @property
    def intact(self) -> bool:
        """Whether the seal fits what the manifest says."""
        return self.seal == self._seal()

    def _seal(self) -> str:
        return digest(self.model_dump(mode="json", exclude={"seal"}))


def read_manifest(folder: Path) -> Manifest:
    """The manifest in the folder of an artefact, `.../KIND/KEY`.

    Raises Damaged if it is missing, not intact, or that of another artefact; InputError if it cannot be read.
    """
    path = folder / FILE
    try:
        raw = path.read_bytes()
    except GONE:
        raise Damaged(f"{path}: missing") from None
    except OSError as error:
        raise refusal(error, path, "read") from None
    return parse_manifest(raw, kind=folder.parent.name, key=folder.name, where=str(path))


def parse_manifest(raw: bytes, *, kind: str, key: str, where: str) -> Manifest:
    """The manifest of that artefact. Raises Damaged, naming `where`, if it is not intact, or that of another one."""
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValueError:
        raise Damaged(f"{where}: damaged") from None
    if not manifest.intact:
        raise Damaged(f"{where}: damaged")
    if (manifest.kind, manifest.key) != (kind, key):
        raise Damaged(f"{where}: is that of another artefact ({manifest.kind}/{manifest.key[:12]})")
    return manifest
