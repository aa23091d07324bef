"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from privimage.errors import InputError

LEAVE_SECONDS = 10.0


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be connected as `connect` does; at the end leave the cluster again, which ends every worker of this process."""
    mine = not ray.is_initialized()
    connect(address)
    try:
        yield
    finally:
        if mine:
            _leave()


def _leave() -> None:
    """As ray.shutdown, for at most LEAVE_SECONDS: it would wait for a minute where the cluster is gone."""
    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(timeout=LEAVE_SECONDS)


def connect(address: str | None) -> None:
    """Join the Ray cluster at `address`, or start one on this machine. Raises InputError if it cannot be reached."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "namespace": "privimage"}
    if address is None:
        _init(include_dashboard=False, **options)
        return
    _knock(address)
    try:
        _init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--address: cannot reach a Ray cluster at {address} ({reason})") from None


def _init(**options: Any) -> None:
    """As ray.init, which takes SIGTERM for itself and answers it by an exit: the caller's answer stays."""
    answer = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(answer):
        ray.init(**options)
        return
    try:
        ray.init(**options)
    except SystemExit:
        answer(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, answer)


def _knock(address: str) -> None:
    """Raise InputError if nobody listens at HOST:PORT (Ray itself would try for a quarter of an hour)."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", "local": Ray answers at once
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(f"--address: cannot reach a Ray cluster at {address} ({error.strerror or error})") from None
