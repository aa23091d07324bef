"""Where a ledger, and what lies beside it, is kept: in its file, or in the bucket that its folder names.

ROOT/ledgers/address may hold the URL of a bucket's folder. All roots that name it have one ledger a sensitive set, and
what an id stands for; whatever machine they are on, no two of them write the same line.
"""

from __future__ import annotations

from pathlib import Path

from privimage.address import ADDRESS, read_address
from privimage.bucket import Bucket
from privimage.errors import InputError
from privimage.privacy.bucket_chain import BucketChain
from privimage.privacy.chain import Chain
from privimage.privacy.file_chain import FileChain
from privimage.privacy.slot import BucketSlot, FileSlot, Slot

INTERNAL = "internal"


def open_chain(path: Path) -> Chain:
    """The chain of a ledger's file. Raises InputError, naming the file `address`, if it cannot be opened."""
    place = shared_place(path)
    return FileChain(path) if place is None else BucketChain(path, bucket=place[0], name=place[1])


def open_slot(path: Path) -> Slot:
    """The slot of a file beside a ledger. Raises as `open_chain`."""
    place = shared_place(path)
    return FileSlot(path) if place is None else BucketSlot(path, bucket=place[0], name=f"{place[1]}{path.suffix}")


def shared_place(path: Path) -> tuple[Bucket, str] | None:
    """The bucket that the folder of the ledgers names, and the name there without a suffix; None if it names none."""
    folder = path.parent.parent if path.parent.name == INTERNAL else path.parent
    address = read_address(folder)
    if address is None:
        return None
    try:
        return Bucket.open(address), path.relative_to(folder).with_suffix("").as_posix()
    except InputError as error:
        raise InputError(f"{folder / ADDRESS}: {error}") from None
