"""A PostgreSQL server of its own, with its data in a folder of its own. Not a test module."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")
PASSWORD = "sesame-4711"
NOBODY = ("postgres", "nobody")  # who runs the server where the tests are run by root, whom initdb refuses


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl; None if there is no server."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    return next((path for place in PLACES for path in sorted(Path("/").glob(place.lstrip("/")))), None)


class Server:
    """On a free port of 127.0.0.1; asks everybody for PASSWORD."""

    def __init__(self, bin: Path) -> None:
        self._bin, self.folder = bin, Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        (self.folder / "password").write_text(PASSWORD)
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            who = next(user for user in NOBODY if any(entry.pw_name == user for entry in pwd.getpwall()))
            self._as = {"user": who, "group": pwd.getpwnam(who).pw_gid, "extra_groups": []}
            for path in (self.folder, self.folder / "password"):
                shutil.chown(path, who)
        self._do("initdb", "-D", "data", "-U", "sweeper", "-A", "scram-sha-256", "--pwfile=password", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://sweeper@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off -c shared_buffers=8MB"
        self._do("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        self._do("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _do(self, program: str, *words: str) -> None:
        command = [str(self._bin / program), *words]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # a server would keep a pipe open
        subprocess.run(command, cwd=self.folder, check=True, timeout=120, **self._as, **silent)
