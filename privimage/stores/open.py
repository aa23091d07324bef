"""The one opener of stores: by the folder of a root, and by the address that stands in it."""

from __future__ import annotations

from pathlib import Path

from privimage.address import ADDRESS, read_address
from privimage.errors import InputError
from privimage.mirror import mirror_of
from privimage.stores.file import FileStore
from privimage.stores.mirrored import MirroredStore
from privimage.stores.shared import SharedStore
from privimage.stores.shelf import STORES, Shelf
from privimage.stores.store import Store


def open_store(folder: Path) -> Store:
    """The store in this folder, with the shelf behind it that its file `address` names, if there is one.

    Below a root that is a bucket, the store is in the bucket.

    Raises InputError, naming the file, for an address that cannot be opened.
    """
    mirror = mirror_of(folder)
    if mirror is not None:
        return MirroredStore(folder, mirror)
    shelf = open_shelf(folder)
    return FileStore(folder) if shelf is None else SharedStore(folder, shelf)


def open_shelf(folder: Path) -> Shelf | None:
    """The shelf that the file `address` in a store's folder names, if there is one. Raises as `open_store`."""
    address = read_address(folder)
    if address is None:
        return None
    try:
        return STORES.load(address.partition("://")[0]).open(address)
    except InputError as error:
        raise InputError(f"{folder / ADDRESS}: {error}") from None
