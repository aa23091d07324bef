"""Any damage to what a run wrote, then the same command again: the same records, nothing asked, nothing charged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from whole import Finished, run

from privimage import record as records
from privimage.paths import RunFolder

Damage = Callable[[RunFolder], None]


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


FIRST = "the tail of the records is cut"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage, id=id, marks=pytest.mark.thorough if id == FIRST else pytest.mark.slow)
        for id, damage in DAMAGES.items()
    ],
)
def test_the_same_command_again_restores_the_records_at_no_price(
    finished_sweep: Finished, tmp_path: Path, damage: Damage
) -> None:
    """Nor is what Ray Tune left of any account."""
    mine = finished_sweep.copied(tmp_path / "copy")
    folder = mine.folder
    before = {record.id: record for record in records.load(folder.records)}
    ledgers = {path: path.read_bytes() for path in (mine.root / "runs" / "ledgers").rglob("*") if path.is_file()}
    damage(folder)
    left = [path for path in folder.ray.rglob("*") if path.is_file()]
    for path in left:
        path.write_bytes(b"\0" * 100)
    assert run(mine.values, mine.root).failures == ()
    after = {record.id: record for record in records.load(folder.records)}
    assert after.keys() == before.keys() and len(before) == 3 and left and ledgers
    restored = 0
    for id, record in after.items():
        old = before[id]
        assert (record.paid, record.artefacts, record.role) == (old.paid, old.artefacts, old.role)
        assert [m.value for m in record.metrics] == [m.value for m in old.metrics]
        assert all(s.origin == "hit" for s in record.stages) or record == old, "nothing was computed again"
        restored += record != old
    assert restored
    assert {path: path.read_bytes() for path in ledgers} == ledgers
    shutil.rmtree(folder.ray)
    assert run(mine.values, mine.root).failures == (), "nor that nothing is left"
