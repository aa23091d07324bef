"""A run's trials as Optuna's studies: what is shown, that it is the records, and that no store can harm a sweep."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import optuna
import pytest
import yaml
from ended_trials import SIGMA, ended, new_phase, searched
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from postgres import PASSWORD, Server, binaries
from whole import Finished, run

from privimage import record as records
from privimage.errors import InputError
from privimage.paths import Root, RunFolder
from privimage.record_file import so_far
from privimage.sweeps import study_store
from privimage.sweeps.following import Following, NewRecords, caught_up
from privimage.sweeps.phase import Phase
from privimage.sweeps.studies import Studies
from privimage.sweeps.study_store import open_studies
from privimage.sweeps.sweep import load_sweep

Values = Callable[[], dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = binaries()
    if found is None:
        pytest.skip("PostgreSQL is not installed here: no initdb")
    pytest.importorskip("psycopg", reason="the extra privimage[postgres] is not installed")
    running = Server(found)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def knows_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


@pytest.fixture
def phase(tiny_values: Values, tmp_path: Path) -> Phase:
    return new_phase(tiny_values(), tmp_path)


def started(phase: Phase, address: str | None = "journal") -> Studies:
    """As one start of the command opens them, with the records so far."""
    sweep = phase.work.sweep.model_copy(update={"studies": address})
    store = open_studies(sweep, phase.work.folder)
    assert store is not None
    studies = Studies(replace(phase, work=replace(phase.work, sweep=sweep)), store, todo=phase.fixed)
    studies.catch_up(so_far(phase.work.folder.records))
    return studies


def job(sigma: float, budget: int = 0) -> dict[str, Any]:
    return {"budget": budget, "params": {SIGMA: sigma}}


def stored(folder: RunFolder | Server) -> BaseStorage:
    if isinstance(folder, Server):
        return RDBStorage(folder.url.replace("postgresql:", "postgresql+psycopg:"))
    return JournalStorage(JournalFileBackend(str(folder.journal)))


def shown(folder: RunFolder | Server) -> dict[str, list[FrozenTrial]]:
    """All trials by their study, as anybody reads them."""
    storage = stored(folder)
    return {
        name: optuna.load_study(study_name=name, storage=storage).trials for name in optuna.get_all_study_names(storage)
    }


def states(trials: list[FrozenTrial]) -> list[str]:
    return [trial.state.name for trial in trials]


SEARCH, ROWS = "tiny: search at epsilon 1", "tiny: comparison rows"
NAMES = (ROWS, SEARCH, "tiny: search at epsilon 10")


def test_a_sweep_leaves_a_study_a_budget_and_one_of_its_rows(finished_sweep: Any) -> None:
    folder = finished_sweep.folder
    found = shown(folder)
    assert set(found) == {SEARCH, "tiny: search at epsilon 10", ROWS}
    known = {record.id: record for record in records.load(folder.records)}
    assert sorted(trial.user_attrs["trial"] for trials in found.values() for trial in trials) == sorted(known)
    for trial in (trial for trials in found.values() for trial in trials):
        record = known[trial.user_attrs["trial"]]
        assert trial.state == TrialState.COMPLETE and trial.values == [record.value("accuracy[lr]")]
        assert trial.user_attrs["epsilon"] == record.budget.epsilon and trial.user_attrs["seconds"] == record.seconds
        assert trial.user_attrs["record"] == f"{folder.records}#{record.id}"
        assert trial.user_attrs["no epsilon covers"] == ["accuracy[lr]"]
        assert trial.duration is not None and trial.duration.total_seconds() > 0
    (row,) = found[ROWS]
    assert row.params == {"row": "selection-only"} and row.user_attrs["method"] == "selection-only"
    assert found[SEARCH][0].params == {SIGMA: known[found[SEARCH][0].user_attrs["trial"]].setting(SIGMA)}
    study = optuna.load_study(study_name=SEARCH, storage=JournalStorage(JournalFileBackend(str(folder.journal))))
    assert study.metric_names == ["accuracy[lr]"] and study.directions[0].name == "MAXIMIZE"
    assert study.user_attrs["to state"].startswith("State epsilon")


def test_the_file_of_the_sweep_names_the_place_and_the_run_stays_the_same(write_sweep: Callable[..., Path]) -> None:
    plain, other = load_sweep(write_sweep()), load_sweep(write_sweep(studies="postgresql://me@db.example.org/studies"))
    from privimage.sweeps.resume import dumped, reservation_of

    assert (
        plain.studies == "journal" and dumped(plain) == dumped(other) and reservation_of(plain) == reservation_of(other)
    )


def test_trials_run_end_fail_and_are_not_doubled(phase: Phase) -> None:
    studies = started(phase)
    studies.begun(job(7.0))
    assert states(shown(phase.work.folder)[SEARCH]) == ["RUNNING", "RUNNING"], "one a seed"
    first = ended(phase, searched(phase, 7.0))
    studies.ended([first])
    studies.failed(job(7.0))
    assert states(shown(phase.work.folder)[SEARCH]) == ["COMPLETE", "FAIL"]
    studies.begun(job(7.0))  # tried again
    studies.ended([ended(phase, searched(phase, 7.0, seed=1))])
    assert states(shown(phase.work.folder)[SEARCH]) == ["COMPLETE", "FAIL", "COMPLETE"]
    before = shown(phase.work.folder)
    for _ in range(2):
        started(phase)
    assert shown(phase.work.folder) == before, "another start adds nothing"
    row = next(trial for trial, role in phase.fixed if role == "compare")
    studies.begun({"fixed": 0})
    studies.ended([ended(phase, row, role="compare")])
    assert states(shown(phase.work.folder)[ROWS]) == ["COMPLETE"]


def test_what_a_killed_process_left_running_is_closed_and_what_it_did_not_show_is_added(phase: Phase) -> None:
    studies = started(phase)
    studies.begun(job(7.0))
    studies.begun(job(9.0))
    ended(phase, searched(phase, 7.0))  # the process is killed before it is shown
    ended(phase, searched(phase, 8.0))
    started(phase)
    found = {(t.params[SIGMA], t.user_attrs["seed"]): t.state.name for t in shown(phase.work.folder)[SEARCH]}
    assert found == {
        (7.0, 0): "COMPLETE", (7.0, 1): "FAIL", (9.0, 0): "FAIL", (9.0, 1): "FAIL", (8.0, 0): "COMPLETE",
    }  # fmt: skip


def test_a_study_with_results_that_the_run_does_not_have_is_made_anew(phase: Phase) -> None:
    """The folder was deleted, and the sweep begun again."""
    ended(phase, searched(phase, 7.0))
    started(phase)
    phase.work.folder.records.unlink()
    ended(phase, searched(phase, 8.0))
    started(phase)
    assert [trial.params for trial in shown(phase.work.folder)[SEARCH]] == [{SIGMA: 8.0}]


def test_a_damaged_journal_is_begun_anew(phase: Phase) -> None:
    ended(phase, searched(phase, 7.0))
    started(phase)
    journal = phase.work.folder.journal
    journal.write_bytes(journal.read_bytes()[:-9] + b'{"op_code":4,"worker_id":"x"}\n{"a')
    started(phase)
    assert states(shown(phase.work.folder)[SEARCH]) == ["COMPLETE"]


def test_of_a_hidden_phase_nothing_is_shown_after_its_start(phase: Phase) -> None:
    ended(phase, searched(phase, 7.0))
    studies = started(phase)
    assert caught_up(phase.work.folder.records, [studies], hidden=True) == []
    assert len(caught_up(phase.work.folder.records, [studies], hidden=False)) == 1
    assert caught_up(phase.work.folder.records, [], hidden=False) == []


def test_new_records_are_given_once(phase: Phase) -> None:
    read = NewRecords(phase.work.folder.records)
    assert read() == []
    first = ended(phase, searched(phase, 7.0))
    assert read() == [first] and read() == []
    second = ended(phase, searched(phase, 8.0))
    raw = phase.work.folder.records.read_bytes()
    phase.work.folder.records.write_bytes(raw[:-5])
    assert read() == []
    phase.work.folder.records.write_bytes(raw)
    assert read() == [second]


class Event:
    """A trial of Tune, as far as it is read."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config


@pytest.mark.usefixtures("knows_password")
@pytest.mark.thorough
def test_a_server_that_dies_costs_one_line_and_the_next_start_makes_up_for_it(
    phase: Phase, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = started(phase, server.url)
    following = Following(NewRecords(phase.work.folder.records), [studies])
    following.on_trial_start(0, [], Event(job(7.0)))
    server.stop()
    try:
        for sigma in (7.0, 8.0):
            for seed in (0, 1):
                ended(phase, searched(phase, sigma, seed))
            following.on_trial_complete(0, [], Event(job(sigma)))
            following.on_trial_start(0, [], Event(job(9.0)))
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "no longer shown, the next start makes up for it" in said
        assert PASSWORD not in said and len(records.load(phase.work.folder.records)) == 4
    finally:
        server.start()
    started(phase, server.url)
    found = [(trial.params[SIGMA], trial.state.name) for trial in shown(server)[SEARCH]]
    assert sorted(found) == [(7.0, "COMPLETE")] * 2 + [(8.0, "COMPLETE")] * 2
    other = phase.work.sweep.model_copy(update={"studies": server.url})
    with pytest.raises(InputError, match=r"studies: .* holds 'tiny: .*' of another run; choose another name"):
        open_studies(other, Root(path=phase.work.folder.path).run("tiny"))


@pytest.mark.usefixtures("knows_password")
@pytest.mark.thorough
def test_a_run_without_a_server_is_put_on_one_and_the_dashboard_lists_it(
    server: Server, finished_sweep: Finished, tmp_path: Path
) -> None:
    mine = finished_sweep.copied(tmp_path / "copy")
    on_it = {"studies": server.url}
    for name in shown(server):  # of the tests above, whose runs have this name too
        optuna.delete_study(study_name=name, storage=stored(server))
    for _ in range(2):  # the second adds nothing
        assert run(mine.values | on_it, mine.root).failures == ()
        assert [states(shown(server)[name]) for name in NAMES] == [["COMPLETE"]] * 3
    on_a_server(mine.folder, server)


@pytest.mark.slow  # it shows what the one above does, and trials while they run
@pytest.mark.usefixtures("knows_password", "local_ray")
def test_a_whole_sweep_on_a_server(
    server: Server, privimage: Callable[..., tuple[int, str, str]], write_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    file = write_sweep(name="shown", studies=server.url, compare=["selection-only"], resources={"cpu": 1.5})
    for _ in range(2):  # the second adds nothing
        code, _, said = privimage("sweep", file, "--root", tmp_path / "runs", "--quiet")
        assert code == 0, said
        names = [name.replace("tiny", "shown") for name in NAMES]
        assert [states(shown(server)[name]) for name in names] == [["COMPLETE"]] * 3
    folder = Root(path=tmp_path / "runs").run("shown")
    assert not folder.journal.exists()
    on_a_server(folder, server)


def on_a_server(folder: RunFolder, server: Server) -> None:
    """The run names the place and keeps no password, and the dashboard finds it there."""
    name = yaml.safe_load(folder.sweep.read_text())["name"]
    assert yaml.safe_load(folder.sweep.read_text())["studies"] == server.url
    files = [path for path in folder.root.path.rglob("*") if path.is_file()]
    assert files and not [path for path in files if PASSWORD.encode() in path.read_bytes()]
    listed = {study["study_name"] for study in dashboard(server.url.replace("postgresql:", "postgresql+psycopg:"))}
    assert listed >= {study.replace("tiny", name) for study in NAMES}


@pytest.mark.thorough
def test_the_dashboard_lists_the_journal_of_a_run(finished_sweep: Any) -> None:
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    names = {study["study_name"] for study in dashboard(str(finished_sweep.folder.journal))}
    assert names == {SEARCH, "tiny: search at epsilon 10", ROWS}


def dashboard(storage: str) -> list[dict[str, Any]]:
    """The studies that optuna-dashboard lists, in a process of its own."""
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "import sys; from optuna_dashboard._cli import main; sys.argv[0] = 'optuna-dashboard'; main()"
    serving = subprocess.Popen(
        [sys.executable, "-c", code, storage, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ.copy(),
    )  # fmt: skip
    try:
        for _ in range(240):
            try:
                with urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=30) as answer:
                    found: list[dict[str, Any]] = json.load(answer)["study_summaries"]
                    return found
            except OSError:
                assert serving.poll() is None
                time.sleep(0.5)
        raise AssertionError("the dashboard never answered")
    finally:
        serving.kill()
        serving.wait()


def refused(privimage: Callable[..., tuple[int, str, str]], file: Path, root: Path) -> str:
    """The one line of a sweep that was refused, with nothing charged."""
    begun = time.monotonic()
    code, out, said = privimage("sweep", file, "--root", root)
    assert code == 2 and out == "" and said.count("\n") == 1 and time.monotonic() - begun < 60
    assert not list(root.rglob("ledgers/*.jsonl")) and not list(root.rglob("records.jsonl"))
    return said


def test_a_server_that_cannot_be_used_is_one_line_before_anything_is_charged(
    server: Server, privimage: Callable[..., tuple[int, str, str]], write_sweep: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    root = tmp_path / "runs"
    monkeypatch.setenv("PGPASSWORD", "wrong-secret")
    said = refused(privimage, write_sweep(studies=server.url), root)
    assert "password authentication failed" in said and "wrong-secret" not in said
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"postgresql://me@127.0.0.1:{free.getsockname()[1]}/studies"
        assert f"cannot use {nobody}: " in refused(privimage, write_sweep(studies=nobody), root)
    monkeypatch.setattr(study_store, "find_spec", lambda name: None)
    said = refused(privimage, write_sweep(studies=server.url), root)
    assert "psycopg is not installed; pip install 'privimage[postgres]'" in said


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("postgresql://me:sesame@host/studies", "a password does not belong in the file"),
        ("postgresql://host/studies?password=sesame", "a password does not belong in the file"),
        ("postgresql://host/studies?PASSWORD=sesame", "a password does not belong in the file"),
        ("postgresql://me:sesame@[host/studies", "no place for studies"),
        ("mysql://me@host/sesame", "no place for studies; use journal, null, or postgresql://"),
        ("postgresql://sesame@host", "no place for studies"),
        ("postgresql://sesame@host:port/studies", "no place for studies"),
    ],
)
def test_addresses_that_are_none_are_refused_and_never_repeated(
    address: str, says: str, write_sweep: Callable[..., Path]
) -> None:
    with pytest.raises(InputError) as caught:
        load_sweep(write_sweep(studies=address))
    assert str(caught.value).startswith("studies: ") and says in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert load_sweep(write_sweep(studies=None)).studies is None
