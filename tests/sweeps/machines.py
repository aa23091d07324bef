"""Commands on machines of their own: a home, a cache, a Ray each; what they share is a bucket. Not a test module."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from buckets import environment_of

from privimage.bucket import Bucket

COMMAND = "from privimage.sweeps.cli import main; main()"


@dataclass
class Machine:
    """A machine below `folder`, which knows of the server at `url`; `also` is more of its environment."""

    folder: Path
    url: str
    also: Mapping[str, str] = field(default_factory=dict)
    ray: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="m", dir="/tmp"))
    commands: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        atexit.register(self.gone)

    def gone(self) -> None:
        """SIGKILL for all of its processes, as a machine that loses its power; what Ray kept there goes too."""
        while left := self.processes():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self.commands:
                process.poll()
            time.sleep(0.05)
        shutil.rmtree(self.ray, ignore_errors=True)

    def started(self, *words: object) -> subprocess.Popen[str]:
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        names = {"HOME": str(home), "RAY_TMPDIR": self.ray, "RAY_AUTH_MODE": "disabled"}
        kept = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "PRIVIMAGE_CACHE")}
        command = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *map(str, words)],
            env={**kept, **environment_of(self.url), **names, **self.also},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.commands.append(command)
        return command

    def processes(self) -> list[int]:
        """All processes of this machine, by the environment that they inherit: Ray's leave the group they start in."""
        mark, found = f"RAY_TMPDIR={self.ray}\0".encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def run(self, *words: object) -> tuple[int, str, str]:
        process = self.started(*words)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err


def killed_when(machine: Machine, process: subprocess.Popen[str], done: Callable[[], bool]) -> None:
    """Let the machine lose its power, with the process and all that it started, once `done`."""
    deadline = time.monotonic() + 600
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.1)
    machine.gone()
    process.wait()


def below(bucket: Bucket, folder: str, part: str = "") -> list[str]:
    return [name for name in bucket.names(folder) if part in name]
