"""The one opener of stores: by the folder of a root, and by the address that stands in it."""

from __future__ import annotations

from pathlib import Path

from privimage.errors import InputError
from privimage.stores.file import FileStore
from privimage.stores.shared import SharedStore
from privimage.stores.shelf import STORES, Shelf
from privimage.stores.store import Store

ADDRESS = "address"  # a file in the folder: the URL of the shelf that the root shares with others


def open_store(folder: Path) -> Store:
    """The store in this folder, with the shelf behind it that its file `address` names, if there is one.

    Raises InputError, naming the file, for an address that cannot be opened.
    """
    shelf = open_shelf(folder)
    return FileStore(folder) if shelf is None else SharedStore(folder, shelf)


def open_shelf(folder: Path) -> Shelf | None:
    """The shelf that the file `address` in a store's folder names, if there is one. Raises as `open_store`."""
    path = folder / ADDRESS
    try:
        address = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read; it should hold one URL, e.g. file:///mnt/privimage") from None
    scheme, mark, _ = address.partition("://")
    if not mark or "\n" in address:
        raise InputError(f"{path}: should hold one URL, e.g. file:///mnt/privimage")
    try:
        return STORES.load(scheme).open(address)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
