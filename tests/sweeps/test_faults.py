"""Storage that fails under a sweep: the same command finishes it, and nothing is lost, doubled or asked again."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from accounts import Account, noting
from buckets import between
from machines import Machine, below

from privimage import record as records
from privimage.bucket import Bucket
from privimage.paths import Root
from privimage.privacy.ledger import Ledger
from privimage.pull import pulled_run

Values = Callable[[], dict[str, Any]]
MORE = {"trials": 3, "compare": ["selection-only"], "resources": {"cpu": 1.5}}


@pytest.fixture(scope="module")
def file(tiny_values: Values, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_values() | MORE, sort_keys=False))
    return path


def account(root: Path, log: Path) -> Account:
    return Account.of(root, log, set_id="tiny-v1")


@pytest.fixture(scope="module")
def undisturbed(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same sweep, which nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    machine = Machine(folder, "", also=noting(folder / "site", folder / "log"))
    code, _, err = machine.run("sweep", file, "--root", "runs")
    assert code == 0, err[-3000:]
    return folder


def mounted(at: Path, kib: int) -> bool:
    """Whether a disk of that size is there now."""
    at.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(at)]
    return shutil.which("mount") is not None and subprocess.run(words, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 MiB; whoever uses it may make it full."""
    disk = tmp_path / "disk"
    if not mounted(disk, 256 * 1024):
        pytest.skip("this user may not mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def leave_free(disk: Path, free: int) -> None:
    """Let so many bytes be free on that disk."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    at = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, at.f_bavail * at.f_frsize - free)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_full_disk(small_disk: Path, file: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Full at once, then after more and more of the sweep; at last there is room."""
    machine = Machine(tmp_path, "", also=noting(tmp_path / "site", tmp_path / "log"))
    whole = sum(path.stat().st_size for path in (undisturbed / "runs").rglob("*") if path.is_file())
    codes = []
    for share in (0.02, 0.3, 0.7):
        leave_free(small_disk, int(share * whole))
        code, _, err = machine.run("sweep", file, "--root", small_disk / "runs")
        codes.append(code)
        said = [line for line in err.splitlines() if line.startswith("privimage:")]
        assert "Traceback" not in err and (code == 0 or said), err[-3000:]
    (small_disk / "filler").unlink()
    code, _, err = machine.run("sweep", file, "--root", small_disk / "runs")
    assert code == 0, err[-3000:]
    assert set(codes[:2]) <= {1, 2}, codes
    found = account(small_disk / "runs", tmp_path / "log")
    # what there was no room for is made again, if it is free; an answer keeps the noise that it was begun with
    assert found.differences(account(undisturbed / "runs", undisturbed / "log")) == [], codes


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seconds", [25, 200], ids=["half a minute", "longer than one waits"])
def test_a_bucket_that_fails_for_a_while(
    bucket_url: str,
    s3_server: str,
    file: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
) -> None:
    """It answers 503 from the first record on. Within a minute the sweep goes on by itself."""
    down: list[float] = []

    def change(headers: dict[str, str]) -> int | None:
        return 503 if down and time.monotonic() < down[0] else None

    bucket = Bucket.open(bucket_url)
    with between(s3_server, change) as url:
        machine = Machine(tmp_path / "one", url)
        sweep = machine.started("sweep", file, "--root", bucket_url)
        while not below(bucket, "tiny", "/records.jsonl/"):
            assert sweep.poll() is None, sweep.communicate()
            time.sleep(0.2)
        down.append(time.monotonic() + seconds)
        _, err = sweep.communicate(timeout=600)
        assert "Traceback" not in err, err[-3000:]
        assert (sweep.returncode == 0) is (seconds < 60), err[-3000:]
        time.sleep(max(0.0, down[0] - time.monotonic()))
        code, _, err = machine.run("sweep", file, "--root", bucket_url)
        assert code == 0, err[-3000:]
    monkeypatch.setenv("PRIVIMAGE_CACHE", str(tmp_path / "third"))
    run = pulled_run(f"{bucket_url}/tiny")
    found, ledger = records.load(run / "records.jsonl"), Ledger(Root.at(bucket_url).ledger("tiny-v1"))
    expected = account(undisturbed / "runs", undisturbed / "log")
    assert Counter(record.id for record in found) == expected.records
    assert Counter(f"{charge.what} {charge.id}" for charge in ledger.charges()) == expected.charges
    assert ledger.verify() == "agrees" and not ledger.reservations()
    assert below(bucket, "store/internal", ".seed") == []
    arrays = Counter(name.rpartition("/")[0] for name in below(bucket, "store", ".safetensors"))
    assert set(arrays.values()) == {1}, "one build of every artefact"
