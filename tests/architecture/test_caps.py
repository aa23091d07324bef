"""What is read in one go: how long a file and a function may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE, FUNCTION = 300, 40  # lines, docstrings included
LONGER: dict[str, str] = {}  # what may be longer, a file or file:function, and why


def lengths(path: Path, name: str) -> dict[str, int]:
    """Lines of the file, and of every function in it that is over the cap, by name."""
    text = path.read_text(encoding="utf-8")
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    over = {f"{name}:{f.name}": n for f in functions if (n := (f.end_lineno or 0) - f.lineno + 1) > FUNCTION}
    return over | ({name: n} if (n := len(text.splitlines())) > FILE else {})


@pytest.mark.parametrize("package", ["privimage", "cluster", "sweeps", "analysis"])
def test_files_and_functions_are_short(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    found: dict[str, int] = {}
    for path in paths:
        found |= lengths(path, path.relative_to(ROOT).as_posix())
    assert found.keys() == {name for name in LONGER if name.startswith(f"{package}/")}, found


def test_what_is_longer_is_seen(tmp_path: Path) -> None:
    path, line = tmp_path / "x.py", "        pass\n"
    path.write_text(f"class A:\n    def f(self):\n{line * (FUNCTION - 1)}    async def g(self):\n{line * FUNCTION}")
    assert lengths(path, "x") == {"x:g": FUNCTION + 1}
    path.write_text("a = 1\n" * (FILE + 1))
    assert lengths(path, "x") == {"x": FILE + 1}
