"""The arrows: privimage <- cluster <- sweeps, analysis reads records only, and the core runs without Ray."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("privimage", "cluster", "sweeps", "analysis")
MAY_IMPORT = {
    "privimage": {"privimage"},
    "cluster": {"privimage", "cluster", "ray"},
    "sweeps": {"privimage", "cluster", "sweeps", "analysis", "ray"},
    "analysis": {"privimage", "analysis"},
}
ONLY_FOR_COMMANDS = {"sweeps/cli/__init__.py"}  # the command line alone joins sweeps and analysis
PRIVATE = (
    "privimage.data.load",
    "privimage.data.sources.digits",
    "privimage.dpsgd",
    "privimage.semantics",
    "privimage.generators.pretrain",
)


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, package
    return found


def imports(path: Path) -> set[str]:
    """Every module that the file imports, also inside functions and under TYPE_CHECKING, as absolute names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            first = node.args[0] if node.args else None
            assert isinstance(first, ast.Constant) or "methods" in ast.unparse(node), f"{path}: {ast.unparse(node)}"
            if isinstance(first, ast.Constant):
                names.add(str(first.value))
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_one_way(package: str) -> None:
    watched = {*PACKAGES, "ray"}
    for path in files(package):
        wrong = {name for name in imports(path) if name.split(".")[0] in watched - MAY_IMPORT[package]}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_only_the_command_line_joins_sweeps_and_analysis() -> None:
    joins = {
        str(path.relative_to(ROOT))
        for path in files("sweeps")
        if any(name.split(".")[0] == "analysis" for name in imports(path))
    }
    assert joins <= ONLY_FOR_COMMANDS


def test_analysis_never_touches_sensitive_data() -> None:
    for path in files("analysis"):
        wrong = {name for name in imports(path) if name.startswith(PRIVATE) or name.split(".")[-1] == "load_sensitive"}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_the_core_and_the_analysis_import_without_ray() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("privimage", "analysis")
        for path in files(package)
    ]
    code = (
        "import sys, importlib\n"
        "for name in ('ray', 'cluster', 'sweeps'): sys.modules[name] = None\n"  # importing them raises ImportError
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(sum(name.startswith('privimage') for name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 30


def test_the_reader_of_imports_sees_what_is_hidden(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "from a import b\ndef f():\n    import ray.tune as t\n    __import__('cluster.cache')\n"
        "if 0:\n    from sweeps.run import go\n"
    )
    assert {"a", "a.b", "ray.tune", "cluster.cache", "sweeps.run", "sweeps.run.go"} == imports(path)
