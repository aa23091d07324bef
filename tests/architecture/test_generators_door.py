"""The door of generators: outside of their folder nothing names a family or a size."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from privimage.generators import sizes

ROOT = Path(__file__).parents[2]
PACKAGES = ("privimage", "cluster", "sweeps", "analysis")
FOLDER = ROOT / "privimage" / "generators"
PROTOCOL = {
    "anchors",
    "codec",
    "config",
    "descent",
    "feed",
    "generator",
    "pretrain",
    "sampler",
    "sizes",
}  # what others may import of the folder
FAMILIES = {path.stem for path in FOLDER.glob("*.py")} - PROTOCOL - {"__init__"}


def named(text: str) -> set[str]:
    """The sizes in string constants, and the files of families that are imported."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {size for size in sizes.DOOR.names() if size in node.value}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            found |= {name for name in FAMILIES if f"privimage.generators.{name}" in names}
        elif isinstance(node, ast.Import):
            found |= {name for name in FAMILIES if f"privimage.generators.{name}" in {a.name for a in node.names}}
    return found


def test_nothing_outside_names_a_size_or_a_family() -> None:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if not path.is_relative_to(FOLDER):
                assert not named(path.read_text(encoding="utf-8")), path.relative_to(ROOT)


@pytest.mark.parametrize(
    "text",
    [
        "if size == 'unet-xs':\n    pass",
        "DEFAULT = 'dct-mlp-512'",
        "from privimage.generators.diffusion import Diffusion",
        "from privimage.generators import unet",
        "def f():\n    import privimage.generators.dct_mlp",
    ],
)
def test_that_is_seen(text: str) -> None:
    assert len(named(text)) == 1


def test_files_of_the_protocol_name_none_but_the_defaults() -> None:
    """Beside families there is the protocol; what it trains and samples is a Generator, whichever."""
    for name in PROTOCOL - {"sizes"}:
        assert not named((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    defaults = {sizes.ONE_STEP, sizes.FEW_KINDS, *sizes.DEFAULTS.values()}
    assert named((FOLDER / "sizes.py").read_text(encoding="utf-8")) == defaults
