"""Whether the folders that a sweep names are there: looked at by name only, no image is opened."""

from __future__ import annotations

from pathlib import Path

from privimage.data.config import PublicConfig, SensitiveConfig
from privimage.data.sources.folder import class_folders
from privimage.errors import InputError


def check_root(config: SensitiveConfig | PublicConfig, *, key: str) -> None:
    """Raise InputError naming the key if the root is missing, is no folder, or has no class directories in it."""
    if config.root is None:
        return
    root = Path(config.root).expanduser()
    try:
        if config.name == "folder":
            class_folders(root)
        elif root.exists() and not root.is_dir():
            raise InputError(f"{root}: not a folder")
        elif not root.exists() and not config.download:
            raise InputError(f"{root}: no such folder; put the files of {config.name} there or set `download: true`")
    except OSError as error:
        raise InputError(f"{key}.root: {root}: cannot be read ({error.strerror})") from None
    except InputError as error:
        raise InputError(f"{key}.root: {error}") from None
