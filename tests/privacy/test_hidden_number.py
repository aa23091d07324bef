"""An attacker who lists everything outside internal folders, but may not enter these, cannot count the trials."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from whole import IN_TURN

from privimage import record as records
from privimage.disk import private_folder
from privimage.errors import BudgetExceeded, LostAnswer
from privimage.paths import Root, RunFolder
from privimage.privacy.accounting import epsilon
from privimage.privacy.accounting.costs import BestOf
from privimage.privacy.accounting.law import Law
from privimage.privacy.bill import Bill
from privimage.privacy.budget import Event
from privimage.privacy.covered import CoveredLedger
from privimage.privacy.ledger import Ledger
from privimage.stores import hidden
from privimage.stores.file import FileStore
from privimage.stores.hidden import HiddenStore
from privimage.stores.store import Built
from privimage.sweeps import progress
from privimage.sweeps.run import run_sweep
from privimage.sweeps.sweep import load_sweep

Values = Callable[[], dict[str, Any]]
Patch = pytest.MonkeyPatch
SELECT: dict[str, Any] = {
    "tuning": {"mode": "select"},
    "objectives": {"dp-accuracy[lr]": "max"},
    "metrics": ["accuracy[lr]"],
    "budgets": [{"epsilon": 6, "delta": 1e-5}],
    "search": {"method.query.k1": {"choice": [1, 2]}, "method.select.ratio": {"choice": [0.2, 0.5]}},
    "compare": ["selection-only"],
    "trials": 3,
    "trackers": {"tensorboard": True},
}
MANY = 2  # trials, where the other selection has one


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    """What this process writes to its standard error, from Python or from C++, goes to the file instead."""
    real = os.dup(2)
    with path.open("w") as file, redirect_stderr(file):
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            os.close(real)


def ran(values: dict[str, Any], folder: Path, *, K: int) -> RunFolder:
    """One selection with that many trials."""
    folder.mkdir(exist_ok=True)
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    with Patch.context() as drawn, written_to(folder / "said"):
        drawn.setattr(Law, "draw", lambda self, entropy: K)
        outcome = run_sweep(load_sweep(file), root=Root(path=folder / "runs"), address=None)
    assert outcome.failures == ()
    return outcome.folder


@pytest.fixture(scope="module")
def values(tiny_values: Values) -> dict[str, Any]:
    return tiny_values() | copy.deepcopy(SELECT) | IN_TURN


@pytest.fixture(scope="module")
def one(local_ray: None, values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return ran(values, tmp_path_factory.mktemp("selected") / "one", K=1)


@pytest.fixture(scope="module")
def many(local_ray: None, values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return ran(values, tmp_path_factory.mktemp("selected") / "many", K=MANY)


def listing(root: Path) -> dict[str, tuple[str, int | None, float]]:
    """What can be seen without entering an internal folder: names, modes, sizes, times against the first one's.

    Random names (keys of what has noise in it) are X; contents that differ by noise or by the winner have no size.
    """
    seen: dict[str, tuple[str, int | None, float]] = {}
    for folder, names, files in os.walk(root):
        if "internal" in names:
            names.remove("internal")
            files.append("internal")
        for name in (*names, *files):
            path = Path(folder) / name
            found = path.lstat()
            if name == "internal":
                assert stat.S_IMODE(found.st_mode) == 0o700, path
            plain = re.sub(r"[0-9a-f]{32,64}", "X", str(path.relative_to(root)))
            while plain in seen:
                plain += "+"
            own = name == "internal" or path.is_dir() or path.suffix in (".jsonl", ".head", ".json", ".safetensors")
            seen[plain] = (stat.filemode(found.st_mode), None if own else found.st_size, found.st_mtime)
    return seen


def ledger_as_seen(folder: RunFolder) -> list[tuple[str, ...]]:
    """The lines with their times since the first, without the hashes and the names of what has noise in it."""
    lines = [json.loads(line) for line in folder.root.ledger("tiny-v1").read_text().splitlines()]
    return sorted(
        (line.get("kind", "charge"), line.get("what", ""), str(line["at"] == lines[0]["at"])) for line in lines
    )


def no_trace_of_the_number(one: RunFolder, many: RunFolder) -> None:
    """Everything outside internal folders is the same for one trial and for many, up to the winner's own content."""
    seen = [listing(folder.root.path) for folder in (one, many)]
    assert seen[0].keys() == seen[1].keys(), sorted(seen[0].keys() ^ seen[1].keys())
    for name, (mode, size, _) in seen[0].items():
        assert (mode, size) == seen[1][name][:2], name
    assert ledger_as_seen(one) == ledger_as_seen(many)
    for folder, found in zip((one, many), seen, strict=True):
        begun = max(time for name, (_, _, time) in found.items() if name.endswith("sweep.lock"))
        late = {name: time - begun for name, (_, _, time) in found.items() if time > begun + 30}
        begun_at = Ledger(folder.root.ledger("tiny-v1")).lines()[0].at
        assert not {name for name, (_, _, time) in found.items() if time > _seconds(begun_at) + 1}, late
    for folder in (one, many):
        for record in records.load(folder.records):
            assert (record.seconds, record.stages, record.started) == (0.0, (), "")
            assert all(metric.seconds == 0 for metric in record.metrics)
    lines = [len(folder.records.read_text().splitlines()) for folder in (one, many)]
    assert lines == [2, 2], "the row and the winner"
    said = [len((folder.root.path.parent / "said").read_text().splitlines()) for folder in (one, many)]
    assert said[0] == said[1], "nor the length of the log"


def _seconds(at: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(at).timestamp()


@pytest.mark.timeout(600)
@pytest.mark.thorough
def test_a_listing_does_not_tell_the_number_of_trials(one: RunFolder, many: RunFolder) -> None:
    assert [len(records.load(folder.internal_records)) for folder in (one, many)] == [1, MANY]
    no_trace_of_the_number(one, many)
    late = many.path / "a-trace"  # a fault that is planted
    late.touch()
    with pytest.raises(AssertionError):
        no_trace_of_the_number(one, many)
    late.unlink()


@pytest.mark.thorough
def test_a_selection_ends_in_its_winner_alone(many: RunFolder, values: dict[str, Any], tmp_path: Path) -> None:
    row, winner = sorted(records.load(many.records), key=lambda record: record.role)
    everyone = records.load(many.internal_records)
    assert row.role == "compare" and len(everyone) == MANY
    assert winner.value("dp-accuracy[lr]") == max(r.value("dp-accuracy[lr]") for r in everyone)  # type: ignore[type-var]
    assert isinstance(winner.selection, BestOf) and winner.epsilon_alone is not None
    assert 5.999 < winner.epsilon_alone <= 6 and winner.epsilon_alone > max(r.epsilon_alone or 0 for r in everyone)
    assert (winner.seconds, winner.stages, winner.started) == (0.0, (), "")
    assert "draw" not in winner.config and winner.id not in {r.id for r in everyone}, "its place would bound K"

    bill = Bill.model_validate_json(many.bill.read_text())
    assert bill.epsilon(1e-5) == winner.epsilon_alone
    ledger = Ledger(many.root.ledger("tiny-v1"))
    assert epsilon([cost for line in ledger.charges() for cost in line.events], 1e-5) == pytest.approx(
        winner.epsilon_alone
    )
    assert len(ledger.charges()) == 3, "the two queries of the space and the selection, whatever K is"
    store = FileStore(many.root.store)
    kept = {kind: store.get(kind, winner.artefacts[kind]) for kind in ("model", "samples", "nearest")}
    assert all(artefact is not None and artefact.manifest.privacy == "released" for artefact in kept.values())
    for record in everyone:
        assert store.get("model", record.artefacts["model"]) is None, "they are not even listed"
        assert store.get("nearest", record.artefacts["nearest"]) is None
        model = HiddenStore(store).get("model", record.artefacts["model"])
        assert model is not None and model.manifest.privacy == "internal", "losers never leave"
    copied = shutil.copytree(many.root.path.parent, tmp_path / "copy")
    again = ran(values, copied, K=MANY)
    assert again.records.read_bytes() == many.records.read_bytes()
    assert again.root.ledger("tiny-v1").read_bytes() == ledger.path.read_bytes(), "nothing changes"
    now = progress.read(many)
    assert now is not None and not many.progress.exists(), "when it ended tells of K: it is kept to itself"
    assert ([row.label for row in now.rows], now.running, now.left) == (["selection-only"], (), None)
    assert now.lines() == ["selection-only  1 of 1 trial"]


# Without Ray


def built() -> Built:
    import numpy as np

    return Built(arrays={"a": np.ones(3)}, privacy="public")


def test_a_hidden_store_finds_what_is_outside_and_leaves_nothing_there(tmp_path: Path) -> None:
    outer = FileStore(tmp_path)
    outer.put("kind", "a" * 64, built())
    before = listing(tmp_path)
    inner = hidden.HiddenStore(outer)
    assert inner.fetch("kind", "a" * 64, lambda: pytest.fail("it is there"))[1] == "hit"
    assert inner.fetch("kind", "b" * 64, built)[0].manifest.privacy == "internal"
    assert inner.fetch("kind", "b" * 64, lambda: pytest.fail("it is there"))[1] == "hit"
    assert outer.get("kind", "b" * 64) is None
    inner.entropy("kind-x")
    after = listing(tmp_path)
    assert (
        after.keys() - before.keys() == {"internal"} and stat.S_IMODE((tmp_path / "internal").stat().st_mode) == 0o700
    )
    assert {path.name for path in (tmp_path / "internal").iterdir()} == {"drawn"}, "its own time does not change again"


def test_an_internal_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "internal").mkdir(mode=0o755)
    private_folder(tmp_path / "internal")
    assert stat.S_IMODE((tmp_path / "internal").stat().st_mode) == 0o700


SGD, SCORE = (
    Event(purpose="dp-sgd", split="train", sigma=2, q=0.25, steps=10),
    Event(purpose="score", split="validation", sigma=9),
)
COST = BestOf(law=Law(mean=3), events=(SGD,), score=SCORE)


def test_the_trials_that_were_drawn_are_charged_and_no_more(tmp_path: Path) -> None:
    """The bill of a selection is one line whatever K is; inside, K trainings and K scores are admitted."""
    ledger, inner = Ledger(tmp_path / "x.jsonl"), tmp_path / "internal" / "x.jsonl"
    covered = CoveredLedger(ledger, inner=inner, selection="sel", cost=COST)
    covered.open(trials=2)
    with pytest.raises(LostAnswer, match="not charged"):
        covered.charge(id="t0", what="x", events=(SGD,))
    ledger.charge(id="sel", what="the best of K", events=(COST,))
    covered.open(trials=2)
    for number in range(2):
        assert covered.charge(id=f"t{number}", what="DP-SGD", events=(SGD,))
        assert covered.charge(id=f"s{number}", what="score", events=(SCORE,))
    assert not covered.charge(id="t1", what="DP-SGD", events=(SGD,))
    for more in (SGD, SCORE, SGD.scaled(0.5)):
        with pytest.raises(BudgetExceeded, match="is refused"):
            covered.charge(id=f"more-{more}", what="DP-SGD", events=(more,))
    assert len(ledger.charges()) == 1
    for path in inner.parent.iterdir():
        path.unlink()
    with pytest.raises(LostAnswer, match=r"restore it from a backup.*adopt"):
        covered.open(trials=2)


def test_every_line_of_a_selection_carries_the_time_of_its_beginning(tmp_path: Path, monkeypatch: Patch) -> None:
    times = iter(f"2026-01-01T00:00:{second:02d}+00:00" for second in range(60))

    class Clock:
        @staticmethod
        def now(zone: object) -> Any:
            return type("Now", (), {"isoformat": lambda self, timespec: next(times)})()

    monkeypatch.setattr("privimage.privacy.chain.datetime", Clock)
    for timeless, expected in ((True, 1), (False, 3)):
        ledger = Ledger(tmp_path / f"{timeless}.jsonl", under="s", timeless=timeless)
        ledger.reserve(id="s", what="sweep", events=(SGD,))
        ledger.charge(id="a", what="x", events=(SGD,))
        ledger.close("s")
        assert len({line.at for line in ledger.lines()}) == expected and ledger.verify() == "agrees"


@pytest.mark.thorough
def test_no_study_and_no_tracker_tells_of_the_trials(
    one: RunFolder, many: RunFolder, values: dict[str, Any], tmp_path: Path
) -> None:
    """Not while they run, nor when they ended: the winner is shown by the next start of the command."""
    for folder in (one, many):
        assert {name: len(trials) for name, trials in studies(folder).items()} == {
            "tiny: comparison rows": 0, "tiny: winner at epsilon 6": 0
        }  # fmt: skip
        assert not folder.trackers.exists()
    shutil.copytree(many.root.path.parent, tmp_path / "again")
    again = ran(values, tmp_path / "again", K=9)
    (row,), (winner,) = studies(again).values()
    shown = {record.id for record in records.load(again.records)}
    assert {row.user_attrs["trial"], winner.user_attrs["trial"]} == shown
    assert row.datetime_start == row.datetime_complete == winner.datetime_start == winner.datetime_complete
    assert "seconds" not in winner.user_attrs
    hidden = {record.id for record in records.load(many.internal_records)}
    assert not any(id in again.journal.read_text() for id in hidden)
    assert {path.name[-8:] for path in (again.trackers / "tensorboard").iterdir()} == {id[:8] for id in shown}


def studies(folder: RunFolder) -> dict[str, list[Any]]:
    storage = JournalStorage(JournalFileBackend(str(folder.journal)))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage).trials for name in names}
