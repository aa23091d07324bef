"""Tilting: the weighted mean meets the noisy one as closely as its noise allows, and no closer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from privimage.means.tilt import tilt


def pool(n: int, d: int, seed: int = 0) -> np.ndarray:
    phi = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return phi / np.maximum(1, np.linalg.norm(phi, axis=1, keepdims=True))


def test_of_all_weights_with_that_mean_these_are_closest_to_the_base() -> None:
    """Against the primal problem, solved by another method."""
    phi, rng = pool(30, 2), np.random.default_rng(1)
    base = rng.dirichlet(np.ones(30))
    M = base @ phi + [0.2, -0.1]
    found = tilt(phi, M, noise=1e-3, base=base)
    mean = found.weights @ phi

    def divergence(w: np.ndarray) -> float:
        return float((w * np.log(np.maximum(w, 1e-12) / base)).sum())

    constraints = [
        {"type": "eq", "fun": lambda w: w.sum() - 1},
        {"type": "eq", "fun": lambda w: w @ phi - mean},
    ]
    other = minimize(divergence, base, bounds=[(0, 1)] * 30, constraints=constraints, method="SLSQP")
    assert divergence(found.weights) == pytest.approx(other.fun, abs=1e-4)
    np.testing.assert_allclose(found.weights, other.x, atol=2e-3)


@pytest.mark.parametrize("noise", [0.2, 0.02, 0.002])
def test_it_misses_the_mean_by_its_noise(noise: float) -> None:
    phi, d = pool(4000, 10), 10
    M = phi[phi[:, 0] > 0.3].mean(axis=0).astype(np.float64)
    noisy = M + np.random.default_rng(2).normal(size=d) * noise
    found = tilt(phi, noisy, noise=noise, base=np.full(4000, 1 / 4000))
    assert found.weights.sum() == pytest.approx(1) and (found.weights >= 0).all()
    assert found.gap <= noise * d**0.5
    assert np.linalg.norm(found.weights @ phi - M) < 2 * noise * d**0.5
    coarse = tilt(phi, noisy, noise=noise * 3, base=np.full(4000, 1 / 4000))
    assert coarse.effective >= found.effective, "with more noise, fewer images are told apart"


def test_with_noise_above_everything_the_base_stays() -> None:
    phi, base = pool(200, 5), np.random.default_rng(0).dirichlet(np.ones(200))
    M = np.full(5, 0.1)
    found = tilt(phi, M, noise=10, base=base)
    assert found.effective == pytest.approx(1 / np.square(base).sum(), rel=0.2)


def test_a_mean_that_no_image_is_near_gives_the_nearest_images() -> None:
    phi = pool(500, 6)
    found = tilt(phi, np.full(6, 2.0), noise=1e-6, base=np.full(500, 1 / 500))
    assert np.isfinite(found.weights).all() and found.gap > 1
    assert phi[found.weights.argmax()].sum() > np.quantile(phi.sum(axis=1), 0.95)
