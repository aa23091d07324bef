"""A real S3 server on this machine: `moto`, one process a session. Not a test module."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# moto looks whether a name is there and writes it in two steps, so it is conditional only if it answers one at a time
SERVE = """
import sys
import moto.server
serve = moto.server.run_simple
moto.server.run_simple = lambda *places, **how: serve(*places, **{**how, "threaded": False})
moto.server.main(["-p", sys.argv[1]])
"""
REGION = "us-east-1"


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@contextmanager
def served(**environment: str) -> Iterator[str]:
    """The URL of a server of its own."""
    port = free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, "-c", SERVE, str(port)], env={**os.environ, **environment}, **quiet)
    try:
        wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the server did not start")


def make_bucket(url: str, name: str) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{url}/{name}", method="PUT"), timeout=10).close()


def environment_of(url: str) -> Mapping[str, str]:
    """What a client has to be told of the server."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": REGION,
    }
