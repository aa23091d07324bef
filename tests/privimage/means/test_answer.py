"""The noisy means: what one image can change, the noise, and what the answer is taken to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from known import entropy

from privimage.data.placed import ROWS
from privimage.data.sets import PrivateSet
from privimage.errors import Violation
from privimage.means import answer
from privimage.means.answer import UNIT, ask, estimate, weigh
from privimage.privacy.budget import Event

MEANS = Event(purpose="means", split="train", sigma=3.0)


def private_set(y: np.ndarray, *, labels: int = 3) -> PrivateSet:
    x = np.zeros((len(y), 1, 8, 8), np.uint8)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = np.arange(len(y)) % 256, np.arange(len(y)) // 256  # each knows its number
    names = tuple(map(str, range(labels)))
    return PrivateSet(x=x, y=y, name="toy", id="toy", split="train", classes=names)


def given(phi: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What gives phi [n, d] for images that know their numbers."""
    return lambda x: phi[x[:, 0, 0, 0] + 256 * x[:, 0, 0, 1].astype(np.int64)]


def answer_to(phi: np.ndarray, y: np.ndarray, *, sigma: float = 3.0, number: int = 5) -> np.ndarray:
    event = MEANS.model_copy(update={"sigma": sigma})
    release = ask(given(phi), private_set(y), d=phi.shape[1], event=event, entropy=entropy(number))
    assert release.events == (event,) and release.private
    return release.value


def random_phi(kind: str, n: int, d: int, seed: int) -> np.ndarray:
    """Images that nobody expects among them: unclipped, far too large, not numbers."""
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(n, d)).astype(np.float32)
    if kind == "clipped":
        phi /= np.linalg.norm(phi, axis=1, keepdims=True)
    if kind == "huge":
        phi *= np.float32(1e30)
    if kind == "not numbers":
        phi[rng.random(phi.shape) < 0.3] = np.nan
        phi[rng.random(phi.shape) < 0.1] = np.inf
    return phi


@drawn(
    kind=st.sampled_from(["clipped", "unclipped", "huge", "not numbers"]),
    d=st.integers(1, 200),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_one_image_changes_one_row_by_at_most_the_sensitivity(kind: str, d: int, seed: int) -> None:
    phi = random_phi(kind, 12, d, seed)
    y = np.random.default_rng(seed).integers(0, 3, 12)
    tiny = 1e-9  # noise that rounds to nothing
    with_it, without = answer_to(phi, y, sigma=tiny), answer_to(phi[1:], y[1:], sigma=tiny)
    changed = with_it - without
    assert np.flatnonzero(np.abs(changed).sum(axis=1)).tolist() == [y[0]]
    assert np.linalg.norm(changed) <= UNIT
    assert np.linalg.norm(changed) > 0.2 * UNIT, "its count at least"


def fault_no_clip(phi: np.ndarray, unit: int) -> np.ndarray:
    cos, sin = weigh(phi.shape[1])
    both = np.concatenate([phi * cos, np.full((len(phi), 1), sin)], axis=1)
    return np.trunc((both * unit).clip(-1e15, 1e15)).astype(np.int64)


def fault_rounded_up(phi: np.ndarray, unit: int) -> np.ndarray:
    cos, sin = weigh(phi.shape[1])
    exact = np.nan_to_num(phi.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    exact /= np.maximum(1.0, np.linalg.norm(exact, axis=1, keepdims=True))
    both = np.concatenate([exact * cos, np.full((len(phi), 1), sin)], axis=1)
    return np.ceil(both * unit).astype(np.int64)  # all but this as it is


@pytest.mark.parametrize("fault", [fault_no_clip, fault_rounded_up])
@pytest.mark.thorough
def test_the_fault_is_seen(fault: Callable[[np.ndarray, int], np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "contributions", fault)
    with pytest.raises(AssertionError):
        test_one_image_changes_one_row_by_at_most_the_sensitivity()


@pytest.mark.parametrize("n", [1, 20])
def test_the_sum_does_not_depend_on_the_order(n: int) -> None:
    phi, y = random_phi("clipped", n, 50, 1), np.zeros(n, np.int64)
    back = slice(None, None, -1)
    assert (answer_to(phi, y) == answer_to(phi[back], y)).all()


def test_every_entry_has_its_own_noise_of_the_secret_stream_and_the_count_too() -> None:
    phi, y = random_phi("clipped", 4, 5, 2), np.array([0, 0, 1, 2])
    S = answer_to(phi, y, sigma=1e-9)
    noise = np.stack([answer_to(phi, y, number=e) - S for e in range(300)]) / UNIT
    assert noise.std() == pytest.approx(3, rel=0.03)
    assert np.abs(noise.std(axis=0) / 3 - 1).max() < 0.2, "every entry, the counts included"
    across = np.corrcoef(noise.reshape(300, -1).T) - np.eye(18)
    assert np.abs(across).max() < 0.3
    exact = entropy(5).stream("means").normals(3, 6) * 3 * UNIT
    assert np.abs(answer_to(phi, y) - S - exact).max() <= 1, "these bits, to the grid"


def test_the_answer_lies_on_the_grid() -> None:
    phi, y = random_phi("clipped", 30, 7, 3), np.arange(30) % 3
    assert (answer_to(phi, y) % 1 == 0).all()


def test_it_refuses_another_split() -> None:
    phi, y = random_phi("clipped", 3, 5, 0), np.array([0, 1, 2])
    with pytest.raises(Violation, match="validation"):
        ask(given(phi), replace(private_set(y), split="validation"), d=5, event=MEANS, entropy=entropy(1))


def test_every_image_is_asked_whatever_their_number() -> None:
    for n in (0, 1, ROWS, ROWS + 1, 5 * ROWS + 7):
        y = np.arange(n) % 3
        counted = answer_to(np.zeros((n, 4), np.float32), y, sigma=1e-9)[:, -1]
        np.testing.assert_allclose(
            counted / counted.sum() * n if n else counted, np.bincount(y, minlength=3), atol=1e-9
        )


def test_the_estimate_is_the_mean_and_its_error_is_what_it_says() -> None:
    rng = np.random.default_rng(0)
    n, d, labels = 3000, 20, 3
    y = rng.integers(0, labels, n)
    phi = (rng.normal(size=(n, d)) * 0.05 + rng.normal(size=(labels, d))[y] * 0.1).astype(np.float32)
    true = np.stack([phi[y == c].mean(axis=0) for c in range(labels)])
    errors = []
    for e in range(40):
        found = estimate(answer_to(phi, y, sigma=5, number=e), sigma=5, n=n)
        assert np.abs(found.n - np.bincount(y)).max() < 5 * 5 / weigh(d)[1]
        errors.append((found.M - true) / found.noise[:, None])
    assert np.std(errors) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("n", [0, 5])
def test_a_label_whose_count_is_lost_in_noise_still_has_a_mean(n: int) -> None:
    y = np.repeat([1, 2], 200)
    y[:n] = 0
    phi = random_phi("clipped", 400, 6, 4)
    for e in range(20):
        found = estimate(answer_to(phi, y, sigma=200, number=e), sigma=200, n=400)
        assert np.isfinite(found.M).all() and (found.n >= 0.1 * 400 / 3 - 1e-9).all()
        assert (found.n < 400).all(), "noise of hundreds says nothing: they stay near an even share"


def counts_of(true: np.ndarray, *, sigma: float, number: int) -> np.ndarray:
    """What the counts are taken for where there are so many images of the labels."""
    y = np.repeat(np.arange(len(true)), true)
    return estimate(
        answer_to(np.zeros((len(y), 4), np.float32), y, sigma=sigma, number=number), sigma=sigma, n=len(y)
    ).n


@pytest.mark.parametrize("true", [[300, 300, 300], [60, 240, 600], [5, 10, 1000]])
@pytest.mark.parametrize("sigma", [0.5, 5, 50])
def test_counts_are_nearer_than_noisy_ones_and_than_even_shares(true: list[int], sigma: float) -> None:
    """Wherever the truth lies: even or not, with much noise or little."""
    counts = np.array(true)
    found = np.stack([counts_of(counts, sigma=sigma, number=e) for e in range(60)])
    error = float(np.square(found - counts).mean())
    floor = float(np.square(np.maximum(counts, 0.1 * counts.mean()) - counts).mean())  # none is taken for less
    noisy, even = (sigma / weigh(4)[1]) ** 2, float(counts.var())
    assert error <= floor + 1.3 * min(noisy, max(even, (0.1 * counts.mean()) ** 2) + 0.2 * noisy)


def test_of_one_label_the_count_is_known() -> None:
    assert estimate(np.array([[3.0, 9.9]]), sigma=50, n=400).n == 400


@drawn(d=st.integers(1, 4000))
@settings(max_examples=50)
def test_weights_of_mean_and_count_have_norm_one(d: int) -> None:
    cos, sin = weigh(d)
    assert cos**2 + sin**2 == pytest.approx(1) and 0 < sin < 0.85
