"""A real S3 server on this machine: `moto`, one process a session. Not a test module."""

from __future__ import annotations

import http.client
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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


@contextmanager
def between(server: str, change: Callable[[dict[str, str]], int | None]) -> Iterator[str]:
    """The URL of a proxy before the server. `change` may change the headers, or answer with a status of its own."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        def passed(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = dict(self.headers.items())
            status = change(headers)
            if status is not None:
                self.answer(status, {}, b"")
                return
            asked = http.client.HTTPConnection(server.removeprefix("http://"), timeout=30)
            asked.request(self.command, self.path, body, headers)
            reply = asked.getresponse()
            self.answer(reply.status, dict(reply.headers.items()), reply.read())
            asked.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = passed

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said: Any) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
