"""A process that is killed at any moment and started again ends as one that was not: weights, ledger, nothing left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def check(report: dict[str, Any]) -> None:
    assert report["expected"]["internal"] == [] and len(report["expected"]["charges"]) == 1
    assert [kind for kind, _, _ in report["expected"]["artefacts"]] == ["generator", "model", "pretrained", "samples"]
    assert not [run for run in report["runs"] if not run["same"]]


@pytest.mark.thorough
def test_a_killed_process_ends_with_the_same_bits(forks: Callable[..., dict[str, Any]]) -> None:
    report = forks("killed", 100, 1)
    check(report)
    assert report["points"] > 100 and len(report["runs"]) >= 2


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_at_every_third_point_and_at_many_moments(forks: Callable[..., dict[str, Any]]) -> None:
    report = forks("killed", 3, 15, timeout=1100)
    check(report)
    resumed = {restored for run in report["runs"] for restored in run["restored"]}
    assert resumed == set(range(7)), "from every one of the six steps"
