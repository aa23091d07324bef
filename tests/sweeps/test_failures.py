"""What Ray Tune tells of a failed trial, and the one line that is made of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from privimage.cluster.quiet import SWITCHES
from privimage.errors import LostAnswer, TrialFailed
from privimage.sweeps.drive import HIDDEN, lines_of
from privimage.sweeps.failures import Failed, failure


@pytest.mark.thorough
@pytest.mark.timeout(200)
def test_every_failure_of_a_real_trial_is_one_line(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: dict[str, Any]) -> None:  # in here: workers cannot import a test
        match config["how"]:
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "lost":
                raise LostAnswer("store/x: paid for but missing; restore it from a backup")
            case _:
                raise ZeroDivisionError("one line\nand another")

    for name, value in SWITCHES.items():
        monkeypatch.setenv(name, value)
    failed = Failed()
    tune.Tuner(
        tune.with_resources(fail, {"cpu": 1}),
        param_space={"how": tune.grid_search(["killed", "lost", "bug"])},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            name="t",
            storage_path=str(tmp_path),
            verbose=0,
            callbacks=[failed],
        ),
    ).fit()
    said = {config["how"]: failure(error, where="dpdm at epsilon 1") for config, error in failed.errors}
    assert said["lost"] == "dpdm at epsilon 1: store/x: paid for but missing; restore it from a backup"
    assert said["bug"] == "dpdm at epsilon 1: ZeroDivisionError: one line; run the same command again"
    assert "its worker process or its machine was killed" in said["killed"]
    assert all("\n" not in line and len(line) < 200 for line in said.values())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "Task was killed due to the node running low on memory.\nMemory on the node ...",
            "out of memory; run the same",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "smaller method.finetune.physical_batch"),
        ("ray.train.WorkerGroupError: Training failed due to worker errors: ActorDiedError", "was killed"),
        ("something else\nentirely", "dpdm: something else entirely; run the same command again"),
    ],
)
def test_text_of_other_failures(text: str, says: str) -> None:
    assert says in failure(RuntimeError(text), where="dpdm")


def test_failures_of_a_private_selection_are_one_line_whatever_they_are() -> None:
    """Two lines would tell of two trials."""
    mine, other = (f"row {i}" for i in (1, 2))
    blew, full = TrialFailed("blew up; lower lr"), TrialFailed("no room")
    found = lines_of([(HIDDEN, blew), (mine, blew), (HIDDEN, full), (mine, blew), (other, full), (HIDDEN, blew)])
    assert len(found) == 3 and sum(line.startswith(HIDDEN) for line in found) == 1
