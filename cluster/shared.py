"""Whether every node sees the root: before anything is asked, each reads a token that the driver wrote there."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from privimage import disk
from privimage.disk import make_folder, on_disk
from privimage.errors import InputError
from privimage.mirror import mirror_of
from privimage.pull import made

SECONDS = 60  # for a node to start a process and read a file
LEAVING = 5.0  # seconds after which the head knows that a node was killed


def check_shared(root: Path) -> None:
    """Raise InputError, naming the nodes, if one that is alive does not see the root at its path.

    Nothing is looked at on one node. Of a root that is a bucket each node makes its working folder.
    """
    alive = _alive()
    if len(alive) < 2:
        return
    path, mirror = root.resolve(), mirror_of(root.resolve())
    if mirror is not None:
        missing = _failing(alive, ray.remote(_mirrored), mirror.bucket.url, str(path))
        fix = f"see that {path} can be written there, and that it has the credentials of {mirror.bucket.url}"
    else:
        missing = _unseen(alive, path)
        fix = "give a --root on storage that all nodes see at one path, or in a bucket"
    if missing:
        raise InputError(f"--root: got {root}, which {' and '.join(missing)} cannot use; {fix}")


def _alive() -> dict[str, str]:
    """The names of the nodes that are alive, by their ids."""
    return {node["NodeID"]: node["NodeName"] for node in ray.nodes() if node["Alive"]}


def _unseen(alive: dict[str, str], path: Path) -> list[str]:
    token, text = path / f".seen-{secrets.token_hex(8)}", secrets.token_hex(16)
    with on_disk(path):
        make_folder(path)
        disk.write(token, text.encode())
    try:
        return _failing(alive, ray.remote(_seen), str(token), text)
    finally:
        with suppress(OSError):
            os.unlink(token)


def _failing(alive: dict[str, str], task: Any, *words: str) -> list[str]:
    """The names of the nodes on which the task does not return True, or not in time; not of those that left."""
    asked = {
        node: task.options(num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, False))
        .remote(*words)
        for node in alive
    }  # fmt: skip
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=SECONDS)
    silent = [node for node, ref in asked.items() if not _answer(ref)]
    end = time.monotonic() + LEAVING
    while silent and time.monotonic() < end and set(silent) <= _alive().keys():
        time.sleep(0.5)
    return sorted(f"{alive[node]} ({node[:8]})" for node in silent if node in _alive())


def _answer(ref: Any) -> bool:
    try:
        return bool(ray.get(ref, timeout=0))
    except (RayError, InputError):
        return False


def _seen(token: str, text: str) -> bool:
    """Whether the token is there, on the node where this runs."""
    try:
        return Path(token).read_text(encoding="utf-8") == text
    except OSError:
        return False


def _mirrored(url: str, path: str) -> bool:
    """Whether the working folder of the bucket could be made, on the node where this runs."""
    made(url, at=Path(path))
    return True
