"""Manifest: what an artefact says of itself, bound to its arrays, its place in the store, and what was paid for it.

The seal is the digest of everything else that the manifest says; among that are the kind and the key (its place) and
the digest of the arrays. So a damaged manifest, other arrays, or the folder of another artefact in its place are seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from privimage.errors import Damaged, InputError
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
        manifest = Manifest.model_validate_json(path.read_bytes())
    except GONE:
        raise Damaged(f"{path}: missing") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError:
        raise Damaged(f"{path}: damaged") from None
    if not manifest.intact:
        raise Damaged(f"{path}: damaged")
    if (manifest.kind, manifest.key) != (folder.parent.name, folder.name):
        raise Damaged(f"{path}: is that of another artefact ({manifest.kind}/{manifest.key[:12]})")
    return manifest
