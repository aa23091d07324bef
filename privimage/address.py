"""The file `address` in a folder: one URL, of where what the folder is for is shared with others."""

from __future__ import annotations

from pathlib import Path

from privimage.errors import InputError

ADDRESS = "address"


def read_address(folder: Path) -> str | None:
    """The URL; None without such a file. Raises InputError, naming the file, if it holds anything else."""
    path = folder / ADDRESS
    try:
        address = path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read; it should hold one URL, e.g. file:///mnt/privimage") from None
    if "://" not in address or "\n" in address:
        raise InputError(f"{path}: should hold one URL, e.g. file:///mnt/privimage")
    return address
