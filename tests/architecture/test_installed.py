"""The wheel in an environment of a user's, where others own the names `cluster`, `sweeps` and `analysis`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from privimage import __version__

ROOT = Path(__file__).parents[2]
OUTER = Path(sysconfig.get_path("purelib"))
OTHERS = ("cluster", "sweeps", "analysis")
TRIAL = [  # a sweep of one trial and no comparison rows, as small as a trial can be
    "method.name=privimage+d",
    "trials=1", "compare=[]", "budgets=[{epsilon: 10, delta: 1.0e-5}]", "objectives={'accuracy[lr]': max}",
    "search={method.query.sigma: {choice: [50]}}", "metrics=['accuracy[lr]']", "method.samples=40",
    "method.query.function.steps=3", "method.pretrain.images=256", "method.finetune.steps=1",
]  # fmt: skip
ADDRESS, AUTHOR = "https://github.com/some/privimage.git", "-c user.name=a -c user.email=a@b"
SETS = [word for value in TRIAL for word in ("--set", value)]


def run(*command: object, at: Path, **also: str) -> str:
    """What the command printed, without what the tests themselves are run with."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run(
        [str(word) for word in command], cwd=at, env=kept | also, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
    return done.stdout


def pip(python: Path, *words: object, at: Path) -> None:
    run(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "-q", *words, at=at)


def environment(folder: Path) -> tuple[Path, Path]:
    """The interpreter of a new environment, and the folder of its packages."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, at=folder.parent)
    (site,) = (folder / "lib").glob("python*/site-packages")
    return folder / "bin" / "python", site


def wheel_of_another(folder: Path, name: str) -> Path:
    """A distribution that has a top-level package of that name and no other use."""
    path = folder / f"other_{name}-1.0-py3-none-any.whl"
    files = {
        f"{name}/__init__.py": "",
        f"{name}/run.py": "raise ImportError('a package of somebody else')\n",
        f"other_{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: other-{name}\nVersion: 1.0\n",
        f"other_{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, f"other_{name}-1.0.dist-info/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in (files | {f"other_{name}-1.0.dist-info/RECORD": record}).items():
            archive.writestr(file, text)
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the tree; by setuptools alone, since other packages extend it."""
    source, to = tmp_path_factory.mktemp("source") / "privimage", tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, symlinks=True, ignore=unwanted)
    for words in ("init -q", f"remote add origin {ADDRESS}", "add README.md", f"{AUTHOR} commit -q -m one"):
        run("git", *words.split(), at=source)
    python, site = environment(to / "env")
    for path in (*OUTER.glob("setuptools*"), OUTER / "_distutils_hack"):
        (site / path.name).symlink_to(path)
    pip(python, "wheel", "--no-deps", "--no-build-isolation", "-w", to, source, at=to)
    (built,) = to.glob("privimage-*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_every_module_under_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"privimage"}
    packages = ("privimage", *OTHERS)
    ours = {path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("*.py")}
    recipes = {path.relative_to(ROOT) for path in (ROOT / "sweeps" / "recipes").iterdir()}
    expected = {path if path.parts[0] == "privimage" else "privimage" / path for path in ours | recipes}
    expected |= {Path("privimage/py.typed")}
    assert names == {path.as_posix() for path in expected}


@pytest.mark.slow
def test_pictures_of_the_description_are_found_from_anywhere(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    assert "\nDescription-Content-Type: text/markdown\n" in text
    pictures = [line for line in text.splitlines() if line.startswith("![")]
    assert len(pictures) >= 2
    assert all("](https://raw.githubusercontent.com/some/privimage/" in picture for picture in pictures)


@pytest.fixture(scope="module")
def complete(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and all that it may need."""
    python, site = environment(tmp_path_factory.mktemp("complete") / "env")
    (site / "outer.pth").write_text(f"{OUTER}\n")  # torch and Ray; what .pth files there add does not count here
    pip(python, "install", "--ignore-installed", "--no-deps", "--no-index", wheel, at=site)
    return python


@pytest.fixture(scope="module")
def bundle(complete: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `best` pulls of one real trial, in a folder that knows nothing of this checkout."""
    privimage, here = complete.with_name("privimage"), tmp_path_factory.mktemp("first")
    assert run(privimage, "--version", at=here).split() == ["privimage", __version__]
    assert "epsilon" in run(privimage, "plan", "demo", "--no-estimate", at=here)
    run(privimage, "sweep", "demo", "--quiet", *SETS, at=here, RAY_USAGE_STATS_ENABLED="0")
    run(privimage, "best", "runs/demo", "--to", "best", at=here)
    return here / "best"


def needed(by: Distribution) -> dict[str, Distribution]:
    """The distributions that one requires, itself left out, and what those require, by name."""
    found: dict[str, Distribution] = {}
    waiting = [(by, Requirement("privimage"))]
    while waiting:
        of, wanted = waiting.pop()
        for requirement in map(Requirement, of.requires or ()):
            marker = requirement.marker
            if marker is not None and not any(marker.evaluate({"extra": e}) for e in ("", *wanted.extras)):
                continue
            if requirement.name not in found or requirement.extras:
                found[requirement.name] = distribution(requirement.name)
                waiting.append((found[requirement.name], requirement))
    return found


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and what that requires without an extra, and nothing else."""
    python, site = environment(tmp_path_factory.mktemp("bare") / "env")
    pip(python, "install", "--no-deps", "--no-index", wheel, at=site)
    (info,) = site.glob("privimage-*.dist-info")
    for found in needed(Distribution.at(info)).values():
        for top in {Path(str(file)).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(found.locate_file(top))
    return python


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_bundle_is_sampled_where_it_was_made_and_where_there_is_no_ray(
    complete: Path, bare: Path, bundle: Path, tmp_path: Path
) -> None:
    drawn = []
    for number, python in enumerate((complete, bare)):
        run(python.with_name("privimage"), "sample", bundle, "--n", 20, "--to", f"{number}.npz", at=tmp_path)
        drawn.append(np.load(tmp_path / f"{number}.npz")["x"])
    assert len(drawn[0]) == 20 and (drawn[0] == drawn[1]).all()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_was_written_is_read_without_ray_and_a_sweep_is_refused_in_one_line(bare: Path, bundle: Path) -> None:
    privimage, here = bare.with_name("privimage"), bundle.parent
    done = subprocess.run([privimage, "sweep", "demo"], cwd=here, capture_output=True, text=True, timeout=100)
    said = "privimage: ray and optuna: not installed, and a sweep runs on it; pip install 'privimage[sweep]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    for words in (
        ("plan", "demo", "--root", "plans"), ("status", "runs/demo"), ("front", "runs/demo"), ("report", "runs/demo"),
        ("best", "runs/demo", "--to", "again"), ("ledger", "verify", "runs/ledgers/digits-v1.jsonl"),
    ):  # fmt: skip
        assert run(privimage, *words, at=here), words


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_packages_of_others_with_the_names_of_our_folders_are_no_trouble(wheel: Path, tmp_path: Path) -> None:
    """Weights & Biases has a dependency `sweeps`; a folder `cluster` of the user's came first in Ray's workers."""
    python, site = environment(tmp_path / "env")
    (site / "outer.pth").write_text(f"{OUTER}\n")  # torch and Ray; what .pth files there add does not count here
    for wheels in ([wheel], [wheel_of_another(tmp_path, name) for name in OTHERS]):  # pip lets the later one overwrite
        pip(python, "install", "--ignore-installed", "--no-deps", "--no-index", *wheels, at=tmp_path)
    privimage, here = python.with_name("privimage"), tmp_path / "project"
    for name in OTHERS:
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text("raise ImportError('a folder of the user')\n")
    plan = [privimage, "plan", "demo", "--no-estimate", "--root", "plans"]
    assert "epsilon" in run(*plan, at=here)
    run(privimage, "sweep", "demo", "--quiet", *SETS, at=here, RAY_USAGE_STATS_ENABLED="0")
    records = (here / "runs" / "demo" / "records.jsonl").read_text().splitlines()
    assert len(records) == 1 and json.loads(records[0])["metrics"][0]["name"] == "accuracy[lr]"
    pip(python, "uninstall", "-y", *(f"other-{name}" for name in OTHERS), at=tmp_path)
    assert "epsilon" in run(*plan, at=here), "what was theirs went, and nothing of ours"
