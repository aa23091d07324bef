"""The arrows: privimage <- cluster <- sweeps, analysis reads records only, and the core runs without Ray."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
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
JOINS = ("sweeps/cli/", "sweeps/api.py")  # the command line, and the same for scripts: sweeps and analysis
FRONT = "privimage/__init__.py"  # offers what users import at the root: by name, loaded when it is used (see below)
PRIVATE = (
    "privimage.data.load",
    "privimage.data.sources.digits",
    "privimage.dpsgd",
    "privimage.semantics",
    "privimage.generators.pretrain",
)

# What a folder of the core may import beside itself and TOOLS. The other files beside the folders run a trial: they
# import the folders, and only what is named here imports them.
TOOLS = {
    "appended",
    "address",
    "bucket",
    "device",
    "disk",
    "doors",
    "errors",
    "field_types",
    "finite",
    "lines",
    "local",
    "mirror",
    "paths",
    "plain_json",
    "plain_yaml",
    "processes",
    "progress",
    "pull",
    "schema",
    "text",
}
FOLDERS = {
    "privacy/accounting": {"privacy.budget", "privacy.entropy"},
    "privacy": {"data.sets"},
    "data": set(),
    "stores": {"privacy", "data.sets"},
    "generators": {"checkpoint", "workers", "dpsgd.batch", "recorded"},
    "dpsgd": {"privacy", "data.sets", "generators", "checkpoint", "workers", "recorded"},
    "metrics": {"privacy", "data"},
    "methods": {
        "privacy", "data", "stores", "generators", "dpsgd", "stages", "query", "semantics", "shared_answer",
        "histogram", "means", "matching", "evolution", "exhibit", "nearest", "workers", "metrics.context",
        "metrics.efficientnet", "query_files", "query_network", "query_training",
    },
    "matching": {
        "privacy", "data", "stores", "methods.declared", "methods.context", "query", "semantics", "shared_answer",
        "histogram", "means", "generators", "checkpoint", "metrics.efficientnet", "dpsgd.poisson",
    },
    "evolution": {"privacy", "data", "generators", "means.config", "means.embedding", "means.features"},
    "means": {
        "privacy", "data", "stores", "methods.declared", "methods.context", "query", "semantics", "shared_answer",
        "histogram", "exhibit", "generators.codec", "metrics.features", "metrics.efficientnet",
    },
}  # fmt: skip
ANALYSIS = {"record", "record_file", "reconcile", "privacy", "stores", "metrics.metric"}  # what it reads, and tools
BUNDLES = {"bundle", "export", "synthesise"}  # the files that build a generator again, to draw from it
ANALYSIS_TOO = {**{name: {"generators"} for name in BUNDLES}, "methods": {"methods.method", "methods.resolve"}}


def owner(name: str) -> str:
    """The package that a module belongs to, by the name of its folder."""
    parts = name.split(".")
    return parts[1] if parts[0] == "privimage" and parts[1:] and parts[1] in PACKAGES else parts[0]


def files(package: str) -> list[Path]:
    """All but what stands behind a link: privimage/cluster and the like are the folders beside it."""
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, package
    return found


@cache
def modules() -> dict[str, Path]:
    """Every module of the packages by its name."""
    found = {path: "" if package == "privimage" else "privimage." for package in PACKAGES for path in files(package)}
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found}
    return {(found[path] + name).removesuffix(".__init__"): path for path, name in names.items()}


@cache
def imports(path: Path, *, run: bool = False) -> set[str]:
    """Every module that the file imports, also inside functions and under TYPE_CHECKING, as absolute names.

    `run` leaves out what stands under TYPE_CHECKING.
    """
    names: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in list(ast.walk(tree)):
        if run and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
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
            by_name = path.name == "doors.py" or str(path).endswith(FRONT)  # members, by their names
            assert isinstance(first, ast.Constant) or by_name, f"{path}: {ast.unparse(node)}"
            if isinstance(first, ast.Constant):
                names.add(str(first.value))
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_one_way(package: str) -> None:
    watched = {*PACKAGES, "ray"}
    for path in files(package):
        if str(path).endswith(FRONT):
            continue
        wrong = {name for name in imports(path) if owner(name) in watched - MAY_IMPORT[package]}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def needs(path: Path) -> set[str]:
    """The modules that have to be there before this one; of `from package import module` the module alone."""
    found = imports(path, run=True) & modules().keys()
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def beyond(path: Path, allowed: set[str]) -> set[str]:
    """What the file imports of the core that is not in `allowed`."""
    prefixes = tuple(f"privimage.{name}." for name in allowed | TOOLS)
    core = {name for name in imports(path) if name.startswith("privimage.") and owner(name) == "privimage"}
    return {name for name in core if not f"{name}.".startswith(prefixes)}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folders_of_the_core_know_nothing_of_what_uses_them(folder: str) -> None:
    for path in files(f"privimage/{folder}"):
        inner = folder == "privacy" and "accounting" in path.parts
        wrong = set() if inner else beyond(path, FOLDERS[folder] | {folder.replace("/", ".")})
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_tools_know_nothing_but_tools() -> None:
    for name in TOOLS:
        assert not beyond(ROOT / "privimage" / f"{name}.py", set())


def test_analysis_reads_records_ledgers_and_stores() -> None:
    for path in files("analysis"):
        wrong = beyond(path, ANALYSIS | ANALYSIS_TOO.get(path.stem, set()))
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for types alone are left out: they need no order."""
    graph = {name: needs(path) - {name} for name, path in modules().items()}
    while leaves := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in leaves}
    assert not graph, f"circles among {sorted(graph)}"


def test_the_other_packages_are_imported_by_their_installed_names_alone() -> None:
    """In a user's environment others may own the names cluster, sweeps and analysis."""
    for path in [*(found for package in PACKAGES for found in files(package)), *files("tests")]:
        wrong = {name for name in imports(path) if name.split(".")[0] in PACKAGES[1:]}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_only_what_users_call_joins_sweeps_and_analysis() -> None:
    joins = {
        str(path.relative_to(ROOT))
        for path in files("sweeps")
        if any(owner(name) == "analysis" for name in imports(path))
    }
    assert joins and all(path.startswith(JOINS) for path in joins), joins


def test_analysis_never_touches_sensitive_data() -> None:
    for path in files("analysis"):
        wrong = {name for name in imports(path) if name.startswith(PRIVATE) or name.split(".")[-1] == "load_sensitive"}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def import_without(forbidden: tuple[str, ...], names: list[str]) -> subprocess.CompletedProcess[str]:
    """A process of its own that imports all `names`, where importing what is forbidden raises ImportError."""
    code = (
        "import sys, importlib\n"
        f"for name in {forbidden!r}: sys.modules[name] = None\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)


NO_RELEASE = {  # what takes private images and returns no Release: why that may be
    "data/sets.py:check_apart": "a refusal, and no number",
    "data/sets.py:check_own_test": "a refusal, and no number",
    "dpsgd/sums.py:__init__": "the sums of fine_tune, before their noise",
    "histogram.py:noisy_histogram": "the arrays of a stored answer, whose artefact has the event",
    "matching/sanitized.py:__init__": "discriminators for the steps of train, before their noise",
    "measure.py:_context": "the splits themselves, which are read behind an event or a look only",
    "measure.py:measured": "metrics, each behind a look or with the event of its noise",
    "metrics/classifiers.py:accuracy": "behind a look, or noised by the caller's event",
    "privacy/looks.py:may_read": "the guard itself",
    "run_trial.py:ask": "nothing: the answer is stored, and its artefact has the event",
    "run_trial.py:context_of": "the set itself, for the stages of a method",
    "run_trial.py:run": "a record, with the events of everything in it",
}


def test_what_takes_private_images_returns_a_release() -> None:
    found = {
        f"{path.relative_to(ROOT / 'privimage')}:{function.name}"
        for path in files("privimage")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        and "Release" not in ast.unparse(function.returns or ast.Constant(None))
        and any(
            argument.annotation is not None and re.search("PrivateSet|SensitiveData", ast.unparse(argument.annotation))
            for argument in (*function.args.args, *function.args.kwonlyargs)
        )
    }
    assert found == NO_RELEASE.keys()


def test_the_core_and_the_analysis_import_without_ray() -> None:
    names = [name for name in modules() if owner(name) in ("privimage", "analysis")]
    assert len(names) > 100
    done = import_without(("ray", "privimage.cluster", "privimage.sweeps"), names)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(("name", "needed"), [("privimage.privacy", False), ("privimage.dpsgd.normals", True)])
def test_the_books_need_no_torch(name: str, needed: bool) -> None:
    names = [found for found in modules() if f"{found}.".startswith(f"{name}.")]
    code = (
        "import sys, importlib\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(*{'torch', 'opacus', 'ray'} & sys.modules.keys())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == (["torch"] if needed else [])


LISTED = ["Bundle", "Run", "Sweep", "plan", "run"]


@pytest.mark.thorough
def test_the_root_offers_what_users_import_and_loads_none_of_it_before() -> None:
    """The root names sweeps and analysis for editors and type checkers; an import of the science runs none of them."""
    code = (
        "import sys, privimage\n"
        "def loaded(): return {name for name in sys.modules if name.startswith('privimage.')}\n"
        "heavy = ('torch', 'ray', 'pandas', 'optuna', 'pydantic', 'matplotlib')\n"
        "assert not loaded() and not set(heavy) & sys.modules.keys()\n"
        f"assert privimage.__all__ == {LISTED!r} and set({LISTED!r}) <= set(dir(privimage))\n"
        "from privimage import errors\n"
        "assert loaded() == {'privimage.errors'}\n"
        "try: from privimage import nothing\n"
        "except ImportError: pass\n"
        "else: raise SystemExit('what is not there was imported')\n"
        "sys.modules['ray'] = sys.modules['optuna'] = None\n"
        "from privimage import Run, Bundle, Sweep, plan\n"
        "assert 'pandas' not in sys.modules and Run.__module__ == 'privimage.analysis.results'\n"
        "assert Bundle.sample and Sweep.load('demo').name == 'demo' and callable(privimage.run)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert imports(ROOT / FRONT, run=True) == {"__future__", "__future__.annotations", "importlib", "typing"} | {
        "importlib.import_module", "typing.Any", "typing.TYPE_CHECKING"
    }  # fmt: skip


def test_the_reader_of_imports_sees_what_is_hidden(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "from a import b\ndef f():\n    import ray.tune as t\n    __import__('privimage.cluster.cache')\n"
        "if 0:\n    from privimage.sweeps.run import go\n"
    )
    found = {"ray.tune", "privimage.cluster.cache", "privimage.sweeps.run", "privimage.sweeps.run.go"}
    assert imports(path) == {"a", "a.b", *found}
    assert {owner(name) for name in found} == {"ray", "cluster", "sweeps"}
