"""Real groups of workers: one sum of clipped gradients, one noise, equal replicas; no error leaves others waiting."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Forks = Callable[..., dict[str, Any]]
SIGMA, CLIP, N, STEPS = 1.5, 1e-3, 300, 5  # as in forks.py


@pytest.fixture(
    scope="module",
    params=[pytest.param(2, marks=pytest.mark.thorough), pytest.param(4, marks=pytest.mark.slow)],
)
def team(request: pytest.FixtureRequest, forks: Forks) -> dict[str, Any]:
    """The report of a group, with the reports of its workers."""
    report = forks("group", request.param, n=N)
    assert report["ends"] == [0] * request.param
    workers = [json.loads((report["folder"] / f"report-{rank}.json").read_text()) for rank in range(request.param)]
    return report | {"size": request.param, "workers": workers}


def weights(folder: Path, name: str, size: int, rank: int = 0) -> dict[str, np.ndarray]:
    return dict(np.load(folder / f"{name}-{size}-{rank}.npz"))


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    x, y = (np.concatenate([part[name].ravel() for name in a if "grad" not in name]).astype(float) for part in (a, b))
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


@pytest.mark.parametrize("share", ["blocks", "one", "none"])
def test_replicas_are_bit_equal_and_do_what_one_worker_does(team: dict[str, Any], share: str) -> None:
    first = weights(team["folder"], share, team["size"])
    for rank in range(1, team["size"]):
        assert equal(first, weights(team["folder"], share, team["size"], rank))
    assert distance(first, weights(team["folder"], share, 1)) < 1e-5


def test_noise_is_sigma_C_on_the_sum_and_the_same_for_any_number_of_workers(team: dict[str, Any]) -> None:
    alone, many = weights(team["folder"], "none", 1), weights(team["folder"], "none", team["size"])
    assert equal(alone, many)  # nobody joined: what is left is the noise
    noise = np.concatenate([many[name].ravel() for name in many if name.startswith("grad/")]) * (1e-9 * N)
    assert noise.size > 10_000 and noise.std() == pytest.approx(SIGMA * CLIP, rel=0.02)


def test_one_transfer_a_step_and_only_of_clipped_sums(team: dict[str, Any]) -> None:
    blocks = 5  # of 64, the last one not full
    for rank, worker in enumerate(team["workers"]):
        sent = {share["name"]: share["sent"] for share in worker["shares"]}
        assert [len(norms) for norms in sent.values()] == [STEPS] * 3
        mine = len(range(rank, blocks, team["size"]))
        assert all(0 < norm <= CLIP * 64 * mine * 1.001 for norm in sent["blocks"])
        assert all((norm > 0) == (rank == 0) for norm in sent["one"]), "one block: the others send zeros"
        assert sent["none"] == [0] * STEPS


def test_a_killed_group_goes_on_with_as_many_or_with_fewer(team: dict[str, Any]) -> None:
    assert [worker["elastic"] for worker in team["workers"]] == [[3, 3]] + [[3]] * (team["size"] - 1)
    for rank in range(team["size"]):
        whole = weights(team["folder"], "whole", team["size"], rank)
        assert equal(weights(team["folder"], "together", team["size"], rank), whole)
    assert 0 < distance(weights(team["folder"], "alone", team["size"]), whole) < 1e-5


def test_an_error_of_the_first_worker_is_raised_by_all(team: dict[str, Any]) -> None:
    first, *others = (worker["errors"] for worker in team["workers"])
    assert {name: kind for name, (kind, _) in first.items()} == {
        "manifest": "LostAnswer",
        "lost": "LostAnswer",
        "ledger": "InputError",
        "diagnostic": "InputError",
        "full": "InputError",
    }
    assert all(other == first for other in others)


def test_nobody_waits_for_a_worker_that_failed_in_the_middle_of_a_build(team: dict[str, Any]) -> None:
    for deserted in team["deserted"]:
        assert deserted["ends"] == [1] * team["size"] and deserted["seconds"] < 30
