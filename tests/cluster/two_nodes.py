"""Ray clusters of several nodes on this machine, each node a raylet of its own, and sweeps that run on them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buckets import wait_for

ROOT = Path(__file__).parents[2]
SERVE = """
import json, sys
from ray.cluster_utils import Cluster
small = {"object_store_memory": 200 * 2**20}
head, *others = json.loads(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **small, **head})
nodes = [cluster.add_node(**small, **node) for node in others]
print(cluster.address, flush=True)
for line in sys.stdin:  # a node that joins, or the number of one that leaves
    said = json.loads(line)
    if isinstance(said, int):
        cluster.remove_node(nodes[said], allow_graceful=False)
    else:
        nodes.append(cluster.add_node(**small, **said))
    print("done", flush=True)
cluster.shutdown()
"""
QUICK = {  # a node that was killed is found out within seconds
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """A cluster: its address, and what a command is started with on it."""

    address: str
    environment: Mapping[str, str]
    process: subprocess.Popen[str]

    def say(self, what: Any) -> None:
        """Let a node join (what it has), or one of the others leave (its number). Returns once it has."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        assert next(self.process.stdout) == "done\n"

    def start(self, *words: object, **files: Any) -> subprocess.Popen[str]:
        """`privimage` with these words, begun on the cluster."""
        command = [sys.executable, "-m", "privimage.sweeps.cli", *map(str, words)]
        return subprocess.Popen(command, env=self.environment, text=True, **files)

    def sweep(self, file: Path, *, root: Path) -> subprocess.CompletedProcess[str]:
        """A sweep, to its end."""
        words = ("sweep", file, "--address", self.address, "--root", root)
        process = self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=500)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def ray_environment(folder: Path, python: Sequence[Path] = (), **also: str) -> dict[str, str]:
    """What the processes of a Ray that keeps its files in `folder` are started with, and nothing of another's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_") or "niceness" in name}
    return kept | {
        "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder),
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *python))), **also,
    }  # fmt: skip


@contextmanager
def head(*words: str, port: int, python: Sequence[Path] = (), **also: str) -> Iterator[dict[str, str]]:
    """A head that `ray start` began with these words, once it answers at 127.0.0.1; what a command is started with."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # short: the path of a unix socket is limited
    environment = ray_environment(folder, python, **also)
    of = f"start --head --node-ip-address=127.0.0.1 --port={port} --object-store-memory=150000000 --block"
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *of.split(), *words],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(port, process)
        yield environment
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def cluster(*nodes: Mapping[str, Any], python: Sequence[Path] = (), **also: str) -> Iterator[Nodes]:
    """A cluster of these nodes, the head first; `python` are folders with packages, `also` more of the environment."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # short: the path of a unix socket is limited
    environment = ray_environment(folder, python, **also)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, json.dumps(nodes)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        address = next((line for line in process.stdout if re.fullmatch(r"[\d.]+:\d+\n", line)), "").strip()
        assert address, "no cluster"
        yield Nodes(address=address, environment=environment, process=process)
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)
