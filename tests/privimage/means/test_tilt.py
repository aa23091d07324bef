"""Tilting: the weighted mean meets the noisy one as closely as its noise allows, and no closer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from privimage.means.tilt import tilt


def pool(n: int, d: int, seed: int = 0) -> np.ndarray:
    phi = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return phi / np.maximum(1, np.linalg.norm(phi, axis=1, keepdims=True))


def missed(phi: np.ndarray, weights: np.ndarray, M: np.ndarray) -> float:
    return float(np.linalg.norm(weights @ phi - M))


def effective(weights: np.ndarray) -> float:
    """The number of images that would have this spread with even weights."""
    return float(1 / np.square(weights).sum())


def test_of_all_weights_with_that_mean_these_have_most_entropy() -> None:
    """Against the primal problem, solved by another method."""
    phi = pool(30, 2)
    M = phi.mean(axis=0) + np.array([0.2, -0.1])
    found = tilt(phi, M, noise=1e-3)
    mean = found @ phi

    def negentropy(w: np.ndarray) -> float:
        return float((w * np.log(np.maximum(w, 1e-12))).sum())

    constraints = [
        {"type": "eq", "fun": lambda w: w.sum() - 1},
        {"type": "eq", "fun": lambda w: w @ phi - mean},
    ]
    start = np.full(30, 1 / 30)
    other = minimize(negentropy, start, bounds=[(0, 1)] * 30, constraints=constraints, method="SLSQP")
    assert negentropy(found) == pytest.approx(other.fun, abs=1e-4)
    np.testing.assert_allclose(found, other.x, atol=2e-3)


@pytest.mark.parametrize("noise", [0.2, 0.02, 0.002])
def test_it_misses_the_mean_by_its_noise(noise: float) -> None:
    phi, d = pool(4000, 10), 10
    M = phi[phi[:, 0] > 0.3].mean(axis=0).astype(np.float64)
    noisy = M + np.random.default_rng(2).normal(size=d) * noise
    found = tilt(phi, noisy, noise=noise)
    assert found.sum() == pytest.approx(1) and (found >= 0).all()
    assert 0.5 * noise * d**0.5 < missed(phi, found, noisy) <= noise * d**0.5
    assert missed(phi, found, M) < 2 * noise * d**0.5
    coarse = tilt(phi, noisy, noise=noise * 3)
    assert effective(coarse) > effective(found), "with more noise, fewer images are told apart"


def test_with_noise_above_everything_all_images_weigh_the_same() -> None:
    found = tilt(pool(200, 5), np.full(5, 0.1), noise=10)
    assert effective(found) > 150


def test_a_mean_that_no_image_is_near_gives_the_nearest_images() -> None:
    phi = pool(500, 6)
    found = tilt(phi, np.full(6, 2.0), noise=1e-6)
    assert np.isfinite(found).all() and missed(phi, found, np.full(6, 2.0)) > 1
    assert phi[found.argmax()].sum() > np.quantile(phi.sum(axis=1), 0.95)


def test_a_large_pool_is_looked_at_in_part_and_nothing_else_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that hardly count with a coarse ridge count even less with a finer one."""
    phi = pool(6000, 10, seed=3)
    M = phi[phi[:, 0] > 0.5].mean(axis=0).astype(np.float64)
    whole = tilt(phi, M, noise=0.002)
    monkeypatch.setattr("privimage.means.tilt.FEW", 500)
    part = tilt(phi, M, noise=0.002)
    assert (part == 0).sum() >= 1000 and part.sum() == pytest.approx(1)
    assert np.abs(whole - part).sum() < 0.02, "in total variation, 1% of the images"
