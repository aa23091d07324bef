"""Any damage to what a run wrote, then the same command again: the same records, nothing asked, nothing charged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from privimage import record as records
from privimage.paths import Root, RunFolder
from privimage.sweeps.run import run_sweep
from privimage.sweeps.sweep import load_sweep

Values = Callable[[], dict[str, Any]]
Damage = Callable[[RunFolder], None]


def run(values: dict[str, Any], root: Path) -> RunFolder:
    file = root / "sweep.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    outcome = run_sweep(load_sweep(file), root=Root(path=root / "runs"), address=None, quiet=True)
    assert outcome.failures == ()
    return outcome.folder


@pytest.fixture(scope="module")
def values(tiny_values: Values) -> dict[str, Any]:
    return tiny_values() | {"compare": ["selection-only"], "trials": 2, "budgets": [{"epsilon": 10, "delta": 1e-5}]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage")


@pytest.fixture(scope="module")
def whole(local_ray: None, root: Path, values: dict[str, Any]) -> Path:
    """A finished run; every test goes on in a root of its own with the same files."""
    run(values, root)
    return root


def hole(path: Path, *, start: float, end: float, fill: bytes = b"\0") -> None:
    """Fill a part of the file, by shares of its length; b"" takes the part out."""
    raw = path.read_bytes()
    a, b = int(len(raw) * start), int(len(raw) * end)
    path.write_bytes(raw[:a] + fill * (b - a) + raw[b:])


DAMAGES: dict[str, Damage] = {
    "the tail of the records is cut": lambda f: hole(f.records, start=0.8, end=1, fill=b""),
    "the records are gone, and what was begun": lambda f: (f.records.unlink(), f.tried.unlink())[0],
    "NULs in the middle of the records, noise in what was begun": lambda f: (
        hole(f.records, start=0.3, end=0.5),
        hole(f.tried, start=0.4, end=0.7, fill=b"\xff"),
    )[0],
}


QUICK = "the tail of the records is cut"


@pytest.mark.parametrize(
    "damage",
    [pytest.param(damage, id=id, marks=[pytest.mark.slow] if id != QUICK else []) for id, damage in DAMAGES.items()],
)
def test_the_same_command_again_restores_the_records_at_no_price(
    whole: Path, values: dict[str, Any], damage: Damage
) -> None:
    folder = Root(path=whole / "runs").run("tiny")
    before = {record.id: record for record in records.load(folder.records)}
    ledgers = {path: path.read_bytes() for path in (whole / "runs" / "ledgers").rglob("*") if path.is_file()}
    damage(folder)
    run(values, whole)
    after = {record.id: record for record in records.load(folder.records)}
    assert after.keys() == before.keys() and len(before) == 3
    for id, record in after.items():
        old = before[id]
        assert (record.paid, record.artefacts, record.role) == (old.paid, old.artefacts, old.role)
        assert [m.value for m in record.metrics] == [m.value for m in old.metrics]
        assert all(s.origin == "hit" for s in record.stages) or record == old, "nothing was computed again"
    assert {path: path.read_bytes() for path in ledgers} == ledgers


def test_leftovers_of_ray_tune_are_of_no_account(whole: Path, values: dict[str, Any]) -> None:
    folder = Root(path=whole / "runs").run("tiny")
    for path in folder.ray.rglob("*"):
        if path.is_file():
            path.write_bytes(b"\0" * 100)
    before = folder.records.read_bytes()
    hole(folder.records, start=0.9, end=1)
    run(values, whole)
    assert len(records.load(folder.records)) == len(before.splitlines())
    shutil.rmtree(folder.ray)
    run(values, whole)
