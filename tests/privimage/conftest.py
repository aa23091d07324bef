"""Small real data and networks that the tests of the core share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from privimage.data.sets import Part, PrivateSet, PublicSet, SensitiveData
from privimage.dct_mlp import DctMLP
from privimage.edm import EDM
from privimage.networks import DctCodec, Generator
from privimage.semantics import QueryFunction, SemanticsConfig, train_query_function

SIDE, LABELS, CLASSES = 16, ("a", "b", "c"), 12
HERE = Path(__file__).parent


def pictures(n: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n noisy images, brighter in a place that depends on the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    x = rng.integers(0, 60, (n, 1, SIDE, SIDE))
    for i, c in enumerate(y):
        x[i, 0, c % SIDE, :] += 120
        x[i, 0, :, (5 * c) % SIDE] += 70
    return x.clip(0, 255).astype(np.uint8), y.astype(np.int64)


def private_set(n: int, seed: int, split: Part = "train") -> PrivateSet:
    x, y = pictures(n, len(LABELS), seed)
    return PrivateSet(x=x, y=y, name="toy", id="toy-v1", split=split, classes=LABELS)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are slower on two threads, above all when the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sensitive() -> PrivateSet:
    return private_set(40, seed=1)


@pytest.fixture(scope="session")
def sensitive_data(sensitive: PrivateSet) -> SensitiveData:
    validation, test = private_set(12, seed=2, split="validation"), private_set(30, seed=3, split="test")
    return SensitiveData(train=sensitive, validation=validation, test=test)


@pytest.fixture(scope="session")
def public() -> PublicSet:
    x, y = pictures(8 * CLASSES, CLASSES, seed=4)
    return PublicSet(x=x, y=y, name="toy-public", classes=tuple(f"c{i}" for i in range(CLASSES)))


@pytest.fixture(scope="session")
def query_state(public: PublicSet) -> dict[str, torch.Tensor]:
    return train_query_function(
        public,
        config=SemanticsConfig(steps=6, batch=24),
        seed=0,
        device=torch.device("cpu"),
        progress=lambda done, total: None,
    )


@pytest.fixture(scope="session")
def query_function(query_state: dict[str, torch.Tensor]) -> QueryFunction:
    with torch.random.fork_rng():
        return QueryFunction.load(query_state, channels=1, n_classes=CLASSES, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Generator]:
    """A factory of tiny dct_mlp generators in which every weight matters (none is zero)."""

    def make(seed: int = 0, *, width: int = 8, blocks: int = 1) -> Generator:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            F = DctMLP(channels=1, n_classes=len(LABELS), width=width, blocks=blocks, k=16, embedding=8)
            with torch.no_grad():
                for p in F.parameters():
                    p.add_(0.1 * torch.randn_like(p))
        edm = EDM(sigma_data=1.0, P_mean=-0.6, P_std=1.1)
        return Generator(F=F, codec=DctCodec(shape=(1, SIDE, SIDE)), edm=edm, n_classes=len(LABELS))

    return make


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, sensitive: PrivateSet) -> dict[str, Any]:
    """What two fresh Python processes did at once (two_processes.py): ledger, store, and a group of two workers."""
    folder = tmp_path_factory.mktemp("pair")
    np.savez(folder / "sensitive.npz", x=sensitive.x, y=sensitive.y)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    script = str(HERE / "two_processes.py")
    children = [
        subprocess.Popen(
            [sys.executable, script, str(folder), str(rank)],
            env=env | {"PYTHONHASHSEED": str(rank + 1)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        errors = [child.communicate(timeout=200)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0, 0], "\n".join(errors)
    reports = [json.loads((folder / f"report-{rank}.json").read_text()) for rank in (0, 1)]
    arrays = [dict(np.load(folder / f"weights-{rank}.npz")) for rank in (0, 1)]
    return {"folder": folder, "reports": reports, "weights": arrays}


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Runs forks.py on `n` sensitive images; returns its report, with its folder."""

    def run(*arguments: object, n: int = 40, timeout: float = 280) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("forks")
        sensitive = private_set(n, seed=1)
        np.savez(folder / "sensitive.npz", x=sensitive.x, y=sensitive.y)
        what, *numbers = map(str, arguments)
        done = subprocess.run(
            [sys.executable, str(HERE / "forks.py"), what, str(folder), *numbers],
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads((folder / "report.json").read_text()) | {"folder": folder}

    return run
