"""A tuning mode is told by its own files: no other asks which mode a sweep or a run is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import privimage

ROOT = Path(privimage.__file__).parents[1]
MODES = {"explore", "select", "public"}
CLASSES = {"Explore", "Select", "Public"}
OWNERS = ("sweeps/modes/", "analysis/modes/", "privimage/privacy/modes.py")
DEFAULT = {("sweeps/sweep.py", "Explore")}  # the mode of a sweep that names none


def asks(source: str) -> list[str]:
    """Where this source would go another way in another mode."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare() if any(map(_is_mode, (node.left, *node.comparators))):
                found.append(ast.unparse(node))
            case ast.Subscript(slice=index) | ast.Call(func=ast.Attribute(attr="get"), args=[index, *_]) if _is_mode(
                index
            ):
                found.append(ast.unparse(node))
            case ast.Match(subject=subject) if _is_mode(subject):
                found.append(ast.unparse(subject))
            case ast.Dict(keys=keys) if {getattr(key, "value", None) for key in keys} & (MODES - {"public"}):
                found.append(ast.unparse(node))
            case ast.ImportFrom(names=names):
                found += [alias.name for alias in names if alias.name in CLASSES]
    return found


def _is_mode(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "mode" and _of(node.value) != "image"


def _of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def test_no_other_file_asks_for_the_mode() -> None:
    found = {
        (path, said)
        for folder in ("privimage", "cluster", "sweeps", "analysis")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if not (path := str(file.relative_to(ROOT))).startswith(OWNERS)
        for said in asks(file.read_text(encoding="utf-8"))
    }
    meanings = {
        ("privimage/privacy/guarantee.py", "MEANINGS[bill.mode]"),
        ("analysis/facts.py", "SAID[self.bill.mode]"),
    }
    assert found == DEFAULT | meanings


@pytest.mark.parametrize(
    "source",
    [
        'if found.mode == "select": pass',
        'x = ENDS.get(found.mode, "")',
        "x = RULES[sweep.tuning.mode]",
        'match sweep.tuning.mode:\n    case "public": pass',
        'ONE = {"select": 1}',
        "from privimage.sweeps.modes.select import Select",
    ],
)
def test_it_would_be_seen(source: str) -> None:
    assert asks(source)
