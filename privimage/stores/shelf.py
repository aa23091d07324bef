"""Shelf: storage that several roots share, behind the store of each. A file of this folder or a package brings one.

A shelf holds bytes by name, and only what may be shown: `SharedStore` never gives it an internal artefact, nor what
an access was begun with. What comes from it is checked for damage, and a released artefact is used only where the
ledger holds its charge; a seal is no signature, so share a shelf with people you trust. Which one a root uses stands
in its store folder, in a file `address`: the URL, whose scheme is the name of the member.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Self

from privimage.doors import Door


class Shelf(ABC):
    """Bytes by name: three parts with slashes between, of letters, digits, '.', '_' and '-'."""

    what: ClassVar[str]

    @classmethod
    @abstractmethod
    def open(cls, address: str) -> Self:
        """The shelf at a URL. Raises InputError, naming it, if there is none or it cannot be used."""

    @abstractmethod
    def get(self, name: str) -> bytes | None:
        """What was put there, or None."""

    @abstractmethod
    def put(self, name: str, raw: bytes) -> None:
        """Put it there: whoever reads sees all of it or nothing. The same name is always given the same meaning."""

    @abstractmethod
    def find(self, prefix: str) -> Iterator[str]:
        """The names that begin so, sorted."""


def _refuses(member: object) -> str | None:
    if not (isinstance(member, type) and issubclass(member, Shelf)):
        return f"a class below privimage.stores.shelf.Shelf is needed, got {member!r:.60}"
    missing = sorted(getattr(member, "__abstractmethods__", ()))
    if missing:
        return f"it has to define {', '.join(missing)}"
    return None if getattr(member, "what", None) else "it has to say `what` it is"


STORES: Door[type[Shelf]] = Door(kind="store", folder="stores", refuses=_refuses)
