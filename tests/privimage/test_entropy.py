"""Generators of private noise: all 128 bits count, streams differ, nothing global is touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage.entropy import generator


def draws(entropy: int, stream: str = "noise", n: int = 8) -> list[float]:
    return torch.randn(n, generator=generator(entropy, stream)).tolist()


@given(st.integers(0, 2**128 - 1), st.integers(0, 127))
@settings(max_examples=40, deadline=None)
def test_every_bit_of_the_entropy_changes_the_noise(entropy: int, bit: int) -> None:
    assert draws(entropy) == draws(entropy)
    assert not set(draws(entropy)) & set(draws(entropy ^ (1 << bit)))


def test_streams_of_one_entropy_are_independent() -> None:
    a, b = draws(5, "noise", 4000), draws(5, "batches", 4000)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.06


def test_the_noise_is_not_one_of_the_32_bit_seeded_streams() -> None:
    entropy = 12345
    plain = torch.randn(8, generator=torch.Generator().manual_seed(entropy)).tolist()
    assert not set(plain) & set(draws(entropy))


def test_the_noise_is_standard_normal() -> None:
    x = torch.randn(100_000, generator=generator(2**90, "x"), dtype=torch.float64)
    assert x.mean().abs() < 0.015 and x.std().item() == pytest.approx(1, abs=0.01)
    assert (x > 1.96).double().mean().item() == pytest.approx(0.025, abs=0.002)


def test_global_state_is_untouched() -> None:
    before = torch.get_rng_state().clone()
    draws(1)
    assert torch.equal(before, torch.get_rng_state())
