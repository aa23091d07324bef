"""The lease of a run in a bucket: the living are left alone, the dead are followed, who lost it stops."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from privimage.bucket import Bucket
from privimage.errors import InputError
from privimage.paths import Root
from privimage.pull import made
from privimage.sweeps import lease
from privimage.sweeps.lease import Holder, leased


@pytest.fixture
def run(bucket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lease, "BEAT", 0.3)
    monkeypatch.setattr(lease, "LAPSE", 4.0)
    monkeypatch.setattr(lease, "LOOK", 0.1)
    return Root(path=made(bucket_url, at=tmp_path / "here")).run("demo").path


def holder(url: str) -> Holder:
    found = Bucket.open(url).get("demo/lease.json")
    assert found is not None
    return Holder.model_validate_json(found.raw)


def test_a_living_driver_is_left_alone_and_one_that_ended_is_followed_at_once(run: Path, bucket_url: str) -> None:
    with leased(run):
        with pytest.raises(InputError, match=r"process \d+ on .* drives this sweep since .*; wait for it") as caught:
            with leased(run):
                pytest.fail("two drivers")
        assert "\n" not in str(caught.value) and holder(bucket_url).number == 1
    assert holder(bucket_url).ended
    began = time.monotonic()
    with leased(run):
        assert holder(bucket_url).number == 2 and time.monotonic() - began < 3
    assert holder(bucket_url).ended


@pytest.mark.thorough
def test_a_dead_driver_is_followed_after_the_time_that_is_said(run: Path, bucket_url: str) -> None:
    dead = Holder(driver="a", host="elsewhere", process=7, since="2026-01-01T00:00:00+00:00", number=4)
    Bucket.open(bucket_url).put("demo/lease.json", dead.model_dump_json().encode())
    began = time.monotonic()
    with leased(run):
        assert time.monotonic() - began > 3.5 and holder(bucket_url).number == 5


@pytest.fixture(params=["Ctrl-C is answered", "Ctrl-C is ignored, as in the background"])
def answered(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """The signal that asks this process to stop: raises KeyboardInterrupt."""
    first = signal.SIGINT if request.param == "Ctrl-C is answered" else signal.SIGTERM
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, first)}
    watched = signal.set_wakeup_fd(-1)  # a command line that ran in this process would end it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(first, signal.default_int_handler)
    yield first
    for signum, answer in before.items():
        signal.signal(signum, answer)
    signal.set_wakeup_fd(watched)


def test_who_lost_it_stops(
    run: Path, bucket_url: str, capfd: pytest.CaptureFixture[str], answered: signal.Signals
) -> None:
    other = Holder(driver="a", host="elsewhere", process=7, since="2026-01-01T00:00:00+00:00", number=2)
    with pytest.raises(KeyboardInterrupt), leased(run):
        Bucket.open(bucket_url).put("demo/lease.json", other.model_dump_json().encode())
        time.sleep(10)
    assert "the lease of this sweep is lost" in capfd.readouterr().err
    assert holder(bucket_url) == other, "it is not ended in the other's name"


def test_a_root_on_a_disk_has_none(tmp_path: Path) -> None:
    with leased(tmp_path / "demo"):
        assert not (tmp_path / "demo").exists()
