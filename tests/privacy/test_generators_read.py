"""No private number follows from a generator of torch, numpy or Python: the whole code is read for the names of such.

Beside `test_generators`, which runs what draws.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from public_draws import PUBLIC, ROOT

LIBRARIES = ("torch", "opacus", "numpy", "sklearn", "scipy", "optuna")
SOURCES = {
    *("default_rng", "RandomState", "SeedSequence", "manual_seed", "fork_rng", "randn", "randn_like", "rand_like"),
    *("randint", "randperm", "bernoulli", "multinomial", "Generator", "dropout", "Dropout", "normal_", "uniform_"),
    *("TPESampler", "RandomSampler", "random_state", "get_rng_state", "set_rng_state", "default_generator", "shuffle"),
}
MODULES = ("random", "np.random", "numpy.random", "torch.random")


def sources(path: Path) -> set[str]:
    """The functions (innermost, or the class of a method that is one line of a class) that name a source."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()

    def visit(node: ast.AST, where: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = child.name if isinstance(child, ast.FunctionDef) else where
            if isinstance(child, ast.ClassDef) and child.name == "Seeded":
                inner = child.name
            if isinstance(child, ast.Attribute):
                dotted = ast.unparse(child)
                owner = ast.unparse(child.value)
                torchs = owner == "torch" and child.attr in {"rand", "normal"}
                if (
                    torchs
                    or dotted in MODULES
                    or (child.attr in SOURCES and owner.split(".")[0] in ("torch", "np", "optuna", "functional", "nn"))
                ):
                    found.add(where)
            names = {alias.name for alias in child.names} if isinstance(child, ast.Import | ast.ImportFrom) else set()
            module = (child.module or "") if isinstance(child, ast.ImportFrom) else ""
            if {"random", "numpy.random"} & {*names, module} or (names & SOURCES and module.split(".")[0] in LIBRARIES):
                found.add(where)
            if isinstance(child, ast.keyword) and child.arg == "random_state":
                found.add(where)
            visit(child, where if inner == where or where == "Seeded" else inner)

    visit(tree, "")
    return found


def test_only_public_places_name_a_generator() -> None:
    found = set()
    for package in ("privimage", "cluster", "sweeps", "analysis"):
        for path in sorted((ROOT / package).rglob("*.py")):
            file = str(path.relative_to(ROOT))
            found |= {file if file in PUBLIC else f"{file}:{where}" for where in sources(path)}
    assert found - {*PUBLIC} == set(), "is it public? then say here what it makes; else draw from a stream"
    assert {*PUBLIC} - found == set(), "no longer there"


@pytest.mark.parametrize(
    "line",
    [
        "import random",
        "from random import gauss",
        "from numpy.random import default_rng",
        "def f(): return torch.randn(3)",
        "def f(): return np.random.normal()",
        "def f(): return torch.Generator()",
        "def f(): return torch.rand(2)",
        "def f(): return optuna.samplers.RandomSampler(seed=1)",
        "def f(): return functional.dropout(x)",
        "def f(): return Model(random_state=1)",
    ],
)
def test_the_reader_sees_a_source(line: str, tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(line)
    assert sources(path)
