"""What a sweep runs on, and nothing else needs: the extra `privimage[sweep]`."""

from __future__ import annotations

from importlib.util import find_spec

from privimage.errors import InputError

PACKAGES = ("ray", "optuna")


def check_installed() -> None:
    """Raise InputError if a package is missing that a sweep runs on."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{' and '.join(missing)}: not installed, and a sweep runs on it; pip install 'privimage[sweep]'"
        )
