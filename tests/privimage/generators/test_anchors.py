"""Anchors: an image of a label starts at a public image of that label, near to it where little noise is added."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from privimage.errors import InputError
from privimage.generators import Shape, edm, sizes
from privimage.generators.anchors import KEPT, Anchors, spread
from privimage.generators.config import EDM_LEVELS, NoiseLevels, SampleConfig
from privimage.generators.dct_mlp import COLOUR, GREY
from privimage.generators.generator import Generator

LABELS, SIDE = 3, 16


def images(n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Label 0, 1, 2, 0, ...; the label shows in the row that is bright."""
    y = np.arange(n) % LABELS
    x = np.zeros((n, 1, SIDE, SIDE), np.uint8)
    x[np.arange(n), 0, 4 * y] = 200
    x[np.arange(n), 0, 15, :] = (np.arange(n) * 8)[:, None]
    return x, y


def generator() -> Generator:
    return sizes.build("dct-mlp-192", shape=(1, SIDE, SIDE), n_classes=LABELS, seed=0)


def test_each_label_draws_from_all_of_its_own_alike() -> None:
    x, y = images()
    order = np.random.default_rng(0).permutation(len(y))
    anchors = Anchors(torch.from_numpy(x[order]), torch.from_numpy(y[order]))
    labels = torch.arange(3000) % LABELS
    drawn = anchors.draw(labels, torch.Generator().manual_seed(0)).numpy()
    assert (drawn[np.arange(3000), 0, 4 * labels.numpy(), 0] == 200).all()
    _, counts = np.unique(drawn[labels == 1][:, 0, 15, 0], return_counts=True)
    assert len(counts) == 10 and counts.min() > 60, "1000 draws of 10 images"


def test_a_label_without_images_is_refused() -> None:
    x, y = images()
    anchors = Anchors(torch.from_numpy(x[y != 1]), torch.from_numpy(y[y != 1]))
    for label in (1, 3):
        with pytest.raises(InputError, match="no public image for some label"):
            anchors.draw(torch.tensor([0, label]), torch.Generator())


def test_the_kept_are_as_many_of_every_label_and_follow_the_weights() -> None:
    y = np.array([0, 0, 0, 1, 1])
    kept = spread(y, np.array([0.6, 0.2, 0.0, 0.1, 0.1]), seed=0)
    counts = np.bincount(kept, minlength=5)
    assert len(kept) == KEPT == counts[:3].sum() + counts[3:].sum() and counts[:3].sum() == counts[3:].sum()
    assert counts[2] == 0 and counts[0] / counts[1] == pytest.approx(3, rel=0.15)


def test_little_noise_keeps_the_anchor_and_much_forgets_it() -> None:
    """A network that was never trained denoises nothing: what is left of an anchor is what the noise leaves."""
    x, y = images()
    made = generator()
    made.keep_anchors(x, y)
    labels = torch.arange(30) % LABELS

    def drawn(**config: float) -> np.ndarray:
        whole = SampleConfig(start="anchors", steps=2, guidance=0, **config)
        return torch.cat(list(made.sample(labels, config=whole, seed=0))).numpy()

    near, far = drawn(start_at=0.01), drawn(start_at=20.0)
    rows = near[np.arange(30), 0, 4 * labels.numpy()].mean(), far[np.arange(30), 0, 4 * labels.numpy()].mean()
    assert rows[0] > 150 and rows[1] < 130, rows


def test_a_state_with_anchors_is_loaded_with_them_and_gives_the_same_images() -> None:
    x, y = images()
    made, again = generator(), generator()
    made.keep_anchors(x, y)
    again.load(made.state_dict())
    config = SampleConfig(start="anchors", steps=2)
    one, other = (torch.cat(list(g.sample(torch.arange(9) % LABELS, config=config, seed=3))) for g in (made, again))
    assert torch.equal(one, other)
    again.load(generator().state_dict())
    with pytest.raises(InputError, match="holds none"):
        next(iter(again.sample(torch.arange(3), config=config, seed=3)))


@pytest.mark.parametrize(("start", "levels"), [("noise", (20.0, 0.6)), ("anchors", (0.5, 0.35))])
def test_the_levels_of_the_steps(start: str, levels: tuple[float, float]) -> None:
    found = SampleConfig.model_validate({"start": start}).suited(GREY).levels
    assert (found.sigma_max, found.sigma_min) == pytest.approx(levels) and found.rho == GREY.rho


@pytest.mark.parametrize(
    ("size", "shape", "own"),
    [
        ("dct-mlp-192", (1, 28, 28), GREY),
        ("dct-mlp-512", (3, 32, 32), COLOUR),
        ("unet-xs", (3, 32, 32), EDM_LEVELS),
        ("unet-1.75m", (1, 28, 28), EDM_LEVELS),
    ],
)
def test_levels_that_are_not_given_are_those_that_suit_network_and_images(
    size: str, shape: Shape, own: NoiseLevels, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, seen = sizes.build(size, shape=shape, n_classes=2, seed=0), list[SampleConfig]()
    monkeypatch.setattr(edm, "sample", lambda F, n, label, *, config, **_: seen.append(config) or n)
    for given in ({}, {"sigma_min": 5.0}, {"sigma_max": 70.0, "rho": 3.0}):
        list(generator.sample(torch.arange(2), config=SampleConfig(**given), seed=0))  # type: ignore[arg-type]
        assert asdict(seen.pop().levels) == {**asdict(own), **given}


def test_a_level_that_does_not_go_with_those_is_refused() -> None:
    with pytest.raises(InputError, match=r"method\.sample: sigma_min 2.5 must be below sigma_max 2"):
        sizes.check_sampler("dct-mlp-512", (3, 32, 32), SampleConfig(sigma_max=2))
    sizes.check_sampler("unet-xs", (3, 32, 32), SampleConfig(sigma_max=2))
