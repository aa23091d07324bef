"""phi: in the unit ball whatever the image, directions in which public classes differ, the same for every batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage.means.embedding import Embedding, edges, whiten


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
    embedding = Embedding.fit(whitenings, z, first=(2, 2), probe=[kind[:9] for kind in kinds])
    phi = embedding([other, other[:, :6]])
    assert phi.shape == (600, 9) and embedding.edges == ((0, 2, 5), (0, 2, 4)) and np.isfinite(phi).all()
    assert np.linalg.norm(phi, axis=1).max() <= 1 + 1e-5
    again = Embedding.from_arrays(embedding.arrays)
    assert (again([other, other[:, :6]]) == phi).all() and again.d == 9
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


def test_three_quarters_are_brought_to_the_sphere_of_every_block_and_the_first_counts_most() -> None:
    f, y = public()
    whitening = whiten(f, y, d=7)
    embedding = Embedding.fit([whitening], [whitening(f)], first=[2], probe=[f[:9]])
    phi = embedding([f])
    norms = [np.linalg.norm(phi[:, a:b], axis=1) for a, b in ((0, 2), (2, 7))]
    for norm in norms:
        assert (norm > norm.max() - 1e-5).mean() == pytest.approx(0.75, abs=0.01)
    first, second = (norm.max() ** 2 for norm in norms)
    assert first + second == pytest.approx(1, abs=1e-5) and second / first == pytest.approx(0.5**0.5, abs=1e-4)


def test_what_the_first_directions_see_does_not_depend_on_how_many_follow_in_later_blocks() -> None:
    f, y = public()
    phi = []
    for first in (2, 7):
        whitening = whiten(f, y, d=7)
        phi.append(Embedding.fit([whitening], [whitening(f)], first=[first], probe=[f[:9]])([f])[:, :2])
    outlying = np.linalg.norm(whitening(f)[:, 2:], axis=1) > 4
    ratio = [np.linalg.norm(seen[outlying], axis=1).mean() / np.linalg.norm(seen, axis=1).mean() for seen in phi]
    assert ratio[0] > 1.1 * ratio[1], "in one block, what sticks out elsewhere makes them shrink"


@given(d=st.integers(1, 300), first=st.integers(1, 40))
def test_blocks_double_and_no_last_one_is_small(d: int, first: int) -> None:
    found = edges(d, first=first)
    sizes = np.diff(found)
    assert found[0] == 0 and found[-1] == d and (sizes > 0).all()
    assert sizes[0] >= min(d, first) and all(b >= a for a, b in zip(found[1:], sizes[1:], strict=False))


def test_no_more_directions_than_classes_tell() -> None:
    f, y = public()
    assert whiten(f, y, d=100).A.shape == (12, 7)
