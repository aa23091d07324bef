"""Ray's own autoscaler, with nodes that are processes of this machine: it adds them for trials that queue alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets import free_port
from slow_method import METHOD, logged, slow_sweep
from toy_packages import install
from two_nodes import head

CONFIG: dict[str, Any] = {
    "cluster_name": "here",
    "provider": {"type": "fake_multinode", "disable_node_updaters": True, "disable_launch_config_check": True},
    "auth": {},
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 5,
    "max_workers": 2,
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "more": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    "head_node_type": "ray.head.default",
    "file_mounts_sync_continuously": False,
    **{name: {} for name in ("file_mounts", "head_node", "worker_nodes")},
    **{
        f"{name}_commands": []
        for name in ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    },
    **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
}


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a head with one core, beside which an autoscaler starts up to two nodes with one each."""
    install(tmp_path / "site", METHOD, monkeypatch, name="slow")
    port = free_port()
    config = CONFIG | {"provider": CONFIG["provider"] | {"gcs_address": f"127.0.0.1:{port}"}}
    (tmp_path / "scaler.json").write_text(json.dumps(config))
    words = ("--num-cpus=1", "--include-dashboard=false", f"--autoscaling-config={tmp_path / 'scaler.json'}")
    also = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "SLOW_LOG": str(tmp_path)}
    with head(*words, port=port, python=[tmp_path / "site"], **also) as environment:
        yield f"127.0.0.1:{port}", environment


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("queued", [None, 2])
def test_nodes_are_added_for_trials_that_queue(
    queued: int | None,
    started: tuple[str, dict[str, str]],
    tiny_values: Callable[[], dict[str, Any]],
    tmp_path: Path,
) -> None:
    address, environment = started
    search = {"method.rounds": {"choice": list(range(1, 25))}}
    resources = {"cpu": 1} if queued is None else {"cpu": 1, "queued": queued}
    file = slow_sweep(tiny_values(), tmp_path, search=search, trials=24, resources=resources)
    words = ["sweep", str(file), "--address", address, "--root", str(tmp_path / "runs")]
    done = subprocess.run(
        [sys.executable, "-m", "privimage.sweeps.cli", *words],
        env=environment, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    used = {line["node"] for stage in logged(tmp_path).values() for line in stage}
    assert len(used) == 1 if queued is None else len(used) >= 2
