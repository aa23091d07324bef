"""phi: in the unit ball whatever the image, directions in which public classes differ, the same for every batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage.means.embedding import Embedding, whiten


def public(seed: int = 0, *, n: int = 600, D: int = 12, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Classes that differ along the first three features; the others only vary, the last with a scale of its own."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    means = np.zeros((classes, D))
    means[:, :3] = rng.normal(size=(classes, 3)) * [8, 4, 2]
    scale = np.linspace(1, 3, D)
    scale[-1] = 100
    return (means[y] + rng.normal(size=(n, D)) * scale).astype(np.float32), y


@given(seed=st.integers(0, 50), factor=st.sampled_from([0.0, 1.0, 1e20]))
@settings(max_examples=20, deadline=None)
def test_phi_lies_in_the_unit_ball(seed: int, factor: float) -> None:
    f, y = public(seed)
    other = (public(seed + 1)[0] * np.float32(factor)).copy()
    other[0, 0], other[1, 1] = np.nan, np.inf
    whitenings, kinds = (whiten(f, y, d=5), whiten(f[:, :6], y, d=4)), (f, f[:, :6])
    z = [w(kind) for w, kind in zip(whitenings, kinds, strict=True)]
    embedding = Embedding.fit(whitenings, z, d=(5, 3), probe=[kind[:9] for kind in kinds])
    phi = embedding([other, other[:, :6]])
    assert phi.shape == (600, 8) and np.isfinite(phi).all()
    assert np.linalg.norm(phi, axis=1).max() <= 1 + 1e-5
    again = Embedding.from_arrays(embedding.arrays)
    assert (again([other, other[:, :6]]) == phi).all() and again.d == (5, 3)
    assert again.sees([kind[:9] * np.float32(1 + 1e-6) for kind in kinds])
    assert not again.sees([kind[1:10] for kind in kinds]), "of another network, or of other images"


def test_within_a_class_every_direction_is_as_wide_before_the_clip() -> None:
    f, y = public(n=6000)
    z = whiten(f, y, d=5)(f)
    within = np.concatenate([z[y == c] - z[y == c].mean(axis=0) for c in range(8)])
    np.testing.assert_allclose(np.cov(within.T), np.eye(5), atol=0.05)


def test_directions_come_by_falling_difference_of_classes() -> None:
    f, y = public(n=6000)
    whitening = whiten(f, y, d=7)
    z = whitening(f)
    spread = np.stack([z[y == c].mean(axis=0) for c in range(8)]).std(axis=0)
    assert (np.diff(spread) <= 0.05).all() and spread[2] > 5 * spread[4]
    axes = np.abs(whitening.A[:, :3]) * f.std(axis=0)[:, None]
    assert axes[:3].sum() > 5 * axes[3:].sum(), "the first three features tell classes apart"


def test_three_quarters_are_brought_to_the_sphere() -> None:
    f, y = public()
    whitening = whiten(f, y, d=4)
    phi = Embedding.fit([whitening], [whitening(f)], d=[3], probe=[f[:9]])([f])
    assert (np.linalg.norm(phi, axis=1) > 1 - 1e-5).mean() == pytest.approx(0.75, abs=0.01)


def test_no_more_directions_than_classes_tell() -> None:
    f, y = public()
    assert whiten(f, y, d=100).A.shape == (12, 7)
