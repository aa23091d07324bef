"""Packages of somebody's own, as pip leaves them."""

from __future__ import annotations

from pathlib import Path

import pytest


def install(folder: Path, text: str, patch: pytest.MonkeyPatch, *, name: str = "mean") -> None:
    """A package with one method: a module, and beside it what the package says of itself."""
    folder.mkdir()
    (folder / f"{name}_method.py").write_text(text)
    about = folder / f"{name}_method-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-method\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text(f"[privimage.methods]\n{name} = {name}_method:{name}\n")
    patch.syspath_prepend(str(folder))
