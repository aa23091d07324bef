"""Pre-training draws its batches as numpy does, without the sums over all weights at every step."""

from __future__ import annotations

import numpy as np
import pytest

from privimage.generators import pretrain


@pytest.mark.parametrize("n", [1, 7, 50_000])
@pytest.mark.parametrize("kind", ["even", "drawn", "with zeros"])
def test_draws_are_those_of_numpy_to_the_bit(n: int, kind: str) -> None:
    weights = None
    if kind != "even":
        weights = np.random.default_rng(n).random(n) ** 4
        weights[1::3] = 0.0 if kind == "with zeros" else weights[1::3]
        weights /= weights.sum()
    one, other = np.random.default_rng((3, 1)), np.random.default_rng((3, 1))
    drawn = pretrain._draws(n, weights)
    for _ in range(20):
        own = drawn(one, 64)
        assert own.dtype == np.int64 and (own == other.choice(n, size=64, p=weights)).all()
    assert one.bit_generator.state == other.bit_generator.state
