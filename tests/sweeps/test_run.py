"""Whole sweeps on a real Ray: what is run, what is charged, and what a second run of the same command does."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from whole import Finished, ledger, run

from privimage import record as records
from privimage.errors import InputError
from privimage.paths import Root, RunFolder
from privimage.privacy.ledger import Ledger
from privimage.record import Record
from privimage.sweeps.resume import asked_sigma
from privimage.sweeps.sweep import load_sweep

N_ROWS = 1
BUDGETS = 2

Values = Callable[[], dict[str, Any]]


def check_bill(found: list[Record], charges: Ledger) -> None:
    """What holds for every finished sweep: nothing over budget, the query charged once, every access in the ledger."""
    for record in found:
        assert record.epsilon_alone is not None and record.epsilon_alone <= record.budget.epsilon
        if any(event.purpose == "dp-sgd" for event in record.events):
            assert record.epsilon_alone > record.budget.epsilon - 0.001 or record.method == "dpdm"
    lines = charges.charges()
    assert len({line.id for line in lines}) == len(lines)
    assert sum(event.purpose == "query" for line in lines for event in line.events) == 1
    assert {line.id for line in lines} == {access.id for record in found for access in record.paid}


@pytest.fixture(scope="module")
def mine(finished_sweep: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The tiny sweep, run once; the tests below go on in one copy of its folder, in their order."""
    return finished_sweep.copied(tmp_path_factory.mktemp("run") / "copy")


@pytest.fixture
def root(mine: Finished) -> Path:
    return mine.root


@pytest.fixture
def values(mine: Finished) -> dict[str, Any]:
    return mine.values


@pytest.fixture
def finished(mine: Finished) -> RunFolder:
    return mine.folder


def test_every_row_and_trial_has_its_record_and_the_bill_is_right(finished: RunFolder, root: Path) -> None:
    found = records.load(finished.records)
    assert [r.role for r in found].count("compare") == N_ROWS
    assert [r.role for r in found].count("search") == BUDGETS
    assert len(found) == len(finished.records.read_bytes().splitlines()) == N_ROWS + BUDGETS
    assert {(r.method, r.budget.epsilon) for r in found if r.role == "search"} == {
        ("privimage+d", 1.0),
        ("privimage+d", 10.0),
    }
    check_bill(found, ledger(root))
    assert all(r.value("accuracy[lr]") is not None for r in found)
    assert not list(finished.root.store.glob("internal/*.seed")) or all(
        "derived" in path.name for path in finished.root.store.glob("internal/*.seed")
    )


def test_nothing_public_is_computed_twice(finished: RunFolder) -> None:
    built: dict[str, int] = {}
    for record in records.load(finished.records):
        for stage in record.stages:
            built[stage.name] = built.get(stage.name, 0) + (stage.origin == "built")
    assert built["query-function"] == built["histogram"] == 1


def test_labels_have_their_names_from_the_data_to_the_exported_generator(
    finished: RunFolder, tmp_path: Path, privimage: Callable[..., tuple[int, str, str]]
) -> None:
    best, images = tmp_path / "best", tmp_path / "images.npz"
    assert privimage("best", str(finished.path), "--to", str(best))[0] == 0
    assert json.loads((best / "config.json").read_text())["classes"] == ["c00", "c01", "c02"]
    assert "3 labels (c00, c01, c02)" in (best / "card.md").read_text()
    assert privimage("sample", str(best), "--label", "c02=3", "--label", "c00=2", "--to", str(images))[0] == 0
    with np.load(images) as drawn:
        assert sorted(drawn["y"].tolist()) == [0, 0, 2, 2, 2] and drawn["x"].shape == (5, 1, 28, 28)
    code, _, said = privimage("sample", str(best), "--label", "c03", "--to", str(images))
    assert code == 2 and "the labels are 0 to 2; the nearest names are c" in said


def test_another_budget_in_the_same_folder_is_refused_in_one_line(
    finished: RunFolder, root: Path, values: dict[str, Any]
) -> None:
    before = finished.sweep.read_text(), finished.records.read_bytes(), ledger(root).path.read_bytes()
    for changed in (
        {"budgets": [{"epsilon": 2, "delta": 1e-5}]},
        {"search": {"method.query.sigma": {"uniform": [6, 13]}}},
        {"objectives": {"accuracy[mlp]": "max"}},
    ):
        with pytest.raises(InputError, match=f"another '{next(iter(changed))}'") as caught:
            run(values | changed, root)
        assert "\n" not in str(caught.value)
    assert before == (finished.sweep.read_text(), finished.records.read_bytes(), ledger(root).path.read_bytes())


def test_another_split_of_the_same_set_is_refused(finished: RunFolder, root: Path, values: dict[str, Any]) -> None:
    before = ledger(root).path.read_bytes()
    data = values["data"] | {"sensitive": values["data"]["sensitive"] | {"split_seed": 1}}
    with pytest.raises(InputError, match=r"split as 'folder .* split_seed 0'.* got 'folder .* split_seed 1'"):
        run(values | {"name": "other", "data": data}, root)
    assert ledger(root).path.read_bytes() == before


def test_less_than_was_begun_is_refused(finished: RunFolder, root: Path, values: dict[str, Any]) -> None:
    """The bill would state less than was asked."""
    before = finished.bill.read_bytes()
    for changed, says in (({"trials": 0}, "another 'trials'"), ({"compare": []}, "another 'compare'")):
        with pytest.raises(InputError, match=says):
            run(values | changed, root)
    assert finished.bill.read_bytes() == before


def test_a_folder_in_use_is_refused(finished: RunFolder, root: Path, values: dict[str, Any]) -> None:
    from filelock import FileLock

    with FileLock(str(finished.path / "sweep.lock")), pytest.raises(InputError, match="another process"):
        run(values, root)


def test_the_same_command_again_runs_nothing(finished: RunFolder, root: Path, values: dict[str, Any]) -> None:
    before = finished.records.read_bytes(), ledger(root).path.read_bytes()
    start = time.monotonic()
    assert run(values, root).failures == ()
    assert (finished.records.read_bytes(), ledger(root).path.read_bytes()) == before
    assert time.monotonic() - start < 60


def test_more_trials_are_refused_also_where_the_folder_is_gone(
    finished: RunFolder, root: Path, values: dict[str, Any], tmp_path: Path
) -> None:
    """The ledger knows what the sweep was begun with: added trials were not in the price that was fixed beforehand."""
    before = ledger(root).path.read_bytes()
    with pytest.raises(InputError, match="another 'trials'"):
        run(values | {"trials": 2}, root)
    shutil.copytree(root, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / finished.path.relative_to(root))
    with pytest.raises(InputError, match="was begun on this set with other trials or rows"):
        run(values | {"trials": 2}, tmp_path / "copy")
    assert ledger(tmp_path / "copy").path.read_bytes() == ledger(root).path.read_bytes() == before


# -- what needs no trial


def test_the_query_is_reused_from_the_store(finished: RunFolder, values: dict[str, Any], root: Path) -> None:
    """A later sweep that would be content with more noise takes the answer that is there."""
    file = root / "later.yaml"
    file.write_text(yaml.safe_dump(values | {"name": "later", "search": {"method.query.sigma": {"choice": [8, 9]}}}))
    assert set(asked_sigma(load_sweep(file), Root(path=root / "runs").run("later")).values()) == {6.0}
    file.write_text(yaml.safe_dump(values | {"name": "later", "search": {"method.query.sigma": {"choice": [4, 9]}}}))
    assert set(asked_sigma(load_sweep(file), Root(path=root / "runs").run("later")).values()) == {4.0}


def test_a_sweep_that_was_refused_can_be_mended_under_its_name(
    tmp_path: Path, tiny_values: Values, local_ray: None
) -> None:
    bad = tiny_values() | {"search": {}, "trials": 0}
    bad["method"]["finetune"]["q"] = 0.001
    with pytest.raises(InputError, match=r"finetune\.q"):
        run(bad, tmp_path)
    assert run(tiny_values() | {"search": {}, "trials": 0}, tmp_path).failures == ()


def test_a_trial_that_does_not_fit_the_machine_is_refused(tmp_path: Path, tiny_values: Values, local_ray: None) -> None:
    with pytest.raises(InputError, match="one trial needs 64 CPU"):
        run(tiny_values() | {"resources": {"cpu": 64}}, tmp_path)
    assert not ledger(tmp_path).path.exists()


def test_a_torn_last_record_does_not_spoil_the_next(finished: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    shutil.copy(finished.records, path)
    found = records.load(path)
    with path.open("ab") as file:
        file.write(b'{"id": "cut by a cra')
    records.append(path, found[0])
    assert len(records.load(path)) == len(found)


def test_where_tune_cannot_write_its_own_files_one_line_says_so(
    local_ray: None, tiny_values: Values, tmp_path: Path
) -> None:
    """As on a full disk, where it raised EOFError: it reads back an error that it could not write."""
    folder = Root(path=tmp_path / "runs").run("tiny")
    folder.path.mkdir(parents=True)
    folder.ray.write_text("in its place")
    before = dict(os.environ), logging.getLogger("ray").level
    (line,) = run(tiny_values(), tmp_path).failures
    assert (dict(os.environ), logging.getLogger("ray").level) == before, "a script goes on with what it had"
    assert line.startswith("Ray Tune gave up (") and line.endswith("run the same command again") and "\n" not in line
    assert str(folder.ray) in line and ledger(tmp_path).charges() == [] and len(ledger(tmp_path).reservations()) == 1


@pytest.mark.thorough
def test_what_the_wall_refuses_on_the_way_is_a_failure_of_its_trial(
    local_ray: None, tiny_values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not an error of the input: trials may have been charged before. Here the bill was never opened."""
    monkeypatch.setattr("privimage.sweeps.run._reserve", lambda work: None)
    monkeypatch.setattr("privimage.sweeps.drive.RETRIES", 0)  # it would be refused again
    one = {"search": {}, "compare": [], "trials": 1, "budgets": [{"epsilon": 5, "delta": 1e-5}]}
    (line,) = run(tiny_values() | one, tmp_path).failures
    assert line.startswith("search at epsilon ") and "was ever opened here" in line and "\n" not in line


# -- a driver that is killed


@pytest.fixture
def killable(tmp_path: Path, tiny_values: Values) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts the command line on a sweep of its own, with a Ray of its own."""
    sweep = tiny_values() | {"compare": ["selection-only", "dpdm"], "trials": 2}
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(sweep, sort_keys=False))
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        script = "from privimage.sweeps.cli import main; main()"
        command = [sys.executable, "-c", script, "sweep", str(file), "--root", str(tmp_path / "runs"), "--quiet"]
        with (tmp_path / "log").open("ab") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("after", ["the charge of the query", "two records", "four records"])
def test_a_killed_driver_loses_nothing_and_pays_nothing_twice(
    tmp_path: Path, killable: Callable[[], subprocess.Popen[bytes]], after: str
) -> None:
    folder = Root(path=tmp_path / "runs").run("tiny")
    path = folder.records

    def lines() -> list[bytes]:
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []

    reached: dict[str, Callable[[], bool]] = {
        "the charge of the query": lambda: bool(ledger(tmp_path).charges()),
        "two records": lambda: len(lines()) >= 2,
        "four records": lambda: len(lines()) >= 4,
    }
    first = killable()
    end = time.monotonic() + 300
    while not reached[after]():
        assert first.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()[-2000:]
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(8)  # its Ray notices and goes; a trial may still end meanwhile
    kept, charged = lines(), ledger(tmp_path).path.read_bytes()
    n_rows = 3  # dpdm runs at every budget
    assert len(kept) < n_rows + BUDGETS * 2, "killed too late"
    second = killable()
    assert second.wait(timeout=500) == 0, (tmp_path / "log").read_text()[-2000:]
    assert lines()[: len(kept)] == kept
    assert ledger(tmp_path).path.read_bytes().startswith(charged)
    found = records.load(path)
    assert len(found) == len(lines()) == n_rows + BUDGETS * 2
    assert [r.role for r in found].count("compare") == n_rows
    check_bill(found, ledger(tmp_path))


def test_the_best_so_far_is_of_the_search_by_the_first_objective(finished: RunFolder) -> None:
    from privimage.sweeps.display import best_so_far
    from privimage.sweeps.sweep import Sweep

    sweep = Sweep.model_validate(yaml.safe_load(finished.sweep.read_text()))
    found = records.load(finished.records)
    metric = next(iter(sweep.objectives))
    tops = [
        max(r.value(metric) or 0 for r in found if r.role == "search" and r.budget == budget)
        for budget in sweep.budgets
    ]
    said = best_so_far(found, sweep)
    assert all(f"{top:.3f} at epsilon {b.epsilon:g}" in said for top, b in zip(tops, sweep.budgets, strict=True))
    assert best_so_far([], sweep) == f"no {metric} yet"
