"""Tar files: what a damaged one is known by."""

from __future__ import annotations

import tarfile
from pathlib import Path

from privimage.errors import InputError

# What tarfile raises of one, beside its own errors: numbers in a header that are none, lengths of one that is cut or
# that no memory is for, headers of headers without end. InputError is a ValueError: let it through before.
DAMAGED_TAR = (tarfile.TarError, OSError, EOFError, ValueError, IndexError, OverflowError, MemoryError, RecursionError)
END = bytes(tarfile.BLOCKSIZE)


def refused(error: BaseException) -> bool:
    """Whether the system would not read it, which is no damage: errors of tarfile's own have no number."""
    return isinstance(error, OSError) and error.errno is not None


def must_end(tar: tarfile.TarFile, path: Path) -> None:
    """Raise InputError if a tar file, all members of which were read, does not end where tarfile saw no more of them.

    It takes a file that was cut between two members, and one with a damaged header behind them, for one that has ended.
    """
    if tar.fileobj is not None:
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != END:
            raise InputError(f"{path}: cut off, or damaged: no end after {len(tar.getmembers())} members; get it whole")
