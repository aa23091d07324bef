"""Store: where the artefacts of a root are kept, each with its privacy class, and what an unfinished access needs.

An artefact is named arrays with a manifest, under its kind and the digest of everything that determines it: a hit is
the answer, and nothing needs to be invalidated. `public` and `released` artefacts may be shared and shown; `internal`
ones, and what an access was begun with, never leave the folder `root`, whatever else the store is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.receipt import Receipt
from privimage.stores.manifest import Manifest, PrivacyClass

Arrays = Mapping[str, NDArray[Any]]
Origin = Literal["hit", "built", "joined"]  # from the cache; built here; waited for another that was building it


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """Arrays with their manifest. Treat the arrays as read-only: they may be shared between trials."""

    manifest: Manifest
    arrays: Arrays


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a builder returns: the arrays and what to remember with them; `receipts` of what was paid for them."""

    arrays: Arrays
    privacy: PrivacyClass
    events: tuple[Event, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    meta: Mapping[str, Any] | None = None


class Cache(Protocol):
    """Where stages look before they compute: the Store itself, or the cluster's shared cache in front of it."""

    def fetch(self, kind: str, key: str, build: Callable[[], Built], *, paid: bool = False) -> tuple[Artefact, Origin]:
        """The artefact of this key, and whether it was found, built by this call, or built by another meanwhile.

        `paid` says that privacy is paid for it: where it is damaged, LostAnswer is raised. Others are built again.
        """
        ...


class Store(Cache, Protocol):
    """What every store does; `privimage.stores.open_store` opens the one of a root."""

    @property
    def root(self) -> Path:
        """The local folder."""
        ...

    def folder(self, kind: str, key: str) -> Path:
        """The local folder of an artefact, whether or not it exists."""
        ...

    def get(self, kind: str, key: str) -> Artefact | None:
        """The artefact, or None if it is not there. Raises Damaged, or InputError if it cannot be read."""
        ...

    def find(self, kind: str = "*") -> Iterator[Manifest]:
        """The manifests of all artefacts of a kind (or of all). Raises as `get` does."""
        ...

    def put(self, kind: str, key: str, built: Built) -> Artefact:
        """The stored artefact. If this key was stored before, the earlier one stays and is returned."""
        ...

    def entropy(self, name: str) -> Entropy:
        """256 bits from the operating system, drawn once for an access and kept until `forget`."""
        ...

    def has_entropy(self, name: str) -> bool:
        """Whether an access of that name was begun and not finished."""
        ...

    def keep(self, name: str, raw: bytes) -> None:
        """Keep the checkpoint of an unfinished stage until `forget`."""
        ...

    def kept(self, name: str) -> bytes | None:
        """What `keep` wrote last, or None."""
        ...

    def forget(self, name: str) -> None:
        """Remove what an access was begun with: once its answer is stored, nobody may take its noise off."""
        ...

    def tidy(self) -> int:
        """How many leftovers of killed writers were removed."""
        ...
