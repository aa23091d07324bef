"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import os
import socket
from typing import Any

import ray

from privimage.errors import InputError


def connect(address: str | None) -> None:
    """Join the Ray cluster at `address`, or start one on this machine. Raises InputError if it cannot be reached."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "namespace": "privimage"}
    if address is None:
        ray.init(include_dashboard=False, **options)
        return
    _knock(address)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--address: cannot reach a Ray cluster at {address} ({reason})") from None


def _knock(address: str) -> None:
    """Raise InputError if nobody listens at HOST:PORT (Ray itself would try for a quarter of an hour)."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", "local": Ray answers at once
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(f"--address: cannot reach a Ray cluster at {address} ({error.strerror or error})") from None
