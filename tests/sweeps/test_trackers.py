"""Trackers: each holds the records that a run may show, once each, and none of them can harm a sweep."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ended_trials import SIGMA, ended, new_phase, searched
from tensorboardX.proto.event_pb2 import Event
from whole import IN_TURN, Finished, run

from privimage import record as records
from privimage.errors import InputError
from privimage.paths import Root, RunFolder
from privimage.record import Record
from privimage.record_file import so_far
from privimage.sweeps.phase import Phase
from privimage.sweeps.sweep import load_sweep
from privimage.sweeps.trackers import config
from privimage.sweeps.trackers.config import Trackers
from privimage.sweeps.trackers.tracking import Tracker, trackers_of

Values = Callable[[], dict[str, Any]]
STATED = "State epsilon 1 beside it."


@pytest.fixture
def phase(tiny_values: Values, tmp_path: Path) -> Phase:
    return new_phase(tiny_values(), tmp_path)


def started(phase: Phase, **named: Any) -> Tracker:
    """One start of the command, with the records so far."""
    sweep = phase.work.sweep.model_copy(update={"trackers": Trackers(**named)})
    (tracker,) = trackers_of(sweep, phase.work.folder, stated=STATED)
    tracker.check()
    tracker.catch_up(so_far(phase.work.folder.records))
    return tracker


def events(folder: RunFolder) -> dict[str, list[dict[str, float]]]:
    """The scalars of every event file of TensorBoard, by the folder that it lies in."""
    found: dict[str, list[dict[str, float]]] = {}
    for path in sorted((folder.trackers / "tensorboard").rglob("events.out.*")):
        raw, at, values = path.read_bytes(), 0, {}
        while at < len(raw):  # a record: its length (8 bytes), a checksum (4), the event, a checksum (4)
            size = int.from_bytes(raw[at : at + 8], "little")
            event = Event.FromString(raw[at + 12 : at + 12 + size])
            values |= {value.tag: value.simple_value for value in event.summary.value if value.HasField("simple_value")}
            at += 16 + size
        found.setdefault(path.parent.name, []).append(values)
    return found


def test_tensorboard_reads_every_record_once(phase: Phase) -> None:
    ended(phase, searched(phase, 7.0), value=0.25)
    tracker = started(phase, tensorboard=True)
    second = ended(phase, searched(phase, 8.0), value=0.75)
    tracker.ended([second])
    tracker.close()
    started(phase, tensorboard=True)
    found = events(phase.work.folder)
    assert [len(files) for files in found.values()] == [1, 1], "another start hands nothing over again"
    scalars = [files[0]["ray/tune/accuracy/lr"] for files in found.values()]
    assert sorted(scalars) == [0.25, 0.75]
    name = f"privimage+d-1-{second.id[:8]}"
    assert found[name][0]["ray/tune/seconds"] == 10 and found[name][0]["ray/tune/epsilon_alone"] == pytest.approx(0.9)


def test_a_record_without_times_has_none(phase: Phase) -> None:
    """As that of the winner of a private selection."""
    record = ended(phase, searched(phase, 7.0))
    phase.work.folder.records.unlink()
    records.append(phase.work.folder.records, records.untimed(record))
    started(phase, tensorboard=True)
    (((scalars,),)) = events(phase.work.folder).values()
    assert "ray/tune/seconds" not in scalars and scalars["ray/tune/accuracy/lr"] == 0.5


def test_mlflow_reads_settings_numbers_and_what_to_state(phase: Phase, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    record = ended(phase, searched(phase, 7.0), value=0.25)
    for _ in range(2):
        started(phase, mlflow=uri)
    client = mlflow.MlflowClient(uri)
    (one,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert one.info.status == "FINISHED" and one.data.metrics["accuracy/lr"] == 0.25
    assert one.data.params["trial"] == record.id and float(one.data.params[SIGMA]) == 7
    assert one.data.params["no_epsilon_covers"] == "accuracy/lr" and one.data.params["to_state"] == STATED


def test_a_run_without_a_tracker_is_in_one_that_is_named_later(finished_sweep: Finished, tmp_path: Path) -> None:
    mine = finished_sweep.copied(tmp_path / "copy")
    for _ in range(2):  # the second adds nothing
        assert run(mine.values | {"trackers": {"tensorboard": True}}, mine.root).failures == ()
        assert len(records.load(mine.folder.records)) == len(events(mine.folder)) == 3


@pytest.mark.slow  # while trials run, and in what else is installed
@pytest.mark.usefixtures("local_ray")
def test_a_whole_sweep_is_in_every_tracker_that_is_installed(
    tiny_values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: dict[str, Any] = {"tensorboard": True}
    if config.find_spec("mlflow"):
        named["mlflow"] = f"sqlite:///{tmp_path}/mlflow.db"
    if config.find_spec("wandb"):
        monkeypatch.setenv("WANDB_MODE", "offline")
        named["wandb"] = "tiny"
    values = tiny_values() | IN_TURN | {"compare": ["selection-only"], "trackers": named}
    for _ in range(2):  # the second adds nothing
        assert run(values, tmp_path).failures == ()
        folder = Root(path=tmp_path / "runs").run("tiny")
        known = {record.id: record for record in records.load(folder.records)}
        assert len(known) == 3 and len(events(folder)) == 3
        for name in named:
            (kept,) = folder.trackers.glob(f"{name}-*.jsonl")
            assert kept.read_text().count("\n") == 3
    if "mlflow" in named:
        import mlflow

        client = mlflow.MlflowClient(named["mlflow"])
        found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
        assert {run.data.params["trial"] for run in found} == known.keys()
    if "wandb" in named:
        logs = list((folder.trackers / "wandb").rglob("run-*.wandb"))
        assert len(logs) == 3 and all(in_log(log, known) for log in logs)


def in_log(log: Path, known: dict[str, Record]) -> bool:
    """Whether the log of an offline run of W&B names a trial and its score."""
    raw = log.read_bytes()
    return any(id.encode() in raw for id in known) and b"accuracy/lr" in raw


def test_a_tracker_that_fails_costs_one_line_and_the_next_start_makes_up_for_it(
    phase: Phase, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = started(phase, tensorboard=True)
    phase.work.folder.trackers.write_text("in the way")
    for sigma in (7.0, 8.0):
        tracker.ended([ended(phase, searched(phase, sigma))])
    tracker.close()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("privimage: trackers.tensorboard: no longer told, the next start")
    phase.work.folder.trackers.unlink()
    started(phase, tensorboard=True)
    assert len(events(phase.work.folder)) == 2


def refused(privimage: Callable[..., tuple[int, str, str]], file: Path, root: Path) -> str:
    code, out, said = privimage("sweep", file, "--root", root)
    assert code == 2 and out == "" and said.count("\n") == 1
    assert not list(root.rglob("ledgers/*.jsonl")) and not list(root.rglob("records.jsonl"))
    return said


@pytest.mark.parametrize(("tracker", "package"), config.PACKAGES.items())
def test_a_package_that_is_missing_is_one_line_before_anything_is_charged(
    tracker: str, package: str, privimage: Callable[..., tuple[int, str, str]], write_sweep: Callable[..., Path],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(config, "find_spec", lambda name: None)
    file = write_sweep(trackers={tracker: True if tracker == "tensorboard" else "http://127.0.0.1:1"})
    said = refused(privimage, file, tmp_path / "runs")
    assert said == (
        f"privimage: trackers.{tracker}: {package} is not installed; pip install {package}, or leave it out\n"
    )


def test_a_server_that_nobody_runs_is_one_line_before_anything_is_charged(
    privimage: Callable[..., tuple[int, str, str]], write_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    begun = time.monotonic()
    said = refused(privimage, write_sweep(trackers={"mlflow": address}), tmp_path / "runs")
    assert said.startswith("privimage: trackers.mlflow: cannot be used: ") and time.monotonic() - begun < 120


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://me:sesame@host/", "a password does not belong in the file"),
        ("https://me:sesame@[host/", "trackers.mlflow: no address; use http://HOST:PORT"),
        ("", "trackers.mlflow: no address; use http://HOST:PORT"),
    ],
)
def test_passwords_have_no_place_in_the_file(address: str, says: str, write_sweep: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=says) as caught:
        load_sweep(write_sweep(trackers={"mlflow": address}))
    assert "sesame" not in str(caught.value)


def test_where_a_run_is_shown_does_not_belong_to_the_sweep(write_sweep: Callable[..., Path]) -> None:
    from privimage.sweeps.resume import dumped

    plain, other = load_sweep(write_sweep()), load_sweep(write_sweep(trackers={"tensorboard": True}))
    assert json.dumps(dumped(plain), sort_keys=True) == json.dumps(dumped(other), sort_keys=True)
