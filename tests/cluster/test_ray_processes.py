"""Whose a process is: of several Rays on one machine, only those of one are found, whatever they are called."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from ray_processes import processes_of


def test_only_the_processes_of_that_folder_are_found(tmp_path: Path) -> None:
    mine, other = tmp_path / "chaos1", tmp_path / "chaos11"
    for folder in (mine, other):
        folder.mkdir()

    def start(**given: Any) -> subprocess.Popen[bytes]:
        told = {"PATH": os.environ["PATH"], **given.pop("env", {})}
        begun = subprocess.Popen(["bash", "-c", "exec -a ray::ImplicitFunc sleep 60"], env=told, **given)
        deadline = time.monotonic() + 30
        while not Path(f"/proc/{begun.pid}/cmdline").read_bytes().startswith(b"ray::"):  # it is bash at first
            assert begun.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        return begun

    with (mine / "log").open("w") as log:
        ours = [start(env={"RAY_TMPDIR": str(mine / "ray")}), start(stdout=log)]
    theirs = [start(env={"RAY_TMPDIR": str(other)}), start()]
    try:
        found = processes_of(mine)
        assert {pid for pid, _ in found} == {process.pid for process in ours}
        assert [process.pid for process in theirs[:1]] == [pid for pid, _ in processes_of(other)]
    finally:
        for process in (*ours, *theirs):
            process.kill()
            process.wait()
