"""Shared by all tests: one local Ray for those that need it, and a tiny sweep on small image folders."""

from __future__ import annotations

import copy
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from hypothesis import settings
from PIL import Image
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from whole import Finished

# On CI pytest writes out every difference in full, minutes for each planted fault that changes thousands of numbers; so
# it is not told. A change is judged there by what it changed, not by new examples. (Workers of xdist inherit this.)
if os.environ.pop("CI", None):
    os.environ["SAME_EXAMPLES"] = "1"
settings.register_profile("same", derandomize=True, deadline=None)
if os.environ.get("SAME_EXAMPLES"):
    settings.load_profile("same")

os.environ["RAY_AUTH_MODE"] = "disabled"  # else ray.init writes a token into the home directory
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_worker_niceness", "0")  # else its workers starve beside the other tests
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; before torch is imported


QUEUES = {
    "ray": ("local_ray", "finished_sweep"),
    "forks": ("pair: dict", "forks: "),
    "processes": ("subprocess",),
}


class Queues(LoadFileScheduling):  # type: ignore[misc]
    """Side by side, a file stays in one process (its fixtures are made once), and so do all files that share one.

    Files that start processes of their own are one queue too: queues with many tests are begun first, and a file with
    one test of a minute would else be the last.
    """

    def _split_scope(self, nodeid: str) -> str:
        """The queue that a test is in."""
        file = str(super()._split_scope(nodeid))
        text = (Path(self.config.rootpath) / file).read_text(encoding="utf-8")
        return next((queue for queue, words in QUEUES.items() if any(word in text for word in words)), file)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """With `-n auto`: one more than there are cores, as some wait for processes of their own."""
    return (os.cpu_count() or 1) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Queues:
    """With `-n`: what decides which process runs a test."""
    return Queues(config, log)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray on this machine for the whole session. Imported here: tests of the core must not load it."""
    import ray

    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short: the path of a unix socket is limited
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        namespace="privimage",
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=300 * 2**20,
        _temp_dir=folder,
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of a real S3 server on this machine."""
    from buckets import served

    with served() as url:
        yield url


@pytest.fixture
def bucket_url(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder in an empty bucket of its own, which the environment has the credentials of."""
    from buckets import environment_of, make_bucket

    for name, value in environment_of(s3_server).items():
        monkeypatch.setenv(name, value)
    name = f"b-{secrets.token_hex(6)}"
    make_bucket(s3_server, name)
    return f"s3://{name}/some/folder"


@pytest.fixture
def privimage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs one command line: exit code, stdout, stderr."""
    from privimage.sweeps.cli import main

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["privimage", *map(str, words)])
        try:
            main()
            code: object = 0
        except SystemExit as done:
            code = done.code
        said = capsys.readouterr()
        assert isinstance(code, int)
        return code, said.out, said.err

    return run


def write_folder(root: Path, *, classes: int, images: int, seed: int) -> Path:
    """An image folder of grey 28 x 28 PNG: one random pattern a class, noise on every image."""
    rng = np.random.default_rng(seed)
    for c in range(classes):
        folder = root / f"c{c:02d}"
        folder.mkdir(parents=True)
        pattern = np.kron(rng.integers(0, 255, (7, 7)), np.ones((4, 4)))
        for i in range(images):
            noisy = (pattern + rng.normal(0, 20, pattern.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def image_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A public folder of 20 classes and a sensitive one of 3 classes x 20 images (42 of them to train on)."""
    root = tmp_path_factory.mktemp("images")
    return {
        "public": write_folder(root / "public", classes=20, images=6, seed=0),
        "sensitive": write_folder(root / "sensitive", classes=3, images=20, seed=1),
    }


@pytest.fixture(scope="session")
def tiny_values(image_folders: dict[str, Path]) -> Callable[[], dict[str, Any]]:
    """The values of a sweep that takes a second a trial; a fresh copy at every call."""
    values: dict[str, Any] = {
        "name": "tiny",
        "data": {
            "sensitive": {"name": "folder", "root": str(image_folders["sensitive"]), "id": "tiny-v1", "channels": 1},
            "public": {"name": "folder", "root": str(image_folders["public"])},
        },
        "budgets": [{"epsilon": 1, "delta": 1e-5}, {"epsilon": 10, "delta": 1e-5}],
        "method": {
            "query": {"sigma": 10, "function": {"steps": 5, "batch": 16}},
            "select": {"ratio": 0.5},
            "model": {"size": "dct-mlp-192"},
            "pretrain": {"images": 512, "batch": 64},
            "finetune": {"steps": 2, "q": 0.2},
            "samples": 40,
        },
        "search": {"method.query.sigma": {"uniform": [6, 12]}},
        "objectives": {"accuracy[lr]": "max"},
        "trials": 1,
    }
    return lambda: copy.deepcopy(values)


@pytest.fixture(scope="session")
def finished_sweep(
    local_ray: None, tiny_values: Callable[[], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """The tiny sweep with a comparison row, run once, two trials at a time; whoever changes its files copies it."""
    from whole import finish

    return finish(tiny_values() | {"compare": ["selection-only"]}, tmp_path_factory.mktemp("finished"))


@pytest.fixture
def write_sweep(tmp_path: Path, tiny_values: Callable[[], dict[str, Any]]) -> Callable[..., Path]:
    """Writes tiny.yaml with some top-level keys replaced; returns its path."""

    def write(**changed: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(tiny_values() | changed, sort_keys=False))
        return path

    return write
