"""Poisson batches: independent inclusion, any size, none skipped."""

from __future__ import annotations

import numpy as np
import pytest
from known import entropy

from privimage.dpsgd.poisson import poisson_batches


def batches(n: int, q: float, steps: int, number: int = 3) -> list[list[int]]:
    return [b.tolist() for b in poisson_batches(n=n, q=q, steps=steps, stream=entropy(number).stream("batches"))]


def test_sizes_are_binomial_and_examples_independent() -> None:
    n, q, steps = 50, 0.3, 4000
    joined = np.zeros((steps, n))
    for step, batch in enumerate(batches(n, q, steps)):
        joined[step, batch] = 1
    sizes = joined.sum(1)
    assert sizes.mean() == pytest.approx(n * q, rel=0.02)
    assert sizes.var() == pytest.approx(n * q * (1 - q), rel=0.12)  # 0 for batches of one size
    assert np.abs(joined.mean(0) - q).max() < 0.04
    assert np.abs(np.corrcoef(joined.T) - np.eye(n)).max() < 0.09
    assert abs(np.corrcoef(joined[1:, 0], joined[:-1, 0])[0, 1]) < 0.05  # not an epoch: no memory


def test_empty_batches_are_given() -> None:
    got = batches(10, 0.02, 100)
    assert len(got) == 100 and sum(not batch for batch in got) > 60


def test_everyone_joins_at_one_and_nobody_twice() -> None:
    assert batches(7, 1.0, 3) == [list(range(7))] * 3
    assert all(len(set(batch)) == len(batch) for batch in batches(30, 0.5, 50))


def test_batches_are_a_function_of_the_entropy() -> None:
    assert batches(30, 0.5, 5) == batches(30, 0.5, 5) != batches(30, 0.5, 5, 4)
    assert batches(0, 0.5, 2) == [[], []]
