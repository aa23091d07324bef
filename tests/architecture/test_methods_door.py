"""No file outside the folder of methods names one: what a method is, asks and stands for is in its own file."""

from __future__ import annotations

import ast
from pathlib import Path

from privimage.methods.method import METHODS

ROOT = Path(__file__).parents[2]
PACKAGES = ("privimage", "cluster", "sweeps", "analysis")
FOLDER = "privimage/methods/"
WORDS = {"real", "pe"}  # names that are words too: only a text that is nothing else is the name


def naming(path: Path, names: set[str]) -> list[str]:
    """Where a text of the file, in code or in a message, is a method's name or holds one."""
    texts = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant))
    return [
        f"{path.name}:{node.lineno} {node.value[:60]!r}"
        for node in texts
        if isinstance(node.value, str) and (node.value in names or any(name in node.value for name in names - WORDS))
    ]


def test_no_file_outside_the_folder_names_a_method() -> None:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    others = [path for path in files if not str(path.relative_to(ROOT)).startswith(FOLDER)]
    assert len(others) > 100
    assert not [line for path in others for line in naming(path, set(METHODS.names()))]


def test_a_name_is_seen_in_code_and_in_a_message(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text('if method == "real":\n    print("use privimage+d")\nreally = "real images"\n')
    assert [line.split()[0] for line in naming(path, set(METHODS.names()))] == ["x.py:1", "x.py:2"]
