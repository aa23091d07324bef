"""Joining a Ray cluster, or starting one on this machine: every failure is one line with its reason and the fix."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError

import privimage
from privimage.cluster.quiet import quiet
from privimage.errors import InputError

HERE = "this machine"
LEAVE_SECONDS = 10.0
DEAD_SECONDS = 5.0  # then it was no end of the run; before Ray notices, and ends the process from C++
ENDING_SECONDS = 25.0  # longer than a run that was asked to stop may take: its whole process group may be ending
HEAD_SECONDS = 30.0  # a head that is begun anew is back by then; Ray waits for a minute
KNOCK_SECONDS = 10.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # of a gRPC client: magic, empty settings
SETTINGS = 4
RAY = ("gcs_server", "raylet")  # without one of them nothing can go on
# Ray puts the folder that a run starts from first on the path of its workers, where a folder of the user's that is
# called privimage would take the place of ours.
OURS = Path(privimage.__file__).parents[1]


@contextmanager
def connected(address: str | None, *, stopping: threading.Event | None = None) -> Iterator[str]:
    """Be connected as `connect` does; at the end leave the cluster again, which ends every worker of this process.

    `stopping` is set when this process was asked to stop: Ray's own processes may then end before it.
    """
    mine, left = not ray.is_initialized(), threading.Event()
    with ExitStack() as silence:
        silence.enter_context(quiet())
        where = connect(address)
        if mine:
            stopping = stopping or threading.Event()
            threading.Thread(target=_watch, args=(left, stopping), daemon=True).start()
            if where != HERE:
                threading.Thread(target=_watch_head, args=(left, stopping, where), daemon=True).start()
        try:
            yield where
        finally:
            left.set()
            if mine:
                _leave(silence.pop_all())


def connect(address: str | None) -> str:
    """Join the Ray cluster at `address`; without one, or for "local", start one on this machine. Returns where.

    Nothing else is joined without being named: RAY_ADDRESS and the cluster that `ray start` left running count only
    for the address "auto". Raises InputError, within a minute, if it cannot be reached.
    """
    if ray.is_initialized():
        return str(ray.get_runtime_context().gcs_address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "FATAL", "namespace": "privimage"}
    if address in (None, "local"):
        _init(HERE, address="local", include_dashboard=False, **options)
        return HERE
    found = _resolved(str(address))
    _knock(found, named=str(address))
    _init(f"the Ray cluster at {found}", address=found, **options)
    return found


def nodes() -> list[dict[str, float]]:
    """The resources of every node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def ignored() -> str | None:
    """RAY_ADDRESS, if it names a cluster that a run without an address does not use."""
    named = os.environ.get("RAY_ADDRESS", "")
    return named if named not in ("", "local") else None


def hide_sessions() -> None:
    """Close Ray's own folders on this machine to others: its logs and Tune's files have an entry a trial."""
    node = ray._private.worker._global_node
    folder = None if node is None else Path(node.get_session_dir_path())
    if folder is not None and folder.is_dir() and folder.stat().st_uid == os.getuid():
        folder.chmod(0o700)


def _watch(left: threading.Event, stopping: threading.Event) -> None:
    """End this process, in one line, if Ray's own processes on this machine end before `left` is set.

    Ray itself waits for up to a minute, says so in its own words, and ends the process from C++.
    """
    node = ray._private.worker._global_node
    while not left.wait(1.0):
        ended = [] if node is None else [kind for kind, _ in node.dead_processes() if kind in RAY]
        if ended and not left.wait(DEAD_SECONDS) and not (stopping.is_set() and left.wait(ENDING_SECONDS)):
            _end(f"Ray's own process {ended[0]} was killed")


def _watch_head(left: threading.Event, stopping: threading.Event, where: str) -> None:
    """The same, if for HEAD_SECONDS nothing has listened where the head of the cluster was. A cut is left to Ray."""
    host, _, port = where.rpartition(":")
    since = time.monotonic()
    while not left.wait(2.0):
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
        except ConnectionRefusedError:
            if time.monotonic() - since > HEAD_SECONDS and not stopping.is_set():
                _end(f"the head of the Ray cluster at {where} has ended")
            continue
        except OSError:
            pass
        since = time.monotonic()


def _end(why: str) -> None:
    """End this process in one line."""
    try:
        os.write(2, f"privimage: {why}; nothing was lost; run the same command again\n".encode())
    finally:  # also where the terminal is gone
        os._exit(1)


def _leave(silence: ExitStack) -> None:
    """As ray.shutdown, for at most LEAVE_SECONDS: it would wait for a minute where the cluster is gone.

    `silence` is closed when it has ended, however long that takes: it says what it waits for.
    """

    def leave() -> None:
        with silence:
            ray.shutdown()

    leaving = threading.Thread(target=leave, daemon=True)
    leaving.start()
    leaving.join(timeout=LEAVE_SECONDS)


def _resolved(address: str) -> str:
    """HOST:PORT of an address. Raises InputError if it has another form, or if "auto" finds no cluster."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "") or _started_here()
    host, colon, port = address.rpartition(":")
    if "://" in address or not host or not colon or not port.isdigit():
        raise InputError(
            f"--address: got '{address}'; give HOST:PORT of the cluster's head as `ray start` prints it (port 6379 by "
            "default), or auto for the cluster of this machine"
        )
    return address


def _started_here() -> str:
    """The address that `ray start` left on this machine."""
    folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    try:
        return (Path(folder) / "ray" / "ray_current_cluster").read_text().strip()
    except OSError:
        raise InputError(
            "--address: auto found no Ray cluster: RAY_ADDRESS is not set and no `ray start` has left its address on "
            "this machine; start one, or give HOST:PORT"
        ) from None


def _knock(address: str, *, named: str) -> None:
    """Raise InputError if no gRPC server listens at HOST:PORT (Ray itself would try for a quarter of an hour)."""
    host, _, port = address.rpartition(":")
    where = f"--address: cannot reach a Ray cluster at {address}"
    where += f" (which is what '{named}' stands for)" if named != address else ""
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS) as wire:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return
            wire.sendall(PREFACE)
            answer = wire.recv(9)
    except TimeoutError:
        raise InputError(f"{where}: no answer in {KNOCK_SECONDS:.0f} seconds; is its head running?") from None
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{where}: {reason}; is its head running, and is that its address?") from None
    if len(answer) < 9 or answer[3] != SETTINGS:
        raise InputError(f"{where}: what listens there is no Ray head; give the HOST:PORT that `ray start` printed")


def _hush() -> None:
    """Keep Ray's own account of a killed worker off the terminal: a screen for what is one line of ours."""
    worker = ray._private.worker
    if hasattr(worker, "print_to_stdstream"):  # no option turns it off: `log_to_driver` is for what workers print
        worker.print_to_stdstream = lambda *_, **__: None


def _init(where: str, **options: Any) -> None:
    """As ray.init. Raises InputError in one line for whatever it raises."""
    _hush()
    try:
        with chdir(OURS):
            _init_keeping_sigterm(**options)
    except (RayError, OSError, ValueError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:400]
        raise InputError(f"Ray did not start on {where}: {reason}{_fix(error, reason)}") from None


def _fix(error: Exception, reason: str) -> str:
    """What to do about an error of ray.init, as the end of its line."""
    if "AF_UNIX" in reason or "socket path" in reason.lower():
        folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
        return f"; its sockets lie under {folder}, a path that is too long; set RAY_TMPDIR to a short one, e.g. /tmp"
    if "Version mismatch" in reason:
        return "; install the same versions of Ray and Python here as on the cluster"
    if isinstance(error, AuthenticationError) or "token" in reason.lower():
        return (
            "; set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's token (RAY_AUTH_MODE=disabled if it has none)"
        )
    return "; see the newest folder under /tmp/ray for its logs" if "/" not in reason else ""


def _init_keeping_sigterm(**options: Any) -> None:
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
