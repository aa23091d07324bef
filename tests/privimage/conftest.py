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
import toys

from privimage.data.sets import PrivateSet, PublicSet, SensitiveData
from privimage.generators.generator import Generator
from privimage.semantics import QueryFunction

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are slower on two threads, above all when the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sensitive() -> PrivateSet:
    return toys.private_set(40, seed=1)


@pytest.fixture(scope="session")
def sensitive_data() -> SensitiveData:
    return toys.sensitive_set()


@pytest.fixture(scope="session")
def public() -> PublicSet:
    return toys.public_set()


@pytest.fixture(scope="session")
def query_state(public: PublicSet) -> dict[str, torch.Tensor]:
    return toys.query_weights(public)


@pytest.fixture(scope="session")
def query_function(query_state: dict[str, torch.Tensor]) -> QueryFunction:
    return toys.query_function(query_state)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Generator]:
    """A factory of tiny generators."""
    return toys.tiny


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, sensitive: PrivateSet) -> dict[str, Any]:
    """What two processes did at once (two_processes.py): ledger, store, and a group of two workers.

    They are forks of a fresh one, whose hash seed is another than that of this one.
    """
    folder = tmp_path_factory.mktemp("pair")
    np.savez(folder / "sensitive.npz", x=sensitive.x, y=sensitive.y)
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, str(HERE / "two_processes.py"), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    reports = [json.loads((folder / f"report-{rank}.json").read_text()) for rank in (0, 1)]
    arrays = [dict(np.load(folder / f"weights-{rank}.npz")) for rank in (0, 1)]
    return {"folder": folder, "reports": reports, "weights": arrays}


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Runs forks.py on `n` sensitive images; returns its report, with its folder."""

    def run(*arguments: object, n: int = 40, timeout: float = 280) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("forks")
        sensitive = toys.private_set(n, seed=1)
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
