"""Streams of private randomness: every bit of the entropy counts, names differ, the laws are right, nothing else is
touched."""

from __future__ import annotations

import pickle
from itertools import combinations

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from known import entropy
from scipy.stats import kstest

from privimage.errors import Violation
from privimage.privacy.entropy import BLOCK, Entropy, Stream, normals_of


def draws(number: int, name: str = "noise", n: int = 8) -> list[float]:
    return entropy(number).stream(name).normals(n).tolist()


@given(st.integers(0, 2**256 - 1), st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_every_bit_of_the_entropy_changes_the_noise(number: int, bit: int) -> None:
    assert draws(number) == draws(number)
    assert not set(draws(number)) & set(draws(number ^ (1 << bit)))


def test_streams_of_one_entropy_are_independent() -> None:
    names = ["noise", "batches", "noise/1", "noise/11", "draws/1/1", "draws/11/", ""]
    streams = [draws(5, name, 4000) for name in names]
    for a, b in combinations(streams, 2):
        assert not set(a) & set(b) and abs(np.corrcoef(a, b)[0, 1]) < 0.07


def test_it_is_the_cipher_of_the_library_under_a_key_of_the_name() -> None:
    key = bytes(range(32))
    expected = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(8 * 5000))
    stream = Stream(key)
    parts = [stream.words(count) for count in (1, 0, 3, 2500, 2496)]  # also where a block of the cipher is divided
    assert np.concatenate(parts).tobytes() == expected
    assert len({entropy(1).stream(name).words(1).tobytes() for name in ("a", "b", "aa")}) == 3


@pytest.mark.parametrize("wrong", [7, 2**255, b"", b"seed", bytes(31), bytearray(32), "0" * 32, None])
def test_nothing_but_256_bits_is_an_entropy(wrong: object) -> None:
    with pytest.raises(Violation, match="a seed is none"):
        Entropy(wrong)  # type: ignore[arg-type]


def test_an_entropy_is_fresh_travels_and_is_never_shown() -> None:
    one, other = Entropy.fresh(), Entropy.fresh()
    assert one != other and pickle.loads(pickle.dumps(one)) == one
    for shown in (repr(one), str(one), f"{one}"):
        assert shown == "Entropy(secret)"


@pytest.mark.parametrize("n", [1, 2, 7, BLOCK - 1, BLOCK, 3 * BLOCK, 3 * BLOCK + 6])
def test_normals_have_their_law_at_every_size(n: int) -> None:
    many = np.stack([entropy(i).stream("x").normals(n) for i in range(max(1, 10_000 // n))])
    assert many.dtype == np.float64 and many.shape[1] == n
    flat = many.ravel()
    assert kstest(flat, "norm").pvalue > 1e-3 and kstest(flat * 1.05, "norm").pvalue < kstest(flat, "norm").pvalue
    assert len(set(flat.tolist())) == len(flat), "53 bits: no value twice"


def test_the_tails_and_the_pairs_are_those_of_independent_normals() -> None:
    flat = entropy(2**90).stream("x").normals(400_000)
    for sigmas, share in ((1.96, 0.025), (3.0, 0.00135), (4.0, 3.17e-5)):
        for tail in (flat > sigmas, flat < -sigmas):
            assert tail.mean() == pytest.approx(share, rel=4 / (400_000 * share) ** 0.5)
    pairs = entropy(1).stream("x").normals(BLOCK).reshape(2, -1)
    angle = np.arctan2(pairs[1], pairs[0])
    assert kstest((angle / (2 * np.pi)) + 0.5, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(pairs)[0, 1]) < 0.05 and abs(np.corrcoef(pairs**2)[0, 1]) < 0.05


def test_the_ends_of_the_bits_give_finite_normals() -> None:
    ends = [0, -1, 2**63 - 1, -(2**63), 1, 2**62]
    for first in ends:
        for second in ends:
            pair = normals_of(np.array([first, second]))
            assert np.isfinite(pair).all() and np.linalg.norm(pair) < 9.4
    assert np.linalg.norm(normals_of(np.array([0, 0]))) == pytest.approx((2 * 63 * np.log(2)) ** 0.5)


def test_uniforms_are_even_and_below_one() -> None:
    x = entropy(1).stream("x").uniforms(300, 100)
    assert x.dtype == np.float64 and x.min() >= 0 and x.max() < 1
    assert kstest(x.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(x) - np.eye(300)).max() < 0.5
    assert ((x * 2**53) % 1 == 0).all() and ((x * 2**52) % 1 != 0).any(), "53 bits"


def test_global_state_is_untouched() -> None:
    before, numpy_before = torch.get_rng_state().clone(), np.random.get_state()[1].tolist()  # type: ignore[index]
    draws(1)
    assert torch.equal(before, torch.get_rng_state()) and np.random.get_state()[1].tolist() == numpy_before  # type: ignore[index]
