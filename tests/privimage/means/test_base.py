"""Base: what a tilt begins with follows the counts that stand above their noise, and leaves something for all."""

from __future__ import annotations

import numpy as np
import pytest

from privimage.means.base import EVEN, base_weights
from privimage.means.tilt import tilt

CLASSES = np.array([0, 0, 1, 2, 2, 2])


def test_told_classes_have_their_share_whatever_their_size() -> None:
    S = np.array([[60.0, 20.0, 3.0], [1.0, -9.0, 7.0]])
    found = np.stack([base_weights(row, np.arange(6), CLASSES, noise=5.0, views=2) for row in S])
    assert found.shape == (2, 12) and found.sum(axis=1) == pytest.approx([1, 1])
    shares = found[0].reshape(2, 6).sum(axis=0)
    by_class = np.array([shares[CLASSES == c].sum() for c in range(3)])
    np.testing.assert_allclose(by_class, (1 - EVEN) * np.array([0.75, 0.25, 0]) + EVEN * np.array([2, 1, 3]) / 6)
    np.testing.assert_allclose(found[1], 1 / 12, err_msg="no class of the second label stands out")


def test_an_image_of_several_classes_has_the_share_of_each() -> None:
    image, label = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])
    found = base_weights(np.array([60.0, 20.0, 0.0]), image, label, noise=1.0, views=1)
    assert found.sum() == pytest.approx(1)
    np.testing.assert_allclose(found, (1 - EVEN) * np.array([0.75 + 0.125, 0.125, 0]) + EVEN / 3)


def test_a_tilt_begins_there() -> None:
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(500, 3)).astype(np.float32) * 0.3
    base = rng.dirichlet(np.ones(500))
    np.testing.assert_allclose(tilt(phi, base @ phi, noise=1.0, base=base), base, atol=1e-4)
    M = base @ phi + np.array([0.1, 0.0, -0.05])
    found = tilt(phi, M, noise=1e-3, base=base)
    assert np.linalg.norm(found @ phi - M) < 2e-3
    ratio = np.log(found / base)  # = lambda . phi - log Z
    left = ratio - np.c_[phi, np.ones(500)] @ np.linalg.lstsq(np.c_[phi, np.ones(500)], ratio, rcond=None)[0]
    assert np.abs(left).max() < 1e-4
