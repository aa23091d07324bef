"""A label that resembles a public class is drawn to it; one that does not loses little by the question."""

from __future__ import annotations

import numpy as np
import pytest

from privimage.means.answer import Means
from privimage.means.prior import Prior
from privimage.means.resemblance import _Likened, drawn

D, LABELS, CLASSES = 40, 8, 60
LAMBDA, NEAR = 0.7 ** np.arange(D), 0.05  # variance between classes; tau as a multiple of it
Pair = tuple[np.ndarray, np.ndarray]


def public(rng: np.random.Generator) -> Prior:
    m = rng.normal(size=D)
    classes = m + rng.normal(size=(CLASSES, D)) * np.sqrt(LAMBDA)
    return Prior(m=m, between=LAMBDA, within=np.ones(D), apart=NEAR * LAMBDA, classes=classes)


def of_classes(rng: np.random.Generator, prior: Prior) -> np.ndarray:
    """Labels each near a class, and all moved by as much."""
    near = prior.classes[rng.choice(CLASSES, LABELS, replace=False)]
    return near + (rng.normal(size=(LABELS, D)) + rng.normal(size=D)) * np.sqrt(prior.apart)


def of_none(rng: np.random.Generator, prior: Prior) -> np.ndarray:
    """Labels that vary as classes do, near none."""
    return prior.m + rng.normal(size=(LABELS, D)) * np.sqrt(LAMBDA)


def errors(make: object, noise: float, worlds: int = 60) -> dict[float, Pair]:
    """resembling -> (mean square error of mu, the variance that is said), over worlds."""
    found: dict[float, list[Pair]] = {0.0: [], 0.5: [], 1.0: []}
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        prior = public(rng)
        mu = make(rng, prior)  # type: ignore[operator]
        noises = np.full(LABELS, noise)
        M = mu + noise * rng.normal(size=mu.shape)
        for resembling, of in found.items():
            told, v = drawn(Means(M=M, noise=noises, n=np.ones(LABELS)), prior, resembling=resembling)
            of.append((np.square(told - mu).sum(axis=1).mean(), v.sum(axis=1).mean()))
    return {resembling: tuple(np.mean(of, axis=0)) for resembling, of in found.items()}  # type: ignore[misc]


@pytest.mark.parametrize(("noise", "share"), [(1.0, 0.9), (0.5, 0.75), (0.2, 0.5), (0.02, 1.0)])
@pytest.mark.thorough
def test_who_resembles_is_known_better(noise: float, share: float) -> None:
    found = errors(of_classes, noise)
    assert found[0.5][0] <= share * found[0.0][0]
    assert found[0.5][0] == pytest.approx(found[0.5][1], rel=0.2), "and it says how well"


@pytest.mark.parametrize("noise", [3.0, 1.0, 0.5, 0.2, 0.02])
@pytest.mark.thorough
def test_who_resembles_none_loses_little(noise: float) -> None:
    found = errors(of_none, noise)
    assert found[0.5][0] <= 1.1 * found[0.0][0]


@pytest.mark.thorough
def test_the_check_sees_that_all_are_drawn_to_classes() -> None:
    found = errors(of_none, 0.5)
    assert found[1.0][0] > 1.2 * found[0.0][0], "as they would be if none might resemble none"


@pytest.mark.parametrize("noise", [1.0, 0.01])
def test_zero_is_the_mean_of_all_alone_also_of_labels_that_are_classes(noise: float) -> None:
    """The formula without classes, written out."""
    rng = np.random.default_rng(0)
    prior, noises = public(rng), noise * rng.uniform(0.5, 2, LABELS)
    M = of_classes(rng, prior)
    mu, v = drawn(Means(M=M, noise=noises, n=np.ones(LABELS)), prior, resembling=0)
    square = np.square(noises)[:, None]
    sure = 1 / (LAMBDA + square)
    W = sure / sure.sum(axis=0)
    both = (np.square(W) * square).sum(axis=0)
    g = prior.m + LAMBDA / (LAMBDA + both) * ((W * M).sum(axis=0) - prior.m)
    np.testing.assert_allclose(mu, g + LAMBDA * sure * (M - g), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(v, LAMBDA * sure * square, rtol=1e-9)


def test_one_is_that_none_is_near_the_mean_of_all() -> None:
    """However far a label lies from every class."""
    rng = np.random.default_rng(3)
    prior = public(rng)
    M = prior.m + 20 * np.sqrt(LAMBDA) * rng.normal(size=(LABELS, D))
    likened = _Likened.to(prior, resembling=1)
    assert all(likened.shares(row, 1e-4, np.zeros(D))[0] == 0 for row in M)


def test_what_all_labels_share_is_seen() -> None:
    """A shift as large as classes differ, where it stands out of the noise."""
    rng = np.random.default_rng(4)
    prior = public(rng)
    g = np.sqrt(LAMBDA) * rng.choice([-1, 1], D)
    mu = of_classes(rng, prior) + g
    M = mu + 0.1 * rng.normal(size=mu.shape)
    told, _ = drawn(Means(M=M, noise=np.full(LABELS, 0.1), n=np.ones(LABELS)), prior, resembling=0.5)
    assert np.square(told - mu).sum(axis=1).mean() < 0.05 * np.square(g).sum()


def test_a_label_that_is_lost_has_what_all_share_and_says_that_it_knows_nothing() -> None:
    rng = np.random.default_rng(1)
    prior = public(rng)
    g = 3 * np.sqrt(prior.apart)
    noise = np.array([1e3, *[0.05] * (LABELS - 1)])
    M = prior.classes[:LABELS] + g + noise[:, None] * rng.normal(size=(LABELS, D))
    mu, v = drawn(Means(M=M, noise=noise, n=np.ones(LABELS)), prior, resembling=0.5)
    even = (prior.m + prior.classes.mean(axis=0)) / 2
    assert np.linalg.norm(mu[0] - even - g) < 0.3 * np.linalg.norm(g)
    assert v[0].sum() == pytest.approx(LAMBDA.sum(), rel=0.3) and v[1:].sum(axis=1).max() < 0.2


@pytest.mark.thorough
def test_many_labels_take_no_more_memory_than_classes() -> None:
    """A label at a time: all at once would be 200 MiB of numbers here."""
    import tracemalloc

    rng = np.random.default_rng(2)
    prior = Prior(m=np.zeros(64), between=np.ones(64), within=np.ones(64), apart=np.ones(64),
                  classes=rng.normal(size=(1000, 64)))  # fmt: skip
    tracemalloc.start()
    drawn(Means(M=rng.normal(size=(400, 64)), noise=np.ones(400), n=np.ones(400)), prior, resembling=0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2**20, peak
