"""Phi of images: in the unit ball, with a gradient, of public data alone, and of one image at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import toys

from privimage.matching.features import Fourier, Perceptual, Phi, floats, layers_of

CPU = torch.device("cpu")
SHAPE = (1, toys.SIDE, toys.SIDE)
KINDS = ("fourier", "query", "efficientnet-lite0")


def features_of(kind: str) -> Phi:
    if kind == "fourier":
        return Fourier(Fourier.drawn(features=400, length=0.37, shape=SHAPE), device=CPU)
    public = toys.public_set()
    layers = layers_of(toys.query_function(toys.query_weights(public)) if kind == "query" else None, device=CPU)
    with torch.no_grad():
        return Perceptual(layers, Perceptual.fitted(layers, [floats(public.x, device=CPU)], moments=2), device=CPU)


def odd_images() -> np.ndarray:
    """Images that nobody expects: black, white, halves, noise."""
    x = np.random.default_rng(0).integers(0, 256, (12, *SHAPE), dtype=np.uint8)
    x[0], x[1], x[2, :, ::2], x[3, :, : toys.SIDE // 2] = 0, 255, 255, 0
    return x


@pytest.mark.parametrize("kind", KINDS)
def test_phi_is_in_the_unit_ball_and_has_a_gradient(kind: str) -> None:
    features = features_of(kind)
    x = floats(odd_images(), device=CPU).requires_grad_()
    phi = features(x)
    assert phi.shape == (12, features.d) and phi.norm(dim=1).max() <= 1 + 1e-5
    assert phi.norm(dim=1).min() > 0.5
    phi[:, : features.d // 3].sum().backward()
    assert x.grad is not None and (x.grad[1:].flatten(1).abs().sum(1) > 0).all()  # black is where a cosine is flat


def test_products_of_fourier_features_are_those_of_the_gaussian_kernel() -> None:
    x = floats(toys.public_set().x[:40], device=CPU)
    features = Fourier(Fourier.drawn(features=20_000, length=0.3, shape=SHAPE), device=CPU)
    square = torch.cdist(x.flatten(1), x.flatten(1)).square() / x[0].numel()  # mean square difference of pixels
    torch.testing.assert_close(features(x) @ features(x).T, torch.exp(-square / (2 * 0.3**2)), atol=0.03, rtol=0)


def test_frequencies_are_the_same_for_everybody() -> None:
    one, other = (Fourier.drawn(features=8, length=0.3, shape=SHAPE) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("moments", [1, 2])
def test_perceptual_features_are_layers_about_their_public_means(moments: int) -> None:
    rng = np.random.default_rng(0)
    public, x = (torch.from_numpy(rng.normal(size=(n, 5)).astype(np.float32)) for n in (30, 4))

    def layers(a: torch.Tensor) -> list[torch.Tensor]:
        return [a, 3 * a[:, :2]]

    found = Perceptual(layers, Perceptual.fitted(layers, [public[:20], public[20:]], moments=moments), device=CPU)(x)

    def unit(a: Any) -> Any:
        return a / np.linalg.norm(a, axis=1, keepdims=True)

    parts = []
    for p, a in zip(layers(public), layers(x), strict=True):
        m = p.numpy().mean(0)
        parts.append(unit(a.numpy() - m))
        if moments == 2:
            parts.append(unit((a.numpy() - m) ** 2 - ((p.numpy() - m) ** 2).mean(0)))
    np.testing.assert_allclose(found.numpy(), np.concatenate(parts, axis=1) / len(parts) ** 0.5, atol=1e-5)
