"""Every node sees the root, or the sweep does not begin: two nodes, one of which has another disk at that path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from privimage import record as records
from privimage.bucket import Bucket
from privimage.cluster import shared
from privimage.cluster.execute import Site, execute
from privimage.errors import InputError, TrialFailed
from privimage.paths import Root
from privimage.privacy.ledger import Ledger
from privimage.sweeps import run
from privimage.sweeps.sweep import load_sweep

ROOT = Path(__file__).parents[2]
ALONE = ["unshare", "--mount", "--propagation", "private"]  # a raylet behind it has mounts of its own
JOIN = """
mount -t tmpfs none {hidden} &&
exec {ray} start --address={address} --num-cpus=2 --object-store-memory=100000000 --block
"""
HEAD = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False,
                                                        "object_store_memory": 100000000})
print("address", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
ASK = """
import sys, time
from pathlib import Path
import ray
from privimage.cluster.shared import check_shared
from privimage.errors import InputError
ray.init(sys.argv[1], namespace="privimage", log_to_driver=False, logging_level="ERROR")
while len([node for node in ray.nodes() if node["Alive"]]) < 2:
    time.sleep(0.2)
for root in sys.argv[2:]:
    try:
        check_shared(Path(root))
        print("seen", root)
    except InputError as error:
        print("refused", error)
"""


def mounts() -> bool:
    """Whether this user may give a process mounts of its own."""
    if shutil.which("unshare") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        words = [*ALONE, "mount", "-t", "tmpfs", "none", folder]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of two nodes, and their environment: the second has all cores, and another disk below `hidden`."""
    (tmp_path / "hidden").mkdir()
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    environment = {**os.environ, "RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"PRIVIMAGE_CACHE": str(tmp_path / "hidden"), "PYTHONPATH": str(ROOT)}
    started: dict[str, Any] = {"env": environment, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    head = subprocess.Popen([sys.executable, "-c", HEAD], stdin=subprocess.PIPE, **started)
    assert head.stdin is not None and head.stdout is not None
    address = next((line.split()[1] for line in head.stdout if line.startswith("address ")), "")
    join = JOIN.format(hidden=tmp_path / "hidden", ray=Path(sys.executable).parent / "ray", address=address)
    second = subprocess.Popen([*ALONE, "bash", "-c", join], **started)
    try:
        yield address, environment
    finally:
        second.terminate()
        second.wait(timeout=60)
        head.stdin.close()
        head.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.skipif(not mounts(), reason="this user may not mount")
def test_a_node_with_another_disk_is_named(cluster: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    hidden, seen = tmp_path / "hidden" / "runs", tmp_path / "seen" / "runs"
    address, environment = cluster
    words = [sys.executable, "-c", ASK, address, str(seen), str(hidden)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith(("seen", "refused"))]
    assert done.returncode == 0 and len(said) == 2, done.stderr[-2000:]
    assert said[0] == f"seen {seen}" and list(seen.iterdir()) == [], "the token is gone"
    assert said[1].startswith(f"refused --root: got {hidden}, which ") and " and " not in said[1].split(" cannot")[0]
    assert "storage that all nodes see at one path" in said[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not mounts(), reason="this user may not mount")
def test_a_root_in_a_bucket_needs_no_disk_that_nodes_share(
    bucket_url: str, cluster: tuple[str, dict[str, str]], write_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    """All trials run on the node whose working folder is its own; the driver has records and charges by the bucket."""
    address, environment = cluster
    words = ["sweep", write_sweep(trials=2, resources={"cpu": 1}), "--root", bucket_url, "--address", address]
    done = subprocess.run(
        [sys.executable, "-m", "privimage.sweeps.cli", *map(str, words)],
        env=environment, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (here,) = (tmp_path / "hidden" / "privimage" / "roots").iterdir()
    found, ledger = records.load(here / "tiny" / "records.jsonl"), Ledger(Root(path=here).ledger("tiny-v1"))
    bucket = Bucket.open(bucket_url)
    assert len(found) >= 2 and len(found) == len(list(bucket.names("tiny/records.jsonl")))
    assert ledger.verify() == "agrees" and ledger.charges() and not ledger.reservations()
    assert not list((here / "store" / "artefacts").glob("*/*")), "what was made there is in the bucket"
    assert [name for name in bucket.names("store/artefacts") if name.endswith("manifest.json")]


def test_on_one_node_nothing_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.ray, "nodes", lambda: [{"Alive": True, "NodeID": "a", "NodeName": "here"}])
    shared.check_shared(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_sweep_asks_before_anything_is_reserved(
    local_ray: None, write_sweep: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(root: Path) -> None:
        raise InputError(f"--root: got {root}, which b cannot use")

    monkeypatch.setattr(run, "check_shared", refuse)
    root = Root(path=tmp_path / "runs")
    with pytest.raises(InputError, match="which b cannot use"):
        run.run_sweep(load_sweep(write_sweep()), root=root, address=None, quiet=True)
    assert not root.ledger("tiny-v1").exists()


@pytest.mark.parametrize("folder", ["tiny", "tiny/stand-in"])
def test_a_node_that_joined_late_and_does_not_see_the_root_charges_nothing(
    folder: str, write_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    sweep, root = load_sweep(write_sweep()), Root(path=tmp_path / "runs")
    run_folder = root.run(folder)
    run_folder.path.mkdir(parents=True)  # as Tune makes it on every node
    site = Site(folder=run_folder, resources=sweep.resources, actor=None, reservation="sweep tiny")
    trial = sweep.example(budget=sweep.budgets[0])
    with pytest.raises(TrialFailed, match="does not see it; every node has to see the root at one path"):
        execute(trial, site=site, role="search")
    assert not (root.path / Root.LEDGERS).exists() and not root.store.exists()
    run_folder.outer.sweep.write_text("")
    site.arrive()
