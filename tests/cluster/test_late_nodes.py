"""The number of trials at once follows the cluster: a node that joins late is used, one that leaves is missed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import two_nodes
from ray.tune.search import Searcher
from slow_method import METHOD, logged, slow_sweep
from toy_packages import install

from privimage import record as records
from privimage.cluster.resources import Resources
from privimage.paths import Root
from privimage.privacy.ledger import Ledger
from privimage.sweeps import at_once
from privimage.sweeps.at_once import Capacity, RoomLimiter


class Endless(Searcher):  # type: ignore[misc]
    """Always has another trial."""

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"x": 0}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing."""


def test_as_many_are_asked_for_as_there_is_room_for_now() -> None:
    room = 1
    limiter = RoomLimiter(Endless(metric="x", mode="min"), room=lambda: room)
    assert limiter.suggest("a") and limiter.suggest("b") is None
    room = 3
    assert limiter.suggest("b") and limiter.suggest("c") and limiter.suggest("d") is None
    room = 1
    limiter.on_trial_complete("a")
    assert limiter.suggest("d") is None
    limiter.on_trial_complete("b")
    limiter.on_trial_complete("c")
    assert limiter.suggest("d")


def test_the_room_is_that_of_the_nodes_that_are_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at again and again; where no node holds a trial any more, one waits for one that does."""
    there = [{"CPU": 1.0}]
    monkeypatch.setattr(at_once, "nodes", lambda: there)
    monkeypatch.setattr(at_once, "EVERY", 0.0)
    room = Capacity(Resources())
    assert room() == 1
    there.append({"CPU": 4.0})
    assert room() == 5
    there.clear()
    assert room() == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_that_joins_late_is_used_and_what_one_took_along_is_done_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_values: Callable[[], dict[str, Any]]
) -> None:
    install(tmp_path / "site", METHOD, monkeypatch, name="slow")
    search = {"method.rounds": {"choice": list(range(1, 11))}}
    file = slow_sweep(tiny_values(), tmp_path, search=search, trials=10, resources={"cpu": 1})
    log = tmp_path / "log"
    with two_nodes.cluster(
        {"num_cpus": 1}, python=[tmp_path / "site"], SLOW_LOG=str(tmp_path), **two_nodes.QUICK
    ) as nodes:
        words = ("sweep", file, "--address", nodes.address, "--root", tmp_path / "runs")
        with (tmp_path / "said").open("w") as said:
            sweep = nodes.start(*words, stdout=said, stderr=subprocess.STDOUT)
        wait_until(log.exists, sweep)
        nodes.say({"num_cpus": 1})
        wait_until(lambda: two_at_once(tmp_path), sweep)
        nodes.say(0)  # killed with the trial that it runs
        assert sweep.wait(timeout=500) in (0, 1), (tmp_path / "said").read_text()[-3000:]  # 1: lost with it, twice
        again = nodes.sweep(file, root=tmp_path / "runs")
        assert again.returncode == 0, again.stderr[-3000:]
    root = Root(path=tmp_path / "runs")
    found, charges = records.load(root.run("tiny").records), Ledger(root.ledger("tiny-v1")).charges()
    assert len(found) == len({record.id for record in found}) == 10
    assert len(charges) == len({charge.id for charge in charges}) == 10


def two_at_once(folder: Path) -> bool:
    """Whether two stages were computed at the same time on two nodes."""
    lines = [line for stage in logged(folder).values() for line in stage]
    return any(
        a["node"] != b["node"] and a["began"] < b["ended"] and b["began"] < a["ended"] for a in lines for b in lines
    )


def wait_until(condition: Callable[[], bool], sweep: subprocess.Popen[str]) -> None:
    """Until it holds, while the sweep runs."""
    end = time.monotonic() + 300
    while not condition():
        assert sweep.poll() is None, "the sweep has ended"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.5)
