"""A bucket on a real S3 server: who wins a name, what is wrong in one line and in seconds, what passes is retried."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from buckets import between, environment_of, free_port, make_bucket, served
from quick import first

from privimage import bucket
from privimage.bucket import Bucket
from privimage.errors import InputError

Patch = pytest.MonkeyPatch
CONDITIONS = ("If-None-Match", "If-Match")


def test_bytes_come_back_by_name(bucket_url: str) -> None:
    found = Bucket.open(bucket_url)
    assert found.get("a/b") is None and list(found.names()) == []
    found.put("a/b", b"1")
    found.put("a/b", b"2")
    found.put("ab/c", bytes(20 * 2**20))
    held = Bucket.open(bucket_url + "/").get("a/b")
    assert held is not None and held.raw == b"2"
    assert list(found.names()) == ["a/b", "ab/c"] and list(found.names("a")) == ["a/b"]
    big = found.get("ab/c")
    assert big is not None and big.raw == bytes(20 * 2**20)
    found.delete("a/b")
    found.delete("a/b")
    assert list(found.names()) == ["ab/c"]


def test_a_name_is_taken_once_and_a_version_is_replaced_once(bucket_url: str) -> None:
    found = Bucket.open(bucket_url)
    assert found.create("x", b"1") and not found.create("x", b"2")
    first = found.get("x")
    assert first is not None and first.raw == b"1"
    assert found.swap("x", b"3", before=first) and not found.swap("x", b"4", before=first)
    assert not found.swap("x", b"5", before=None) and not found.swap("y", b"5", before=first)
    assert found.swap("y", b"6", before=None)
    held = [found.get(name) for name in ("x", "y")]
    assert [entry.raw for entry in held if entry] == [b"3", b"6"]


def test_of_many_at_once_one_wins(bucket_url: str) -> None:
    found, won = Bucket.open(bucket_url), []
    racers = [threading.Thread(target=lambda i=i: won.append(found.create("x", str(i).encode()))) for i in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(won) == [False] * 7 + [True]


def told(url: str) -> tuple[str, float]:
    """What is said of a bucket that cannot be used, and after how many seconds."""
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        Bucket.open(url)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(url)
    return str(caught.value), time.monotonic() - began


def no_such_bucket(url: str, patch: Patch) -> str:
    return "s3://no-such-bucket/x"


def nobody_there(url: str, patch: Patch) -> str:
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    return "s3://nobody-there/x"


def no_such_host(url: str, patch: Patch) -> str:
    patch.setenv("AWS_ENDPOINT_URL", "http://no-such-host.invalid")
    return "s3://no-such-host/x"


def plain_http(url: str, patch: Patch) -> str:
    patch.delenv("AWS_ALLOW_HTTP")
    return f"{url}/plain"


def not_installed(url: str, patch: Patch) -> str:
    patch.setattr(bucket, "find_spec", lambda name: None)
    return f"{url}/not-installed"


@pytest.mark.parametrize(
    ("wrong", "says"),
    first(
        [
            (no_such_bucket, "there is no such bucket"),
            (plain_http, "AWS_ALLOW_HTTP=true"),
            (not_installed, "pip install 'privimage\\[bucket\\]'"),
            (nobody_there, "cannot be reached"),
            (no_such_host, "cannot be reached"),
        ],
        3,
    ),
)
def test_what_is_wrong_is_one_line_in_seconds(
    bucket_url: str, monkeypatch: Patch, wrong: Callable[[str, Patch], str], says: str
) -> None:
    said, seconds = told(wrong(bucket_url, monkeypatch))
    assert says.replace("\\", "") in said and seconds < 20


@pytest.mark.thorough
def test_a_server_that_accepts_and_says_nothing_is_one_line_in_seconds(bucket_url: str, monkeypatch: Patch) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{mute.getsockname()[1]}")
        said, seconds = told("s3://mute/x")
    assert "cannot be reached" in said and seconds < 30


def test_refused_credentials_are_one_line(monkeypatch: Patch) -> None:
    with served(INITIAL_NO_AUTH_ACTION_COUNT="1") as url:  # moto looks at credentials after the first request
        make_bucket(url, "guarded")
        for name, value in environment_of(url).items():
            monkeypatch.setenv(name, value)
        said, seconds = told("s3://guarded/x")
    assert "the credentials are refused" in said and seconds < 20


def test_a_server_that_fails_for_a_moment_is_asked_again(bucket_url: str, s3_server: str, monkeypatch: Patch) -> None:
    statuses: list[int | None] = [503, None, 500, 503, None, 502, None]
    with between(s3_server, lambda headers: statuses.pop(0) if statuses else None) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        found = Bucket.open(f"{bucket_url}/unsteady")
        found.put("x", b"1")
        held = found.get("x")
    assert held is not None and held.raw == b"1" and not statuses


def test_a_server_that_takes_no_notice_of_conditions_is_refused(
    bucket_url: str, s3_server: str, monkeypatch: Patch
) -> None:
    Bucket.open(bucket_url).check_conditions()
    for ignored in CONDITIONS:

        def without(headers: dict[str, str], ignored: str = ignored) -> None:
            for name in [name for name in headers if name.lower() == ignored.lower()]:
                del headers[name]

        with between(s3_server, without) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            found = Bucket.open(f"{bucket_url}/{ignored}")
            with pytest.raises(InputError, match="takes no notice of conditions"):
                found.check_conditions()


def test_the_package_is_loaded_only_by_those_who_open_one() -> None:
    loaded = "import privimage.bucket, privimage.stores.bucket_shelf, sys; sys.exit('obstore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False, cwd=Path.cwd()).returncode == 0
