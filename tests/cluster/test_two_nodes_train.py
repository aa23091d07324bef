"""Two nodes with two workers each: DP-SGD with one worker's draws, and its noise once on the sum of all four."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import forks
import numpy as np
import pytest
import toys
import two_nodes

N, WORKERS = 300, 4
TESTS = Path(__file__).parents[1] / "privimage"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script leaves."""
    folder = tmp_path_factory.mktemp("nodes")
    sensitive = toys.private_set(N, seed=1)
    np.savez(folder / "sensitive.npz", x=sensitive.x, y=sensitive.y)
    script = Path(__file__).parent / "train_on_nodes.py"
    with two_nodes.cluster({"num_cpus": 2}, {"num_cpus": 2}, python=[TESTS]) as nodes:
        done = subprocess.run(
            [sys.executable, str(script), nodes.address, str(folder)],
            env=nodes.environment, capture_output=True, text=True, timeout=500,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def weights(folder: Path, name: str, size: int, rank: int = 0) -> dict[str, np.ndarray]:
    """The averaged weights of a worker, and the gradients of its last step."""
    return dict(np.load(folder / f"{name}-{size}-{rank}.npz"))


def flat(arrays: dict[str, np.ndarray], start: str = "") -> np.ndarray:
    """All of them in one row, in double precision."""
    return np.concatenate([arrays[name].ravel().astype(float) for name in sorted(arrays) if name.startswith(start)])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_are_on_each_of_two_nodes(folder: Path) -> None:
    nodes = [(folder / f"node-{rank}").read_text() for rank in range(WORKERS)]
    assert (folder / "size").read_text() == "4"
    assert len(set(nodes)) == 2 and all(nodes.count(node) == 2 for node in nodes)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("batches", forks.QS)
def test_replicas_are_bit_equal_and_do_what_one_process_does(folder: Path, batches: str) -> None:
    """With the same injected draws. Within 1e-5 of the norm of all weights: sums are rounded in another order."""
    first, alone = weights(folder, batches, WORKERS), weights(folder, batches, 1)
    for rank in range(1, WORKERS):
        other = weights(folder, batches, WORKERS, rank)
        assert other.keys() == first.keys()
        assert all(other[name].tobytes() == first[name].tobytes() for name in first), rank
    learned = [{name: array for name, array in one.items() if "grad/" not in name} for one in (first, alone)]
    gap = np.linalg.norm(flat(learned[0]) - flat(learned[1])) / np.linalg.norm(flat(learned[1]))
    assert gap < 1e-5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_noise_is_on_the_sum_once(folder: Path) -> None:
    """Where nobody joined a batch, what Opacus divided by the expected batch is the noise alone."""
    noise = flat(weights(folder, "none", WORKERS), "grad/") * (forks.QS["none"] * N)
    assert noise.size > 10_000
    assert noise.std() == pytest.approx(forks.EVENT.sigma * forks.CLIP, rel=0.02)
    assert np.array_equal(noise, flat(weights(folder, "none", 1), "grad/") * (forks.QS["none"] * N))
