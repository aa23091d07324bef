"""What a noisy mean tells beside public classes: no worse than either, and as sure as it says."""

from __future__ import annotations

import numpy as np
import pytest

from privimage.means.answer import Means
from privimage.means.posterior import posterior
from privimage.means.prior import Prior, _apart

D, LABELS = 40, 12
LAMBDA = 0.5 ** np.arange(D)


def none_resembles(m: np.ndarray, within: float) -> Prior:
    """A prior of classes that tell nothing but how they spread about m."""
    return Prior(m=m, between=LAMBDA, within=np.full(D, within), apart=LAMBDA, classes=m[None])


def world(seed: int, *, noise: np.ndarray, shift: float = 0.0) -> tuple[np.ndarray, Means, Prior]:
    """Means of labels that vary as public classes do, about a mean that may lie elsewhere, and what is seen of them."""
    rng = np.random.default_rng(seed)
    m = rng.normal(size=D)
    mu = m + shift * np.sqrt(LAMBDA) + rng.normal(size=(LABELS, D)) * np.sqrt(LAMBDA)
    M = mu + rng.normal(size=(LABELS, D)) * noise[:, None]
    return mu, Means(M=M, noise=noise, n=np.ones(LABELS)), none_resembles(m, 1.0)


@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0, 10.0])
@pytest.mark.thorough
def test_it_is_nearer_than_the_noisy_mean_and_than_the_public_one_and_as_sure_as_it_says(noise: float) -> None:
    errors = np.zeros(3)
    told = 0.0
    for seed in range(200):
        mu, means, prior = world(seed, noise=np.full(LABELS, noise))
        found = posterior(means, prior, resembling=0)
        errors += [np.square(x - mu).sum() for x in (found.mu, means.M, prior.m)]
        told += found.v.sum()
    assert errors[0] <= errors[1]
    assert errors[0] <= 1.1 * errors[2], "to allow for a shift of all labels costs little where there is none"
    assert told == pytest.approx(errors[0], rel=0.15)


def test_one_label_that_is_well_known_does_not_stand_for_all() -> None:
    """A mean that is known to the last digit tells of its own label first, and of the others only as one of them."""
    noise, lam = np.array([0.05, *[3.0] * (LABELS - 1)]), LAMBDA[0]
    p = 1 / (lam + noise**2)
    error = exact = 0.0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        g = rng.normal() * lam**0.5
        mu, means, prior = world(seed, noise=noise)
        mu, means = mu + g, Means(M=means.M + g, noise=noise, n=means.n)
        found = posterior(means, prior, resembling=0).mu[1:, 0]
        centre = prior.m[0] + (p @ (means.M[:, 0] - prior.m[0])) / (1 / lam + p.sum())
        best = centre + lam * p[1:] * (means.M[1:, 0] - centre)
        error, exact = error + np.square(found - mu[1:, 0]).sum(), exact + np.square(best - mu[1:, 0]).sum()
    assert error < 1.1 * exact


def test_what_all_labels_share_is_seen_where_one_is_lost() -> None:
    noise = np.full(LABELS, 0.3)
    noise[0] = 100.0
    near = far = 0.0
    for seed in range(100):
        mu, means, prior = world(seed, noise=noise, shift=5.0)
        found = posterior(means, prior, resembling=0).mu[0]
        near, far = near + np.square(found - mu[0]).sum(), far + np.square(prior.m - mu[0]).sum()
    assert near < 0.15 * far


def test_the_prior_is_that_of_the_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.array([7, 7, 7, 9, 9, 30] * 50)
    phi = rng.normal(size=(300, 4)).astype(np.float32) + y[:, None] * [1.0, 0, 0, 0]
    found = Prior.of(phi.astype(np.float32), y)
    means = np.stack([phi[y == c].mean(axis=0) for c in (7, 9, 30)])
    np.testing.assert_allclose(found.m, phi.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.between, means.var(axis=0), rtol=1e-4)
    residual = np.concatenate([phi[y == c] - phi[y == c].mean(axis=0) for c in (7, 9, 30)])
    np.testing.assert_allclose(found.within, np.square(residual).mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(found.classes, means, rtol=1e-4)
    apart = (np.square(means[1] - means[0]) + np.square(means[0] - means[1]) + np.square(means[2] - means[1])) / 3
    np.testing.assert_allclose(
        found.apart, np.minimum(apart, found.between), rtol=1e-3
    )  # 7 and 9 are the nearest of each other, 9 that of 30
    assert (found.apart <= found.between).all()
    assert np.array_equal(Prior.of(phi[:2], y[:2]).apart, np.full(4, 1e-12)), "one class has none beside it"


def test_the_nearest_class_is_so_beside_the_spread_within_classes() -> None:
    """Three lengths in a direction in which images of a class differ by ten are less than one where they hardly do."""
    apart = _apart(np.array([[0.0, 0], [0, 3], [1, 0]]), np.array([0.01, 100]))
    np.testing.assert_allclose(apart, [1 / 3, (9 + 9) / 3])


def test_weights_gather_about_a_mean_that_is_known_and_are_even_about_one_that_is_not() -> None:
    rng = np.random.default_rng(1)
    phi = (rng.normal(size=(4000, D)) * np.sqrt(LAMBDA + 0.01)).astype(np.float32)
    prior = none_resembles(np.zeros(D), 0.01)
    M = np.tile(np.sqrt(LAMBDA), (LABELS, 1))
    known, lost = (
        posterior(Means(M=M, noise=np.full(LABELS, s), n=np.ones(LABELS)), prior, resembling=0) for s in (1e-3, 1e3)
    )
    own, even = (next(told.near(phi, distinct=0)) for told in (known, lost))
    assert own.sum() == pytest.approx(1) and 1 / np.square(even).sum() > 0.99 * len(phi)
    exact = np.exp(-0.25 * (np.square(phi - known.mu[0]) * (1 / (0.01 + known.v[0]) - 1 / (0.01 + LAMBDA))).sum(axis=1))
    np.testing.assert_allclose(own, exact / exact.sum(), rtol=1e-2, atol=1e-7)
    assert np.linalg.norm(own @ phi - known.mu[0]) < 0.5 * np.linalg.norm(known.mu[0])
    base = rng.dirichlet(np.ones(len(phi)))
    begun = next(lost.near(phi, distinct=1, base=lambda label: base))
    np.testing.assert_allclose(begun, base, rtol=0.01, atol=1e-7)


def test_an_image_that_is_as_near_to_other_labels_weighs_less() -> None:
    """By the share of it that is this label's, as far as noise hides what would tell; a lost label takes none away."""
    rng = np.random.default_rng(2)
    phi = (rng.normal(size=(500, D)) * np.sqrt(LAMBDA + 0.1)).astype(np.float32)
    prior = none_resembles(np.zeros(D), 0.1)
    noise = np.array([0.5, 1e-4, 1e3])
    M = rng.normal(size=(3, D)) * np.sqrt(LAMBDA)
    told = posterior(Means(M=M, noise=noise, n=np.ones(3)), prior, resembling=0)
    r = np.exp(np.stack([told.nearness(phi, label) for label in range(3)]).astype(np.float64))
    for distinct in (0.0, 1.0, 2.0):
        exact = r * (r / r.sum(axis=0)) ** (distinct * told.hidden[:, None])
        found = np.stack(list(told.near(phi, distinct=distinct)))
        np.testing.assert_allclose(found, exact / exact.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-9)
    assert told.hidden == pytest.approx([0.7, 0, 1], abs=0.15)
    assert np.ptp(r[2]) < 1e-2, "all images are as near to what nothing is known of"
    shared = np.minimum(r[0], r[1]) / r[:2].sum(axis=0)  # of every image, how much it is both's
    plain, apart = (list(told.near(phi, distinct=distinct)) for distinct in (0, 1))
    assert apart[0] @ shared < 0.9 * (plain[0] @ shared)
    np.testing.assert_allclose(apart[1], plain[1], rtol=0.01, atol=1e-9)  # what is known yields nothing
