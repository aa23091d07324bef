"""Stages with resources of their own, on a real Ray that is told of GPUs which are not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import two_nodes
from slow_method import METHOD, logged, slow_sweep
from toy_packages import install

from privimage import record as records
from privimage.paths import Root
from privimage.privacy.ledger import Ledger

RESOURCES = {
    "driver": "stays",
    "default": {"cpu": 0.2},
    "pretrain": {"gpu": 1},
    "finetune": {"gpu": 0.5, "memory": 0.25},
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_trial_holds_what_its_stage_takes_and_nothing_while_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_values: Callable[[], dict[str, Any]]
) -> None:
    """Two trials begin at once and share the first stage. A process that draws images is killed once.

    The head has no CPU: what runs there are the drivers and the cache, which are asked for there.
    """
    install(tmp_path / "site", METHOD, monkeypatch, name="slow")
    file = slow_sweep(tiny_values(), tmp_path, resources=RESOURCES)
    head, worker = {"num_cpus": 0, "resources": {"stays": 1}}, {"num_cpus": 2, "num_gpus": 2}
    with two_nodes.cluster(head, worker, python=[tmp_path / "site"], SLOW_LOG=str(tmp_path)) as nodes:
        done = nodes.sweep(file, root=tmp_path / "runs")
        (tmp_path / "other").mkdir()
        other = slow_sweep(tiny_values(), tmp_path / "other", resources={**RESOURCES, "driver": "leaves"})
        refused = nodes.sweep(other, root=tmp_path / "other")
    assert done.returncode == 0, done.stderr[-3000:]
    assert refused.returncode == 2, refused.stderr
    assert "resources.driver: got 'leaves', but no node of Ray has it" in refused.stderr.splitlines()[-1]
    assert not list((tmp_path / "other").rglob("*.jsonl")), "nothing was charged"
    log = logged(tmp_path)
    (warm,) = log["warm"]
    assert warm["device"] == "cuda" and warm["mine"]["GPU"] == 1
    assert warm["gpus"] == 1, "the other trial waits, and holds no GPU"
    assert [one["mine"]["GPU"] for one in log["means"]] == [0.5, 0.5]
    assert [one["mine"]["memory"] for one in log["means"]] == [2**28, 2**28]
    assert len({one["pid"] for one in log["warm"] + log["means"]}) == 3, "what had a GPU has ended, and gave it back"
    assert len(log["samples"]) == 3  # one of them was killed
    assert all(one["device"] == "cpu" and not one["mine"].get("GPU") for one in log["samples"])
    root = Root(path=tmp_path / "runs")
    found = records.load(root.run("tiny").records)
    assert len(found) == 2 == len(Ledger(root.ledger("tiny-v1")).charges())
    stages = sorted([(stage.name, stage.origin) for stage in record.stages[:3]] for record in found)
    assert stages == [
        [("warm", "hit"), ("means", "hit"), ("samples", "built")],  # begun again after it was killed
        [("warm", "joined"), ("means", "built"), ("samples", "built")],
    ]
    joined = next(record for record in found if record.stages[0].origin == "joined")
    assert joined.seconds > sum(stage.seconds for stage in joined.stages[:3]) > 4, "whatever process was at it"
