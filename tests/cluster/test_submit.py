"""`ray job submit` as docs/launch.md has it: stopped by `ray job stop`, submitted again, nothing is lost or doubled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from buckets import free_port
from two_nodes import head

from privimage import record as records
from privimage.paths import Root
from privimage.privacy.ledger import Ledger

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of a head that takes jobs, and the environment of its commands."""
    pytest.importorskip("aiohttp_cors", reason="ray[default] is not installed")
    port = free_port()
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "privimage"  # of this tree, whatever is installed
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m privimage.sweeps.cli "$@"\n')
    command.chmod(0o755)
    words = ("--num-cpus=2", "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}")
    with head(*words, port=free_port(), PATH=f"{command.parent}:{os.environ['PATH']}") as environment:
        yield answering(f"http://127.0.0.1:{port}"), environment


def answering(url: str) -> str:
    """The URL, once the dashboard answers there."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        with suppress(URLError, OSError), urlopen(f"{url}/api/version", timeout=5):
            return url
        time.sleep(1)
    raise AssertionError("no dashboard")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_is_stopped_goes_on_when_it_is_submitted_again(
    dashboard: tuple[str, dict[str, str]], write_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    url, environment = dashboard
    file, root = write_sweep(trials=4, compare=["selection-only"]), tmp_path / "runs"
    (tmp_path / "launch").mkdir()
    shutil.copy(file, tmp_path / "launch" / "tiny.yaml")

    def ray(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*RAY, "job", *words], env=environment, capture_output=True, text=True, timeout=600, check=False
        )

    at = ("--address", url)
    submit = ("submit", *at, "--working-dir", str(tmp_path / "launch"))
    sweep = ("--", "privimage", "sweep", "tiny.yaml", "--address", "auto", "--root", str(root))
    begun = ray(*submit, "--submission-id", "one", "--no-wait", *sweep)
    assert begun.returncode == 0, begun.stdout + begun.stderr
    path = Root(path=root).run("tiny").records
    end = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < end, ray("logs", *at, "one").stdout
        time.sleep(0.5)
    assert ray("stop", *at, "one").returncode == 0
    before = len(records.load(path))
    done = ray(*submit, "--submission-id", "two", *sweep)
    assert done.returncode == 0 and "succeeded" in done.stdout, done.stdout[-3000:] + done.stderr[-2000:]
    found = Counter(record.id for record in records.load(path))
    ledger = Ledger(Root(path=root).ledger("tiny-v1"))
    assert before < found.total() == len(found) == 9  # four trials at two budgets, and a row
    assert ledger.verify() == "agrees" and not ledger.reservations()
    assert set(Counter(charge.id for charge in ledger.charges()).values()) == {1}
