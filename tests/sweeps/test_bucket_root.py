"""A root that is a bucket, on a real S3 server: one machine dies, another finishes, nothing is asked or made twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from machines import Machine, below, killed_when

from privimage import record as records
from privimage.bucket import Bucket
from privimage.paths import Root
from privimage.privacy.ledger import Ledger
from privimage.record import Record

Values = Callable[[], dict[str, Any]]
MORE = {"trials": 3, "compare": ["selection-only"], "resources": {"cpu": 1.5}}


def file_of(values: dict[str, Any], folder: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def pulled(url: str, folder: Path, patch: pytest.MonkeyPatch) -> tuple[list[Record], Ledger]:
    """Records and ledger as a machine sees them that never ran anything."""
    from privimage.pull import pulled_run

    patch.setenv("PRIVIMAGE_CACHE", str(folder))
    run = pulled_run(f"{url}/tiny")
    return records.load(run / "records.jsonl"), Ledger(Root.at(url).ledger("tiny-v1"))


def finished_elsewhere(
    url: str, server: str, values: dict[str, Any], folder: Path, *, when: Callable[[Bucket], bool]
) -> tuple[str, str]:
    """Start the sweep on one machine, kill all of it `when` so, finish it on another; what the other one said."""
    file, bucket = file_of(values, folder), Bucket.open(url)
    one, other = Machine(folder / "one", server), Machine(folder / "other", server)
    killed_when(one, one.started("sweep", file, "--root", url), lambda: when(bucket))
    code, out, err = other.run("sweep", file, "--root", url)
    assert code == 0, err[-3000:]
    return out, err


@pytest.fixture(scope="module")
def undisturbed(
    s3_server: str, tiny_values: Values, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Record], Ledger]:
    """Records and ledger of the same sweep in a folder, which nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, _, err = Machine(folder, s3_server).run("sweep", file_of(tiny_values() | MORE, folder), "--root", "runs")
    assert code == 0, err[-3000:]
    root = Root(path=folder / "runs")
    return records.load(root.run("tiny").records), Ledger(root.ledger("tiny-v1"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "when",
    [
        lambda bucket: len(below(bucket, "tiny", "/records.jsonl/")) >= 1,
        lambda bucket: len(below(bucket, "store/internal", ".seed")) >= 1,
    ],
    ids=["after a trial", "while a private access is under way"],
)
def test_killed_on_one_machine_finished_from_another(
    bucket_url: str,
    s3_server: str,
    tiny_values: Values,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[list[Record], Ledger],
    when: Callable[[Bucket], bool],
) -> None:
    finished_elsewhere(bucket_url, s3_server, tiny_values() | MORE, tmp_path, when=when)
    found, ledger = pulled(bucket_url, tmp_path / "third", monkeypatch)
    expected, other = undisturbed
    assert sorted(record.id for record in found) == sorted(record.id for record in expected)
    assert sorted(c.id for c in ledger.charges()) == sorted(c.id for c in other.charges())
    assert ledger.verify() == "agrees" and not ledger.reservations()
    bucket = Bucket.open(bucket_url)
    assert below(bucket, "store/internal", ".seed") == [] == below(bucket, "store/internal", ".checkpoint")
    kinds = Counter(name.split("/")[-3] for name in below(bucket, "store", "/manifest.json"))
    made = Counter(stage.name for record in found for stage in record.stages if stage.origin == "built")
    assert made and all(number <= kinds[name] for name, number in made.items() if name in kinds), (made, kinds)
    arrays = Counter(name.rpartition("/")[0] for name in below(bucket, "store", ".safetensors"))
    assert set(arrays.values()) == {1}, "one build of every artefact"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_second_driver_elsewhere_is_refused(
    bucket_url: str, s3_server: str, tiny_values: Values, tmp_path: Path
) -> None:
    file, bucket = file_of(tiny_values() | MORE, tmp_path), Bucket.open(bucket_url)
    one, other = Machine(tmp_path / "one", s3_server), Machine(tmp_path / "other", s3_server)
    driver = one.started("sweep", file, "--root", bucket_url)
    while not below(bucket, "tiny", "lease.json"):
        assert driver.poll() is None, driver.communicate()
    code, out, err = other.run("sweep", file, "--root", bucket_url)
    said = " ".join(err.split())
    assert code == 2 and "drives this sweep since" in said and f"process {driver.pid} on" in said, (out, err)
    assert driver.communicate(timeout=600) and driver.returncode == 0
    for verb in (["status"], ["front"], ["report"]):
        code, out, err = other.run(*verb, f"{bucket_url}/tiny")
        assert code == 0, (verb, out, err)
    code, out, err = other.run("ledger", "verify", f"{bucket_url}/ledgers/tiny-v1.jsonl")
    assert code == 0 and "chain intact" in " ".join(out.split()), err
    code, out, err = other.run("best", f"{bucket_url}/tiny", "--to", tmp_path / "best")
    assert code == 0 and (tmp_path / "best").is_dir(), err
    code, out, err = other.run("sweep", file, "--root", bucket_url)
    assert code == 0, ("nothing was left to do", out, err)
