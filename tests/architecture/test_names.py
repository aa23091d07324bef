"""Same word, same thing: no two classes or types of the packages have one name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import privimage

ROOT = Path(privimage.__file__).parents[1]
ALIKE = {
    "Array",  # of floats, in whatever counts privacy
    "Arrays",  # by name: the store's, and a metric's, which knows no store
    "Part",  # of a set: its own word, and that of a look, which data know nothing of
}


def named(source: str) -> Iterator[str]:
    """Public classes, and names that stand for a type, at the top of a file."""
    for node in ast.parse(source).body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) if name[0].isupper() and not name.isupper():
                yield name


def twice(files: dict[str, str]) -> dict[str, list[str]]:
    """Names that more than one file gives to something of its own, those of ALIKE too."""
    owners = defaultdict(list)
    for path, source in files.items():
        for name in named(source):
            owners[name].append(path)
    return {name: paths for name, paths in owners.items() if len(paths) > 1}


def test_a_name_is_given_once_but_for_those_alike() -> None:
    folders = ("privimage", "cluster", "sweeps", "analysis")
    files = {str(f): f.read_text(encoding="utf-8") for folder in folders for f in (ROOT / folder).rglob("*.py")}
    assert len(files) > 200
    found = twice(files)
    assert found.keys() == ALIKE, f"{sorted(found.keys() ^ ALIKE)}: {found}"


def test_a_second_one_would_be_seen() -> None:
    files = {"a.py": "class Row: ...", "b.py": "class Row: ...", "c.py": "from a import Row\nLoss = float\nLIMIT = 3"}
    assert twice(files) == {"Row": ["a.py", "b.py"]}
    assert twice({"a.py": "Loss = float", "b.py": "class Loss: ..."}).keys() == {"Loss"}
