"""Which Ray a run joins: this machine unless it is named, and one line with the fix where it cannot be reached."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from privimage.cluster import connect as module
from privimage.cluster.connect import _fix, _knock, _resolved
from privimage.cluster.quiet import SWITCHES
from privimage.errors import InputError

ROOT = Path(module.__file__).parents[2]


@pytest.fixture
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing was started."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """(HOST:PORT of a server that is no Ray head, what it answers); without an answer it stays silent."""
    answers: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    wire, _ = server.accept()
                except OSError:
                    return
                if answers:
                    wire.sendall(answers[0])
                else:
                    threading.Event().wait(2)
                wire.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}", answers


@pytest.mark.parametrize("address", ["ray://host:10001", "head", "head:", ":6379", "head:port", "http://head:8265", ""])
def test_another_form_is_refused_with_the_right_one(address: str) -> None:
    with pytest.raises(InputError, match=r"--address: got .*; give HOST:PORT") as caught:
        _resolved(address)
    assert "\n" not in str(caught.value)


def test_auto_is_what_the_environment_says_or_what_ray_start_left(
    no_cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="auto found no Ray cluster"):
        _resolved("auto")
    (no_cluster / "ray").mkdir()
    (no_cluster / "ray" / "ray_current_cluster").write_text("127.0.0.1:7\n")
    assert _resolved("auto") == "127.0.0.1:7"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert _resolved("auto") == "10.0.0.1:6379" and module.ignored() == "10.0.0.1:6379"


def test_a_stale_address_is_one_line(no_cluster: Path) -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:6 \(which is what 'auto' stands for\): Connection refused"):
        _knock("127.0.0.1:6", named="auto")


def test_a_server_that_is_no_ray_head_is_one_line(
    listener: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, answers = listener
    answers.append(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(InputError, match=f"{address}: what listens there is no Ray head"):
        _knock(address, named=address)
    answers.clear()
    monkeypatch.setattr(module, "KNOCK_SECONDS", 0.2)
    with pytest.raises(InputError, match=f"{address}: no answer in 0 seconds; is its head running"):
        _knock(address, named=address)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes"), "set RAY_TMPDIR"),
        (RuntimeError("Version mismatch: The cluster was started with: Ray: 2.1"), "install the same versions"),
        (ValueError("Token authentication is enabled but no token was found"), "set RAY_AUTH_TOKEN"),
    ],
)
def test_what_ray_says_comes_with_a_fix(error: Exception, says: str) -> None:
    assert says in _fix(error, str(error))


def test_ray_is_silent_until_it_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a minute where the cluster is gone, and says so, while the command goes on."""
    log, gone, left = logging.getLogger("ray"), threading.Event(), threading.Event()

    def shutdown() -> None:
        gone.wait()
        left.set()

    monkeypatch.setattr(module, "connect", lambda address: module.HERE)
    monkeypatch.setattr(module.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(module.ray, "shutdown", shutdown)
    monkeypatch.setattr(module, "LEAVE_SECONDS", 0.1)
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    before = log.level
    with module.connected(None):
        pass
    assert log.level == logging.CRITICAL and SWITCHES.items() <= os.environ.items()
    gone.set()
    assert left.wait(10)
    for _ in range(100):  # it is closed after that
        if not SWITCHES.keys() & os.environ.keys():
            break
        time.sleep(0.05)
    assert log.level == before and not SWITCHES.keys() & os.environ.keys()


SHADOWED = """
import logging, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: None)
mine = signal.getsignal(signal.SIGTERM)
from privimage.cluster.connect import connected
from privimage.cluster.quiet import DEFAULTS, SWITCHES
import ray
def set_here():
    return {n: os.environ.get(n) for n in (*DEFAULTS, *SWITCHES)}, logging.getLogger("ray").level
before = set_here()
with connected(None) as where:
    import privimage
    assert where == "this machine", where
    assert signal.getsignal(signal.SIGTERM) is mine, "Ray takes SIGTERM for itself"
    found = ray.get(ray.remote(num_cpus=1)(lambda: __import__("privimage").__file__).remote())
    print(found, privimage.__file__)
assert not ray.is_initialized()
assert set_here() == before, "a script goes on with what it had"
"""


@pytest.mark.timeout(120)
@pytest.mark.thorough
def test_a_run_without_an_address_stays_here_and_its_workers_find_our_packages(tmp_path: Path) -> None:
    """It joined what `ray start` left behind, and a folder of the user's called like ours was imported by workers."""
    (tmp_path / "privimage").mkdir()
    (tmp_path / "privimage" / "__init__.py").write_text("raise ImportError('a folder of the user')")
    environment = os.environ | {"RAY_ADDRESS": "127.0.0.1:6", "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SHADOWED], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-2000:]
    worker, driver = done.stdout.split()
    assert worker == driver == str(ROOT / "privimage" / "__init__.py")


@pytest.mark.timeout(60)
def test_a_long_folder_of_temporary_files_is_one_line(tmp_path: Path) -> None:
    script = "from privimage.cluster.connect import connect\nconnect(None)"
    environment = os.environ | {"RAY_TMPDIR": str(tmp_path / ("long" * 20)), "PYTHONPATH": str(ROOT)}
    (tmp_path / ("long" * 20)).mkdir()
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=50)
    last = done.stderr.strip().splitlines()[-1]
    assert "InputError: Ray did not start on this machine" in last and "set RAY_TMPDIR to a short one" in last


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["gcs_server", pytest.param("raylet", marks=pytest.mark.slow)])
def test_a_killed_ray_ends_the_run_in_one_line(name: str) -> None:
    """The out-of-memory killer takes Ray's processes too; Ray waits, and ends the process in its words."""
    sooner = "connect.DEAD_SECONDS = 1.0" if name == "gcs_server" else ""
    script = (
        f"import os, signal, time, ray; from privimage.cluster import connect; {sooner}\n"
        "with connect.connected(None):\n"
        "    node = ray._private.worker._global_node\n"
        f"    os.kill(node.all_processes['{name}'][0].process.pid, signal.SIGKILL)\n"
        "    time.sleep(40)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    said = f"privimage: Ray's own process {name} was killed; nothing was lost; run the same command again\n"
    assert done.returncode == 1 and done.stderr.endswith(said), done.stderr  # threads of Ray's own may speak before


HEAD_ENDS = """
import socket, sys, threading, time
from privimage.cluster import connect
connect.HEAD_SECONDS = 1.0
head = socket.create_server(("127.0.0.1", 0))
head.settimeout(0.2)
where = f"127.0.0.1:{head.getsockname()[1]}"
threading.Thread(target=connect._watch_head, args=(threading.Event(), threading.Event(), where), daemon=True).start()
until = time.monotonic() + 5
while time.monotonic() < until:
    try:
        head.accept()[0].close()
    except TimeoutError:
        pass
print("it listens", flush=True)
head.close()
time.sleep(30)
print("nobody noticed")
"""


@pytest.mark.thorough
def test_a_head_that_has_ended_is_one_line_and_one_that_listens_is_left_alone() -> None:
    done = subprocess.run([sys.executable, "-c", HEAD_ENDS], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "it listens\n")
    assert (
        done.stderr.startswith("privimage: the head of the Ray cluster at 127.0.0.1:") and done.stderr.count("\n") == 1
    )
