"""The network between two nodes is cut while a trial trains on both: the sweep ends well, with nothing lost or doubled.

Each node is in a network namespace, a cable between them; what a cut node still computes, it may still write, as the
disk that both see is not what was cut.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from accounts import Account, noting
from buckets import free_port
from two_nodes import QUICK, ROOT

HERE, THERE = "10.213.77.1", "10.213.77.2"
SPACE, CABLE = "privimage-cut", "pi-cable"  # both ends of it have one name, by which gloo is told
PLUGGED = (
    f"ip netns add {SPACE}",
    f"ip link add {CABLE} type veth peer name {CABLE} netns {SPACE}",
    f"ip address add {HERE}/24 dev {CABLE}",
    f"ip link set {CABLE} up",
    f"ip -n {SPACE} address add {THERE}/24 dev {CABLE}",
    f"ip -n {SPACE} link set {CABLE} up",
    f"ip -n {SPACE} link set lo up",
)


def told(*lines: str) -> bool:
    """Whether the system did all of it."""
    return all(subprocess.run(line.split(), capture_output=True, check=False).returncode == 0 for line in lines)


@pytest.fixture
def cable() -> Iterator[None]:
    """A network of this machine and another."""
    if shutil.which("ip") is None or not told(*PLUGGED):
        pytest.skip("this user may not make networks")
    yield
    told(f"ip link delete {CABLE}", f"ip netns delete {SPACE}")


@dataclass
class Cluster:
    """A head here, a node at the other end of the cable."""

    environment: Mapping[str, str]
    port: int = field(default_factory=free_port)
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{HERE}:{self.port}"

    def start(self, *words: str, before: tuple[str, ...] = ()) -> None:
        ray = str(Path(sys.executable).parent / "ray")
        small = ("--num-cpus=1", "--object-store-memory=150000000", "--block")
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.nodes.append(subprocess.Popen([*before, ray, "start", *words, *small], env=self.environment, **quiet))

    def head(self) -> None:
        self.start("--head", f"--node-ip-address={HERE}", f"--port={self.port}", "--include-dashboard=false")

    def other(self) -> None:
        self.start(f"--address={self.address}", f"--node-ip-address={THERE}", before=("ip", "netns", "exec", SPACE))

    def stop(self) -> None:
        for node in reversed(self.nodes):
            node.terminate()
            node.wait(timeout=60)

    def sweep(self, file: Path, root: Path) -> subprocess.Popen[str]:
        words = ["sweep", str(file), "--address", self.address, "--root", str(root), "--quiet"]
        command = [sys.executable, "-m", "privimage.sweeps.cli", *words]
        return subprocess.Popen(command, env=self.environment, text=True, stderr=subprocess.PIPE)


@pytest.fixture
def cluster(cable: None, tmp_path: Path) -> Iterator[Cluster]:
    """The two nodes; what is computed there is noted in `tmp_path`/log."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short: the path of a unix socket is limited
    noted = noting(tmp_path / "site", tmp_path / "log")
    environment = {**os.environ, **QUICK, **noted, "RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled"}
    environment["GLOO_SOCKET_IFNAME"] = CABLE
    environment["PYTHONPATH"] = os.pathsep.join((noted["PYTHONPATH"], str(ROOT)))
    made = Cluster(environment=environment)
    try:
        made.head()
        time.sleep(8)
        made.other()
        time.sleep(8)
        yield made
    finally:
        told(f"ip link set {CABLE} up")
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_network_is_cut_while_two_nodes_train(
    cluster: Cluster, tiny_values: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    values = tiny_values() | {"resources": {"workers": 2, "cpu": 0.9}}
    values |= {"budgets": values["budgets"][:1]}
    values["method"]["finetune"] |= {"steps": 1500}
    file, root = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(yaml.safe_dump(values))
    sweep = cluster.sweep(file, root)
    wait_until(lambda: any((root / "store" / "internal").glob("generator-*.checkpoint")), sweep)
    assert told(f"ip link set {CABLE} down")
    time.sleep(30)  # the head has found out, and so has the node
    assert told(f"ip link set {CABLE} up")
    cluster.other()
    _, said = sweep.communicate(timeout=600)
    assert sweep.returncode in (0, 1) and "Traceback" not in said, said[-3000:]
    again = cluster.sweep(file, root)
    _, said = again.communicate(timeout=600)
    assert again.returncode == 0, said[-3000:]
    found = Account.of(root, tmp_path / "log", set_id="tiny-v1")
    assert len(found.records) == 1
    assert found.differences(found) == [], "nothing doubled, nothing left open"
    assert set(found.computed) == set(found.stored)


def wait_until(condition: Callable[[], bool], sweep: subprocess.Popen[str]) -> None:
    """Until it holds, while the sweep runs."""
    end = time.monotonic() + 300
    while not condition():
        assert sweep.poll() is None, sweep.communicate()[1][-3000:]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)
