"""Central images: what the noisy means show, and how a frequency that noise hides is left out."""

from __future__ import annotations

import numpy as np
import torch
import toys

from privimage.matching.central import LowPass, shrunk
from privimage.matching.features import floats, phi_of
from privimage.means.answer import Means

SHAPE = (1, toys.SIDE, toys.SIDE)
PHI = LowPass(shape=SHAPE, clip=0.9, device=torch.device("cpu"))


def means_of(x: np.ndarray, y: np.ndarray, noise: float) -> Means:
    phi = phi_of(x, PHI, device=torch.device("cpu"))
    M = np.stack([phi[y == label].mean(axis=0) for label in range(3)])
    M = M + noise * np.random.default_rng(0).normal(size=M.shape)
    return Means(M=M, noise=np.full(3, noise), n=np.bincount(y).astype(float))


def test_without_noise_they_are_the_mean_images_of_the_labels() -> None:
    x, y = toys.pictures(30, 3, seed=1)
    found = PHI.images(means_of(x, y, 1e-9))
    wanted = np.stack([x[y == label].mean(axis=0) for label in range(3)])
    assert found.shape == (3, *SHAPE) and found.dtype == np.uint8
    assert np.abs(found - wanted).max() < 2  # all frequencies of 16 pixels are kept


def test_an_image_that_is_too_bright_counts_as_one_that_is_not() -> None:
    dark = LowPass(shape=SHAPE, clip=0.1, device=torch.device("cpu"))
    x = floats(np.full((2, *SHAPE), 255, np.uint8), device=torch.device("cpu"))
    assert torch.allclose(dark(x), dark(0.5 * x)) and not torch.allclose(dark(0.05 * x), dark(x))
    assert float(dark(x).norm(dim=1).max()) <= 1 + 1e-6


def test_what_noise_hides_is_left_out_and_the_rest_stays() -> None:
    x, y = toys.pictures(30, 3, seed=1)
    clear, hidden = means_of(x, y, 1e-6), means_of(x, y, 0.03)
    assert np.allclose(shrunk(clear, SHAPE), clear.M, atol=1e-3)
    off = [((M - clear.M) ** 2).sum() for M in (hidden.M, shrunk(hidden, SHAPE))]
    assert off[1] < 0.75 * off[0]
    nothing = Means(M=hidden.M * 0, noise=hidden.noise, n=hidden.n)
    assert not shrunk(nothing, SHAPE).any()
