"""The generator that is trained to meet means: it meets them, by seed, and goes on where it was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from privimage import checkpoint as checkpoints
from privimage.checkpoint import Checkpoint
from privimage.generators import sizes
from privimage.generators.config import SampleConfig
from privimage.generators.generator import OneStep
from privimage.generators.sampler import draw_images
from privimage.matching import fit
from privimage.matching.config import MatchConfig
from privimage.matching.features import Fourier, floats
from privimage.matching.fit import match, missed
from privimage.means.answer import Means
from privimage.stores.file import FileStore
from privimage.workers import Workers

CPU, SHAPE = torch.device("cpu"), (1, 8, 8)
CONFIG = MatchConfig(steps=60, batch=32, lr=2e-3)
FEATURES = Fourier(Fourier.drawn(features=200, length=0.37, shape=SHAPE), device=CPU)


def means_of(x: np.ndarray, y: np.ndarray) -> Means:
    """Without noise."""
    phi = FEATURES(floats(x, device=CPU)).numpy()
    M = np.stack([phi[y == label].mean(axis=0) for label in range(2)])
    return Means(M=M, noise=np.zeros(2), n=np.bincount(y).astype(float))


def halves(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Images that are bright above (label 0) or below (label 1)."""
    y = np.arange(n) % 2
    x = np.random.default_rng(0).integers(0, 60, (n, *SHAPE))
    x[y == 0, :, :4] += 180
    x[y == 1, :, 4:] += 180
    return x.astype(np.uint8), y


def trained(config: MatchConfig = CONFIG, *, seed: int = 0, **named: Any) -> tuple[OneStep, dict[str, torch.Tensor]]:
    generator = sizes.build("implicit-128", shape=SHAPE, n_classes=2, seed=0)
    assert isinstance(generator, OneStep)
    quiet = lambda done, total: None  # noqa: E731
    state = match(generator, FEATURES, means_of(*halves()), config=config, seed=seed, device=CPU,
                  **{"progress": quiet, **named})  # fmt: skip
    generator.F.load_state_dict(state)
    return generator, state


def test_images_have_what_the_means_say_of_their_label() -> None:
    generator, _ = trained()
    x, y = draw_images(generator, n=40, config=SampleConfig(), seed=0, device=CPU)
    above = x[:, :, :4].mean(axis=(1, 2, 3)) - x[:, :, 4:].mean(axis=(1, 2, 3))
    assert (above[y == 0] > 60).all() and (above[y == 1] < -60).all()
    own, found = means_of(*halves()).M, means_of(x, y).M
    assert np.square(found - own).sum() < 0.1 * np.square(own[0] - own[1]).sum()


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    few = CONFIG.model_copy(update={"steps": 3})
    one, same, other = (trained(few, seed=seed)[1] for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(before, torch.get_rng_state())


def test_a_label_of_few_images_has_little_weight() -> None:
    """Its mean is mostly noise."""
    phi = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    M = torch.zeros(3, 4)
    np.testing.assert_allclose(missed(phi, M), phi.mean(1).square().sum(1), rtol=1e-5)
    weights = fit.precision(np.array([100.0, 100.0, 10.0]))
    assert weights.mean() == pytest.approx(1) and weights[0] / weights[2] == pytest.approx(100)


def test_a_killed_training_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    few, store = CONFIG.model_copy(update={"steps": 6}), FileStore(tmp_path)

    def kept() -> Checkpoint:
        return Checkpoint(store=store, name="model-x", entropy=None, workers=Workers.alone())

    def killed(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(few, checkpoint=kept(), progress=killed)
    steps: list[int] = []
    _, state = trained(few, checkpoint=kept(), progress=lambda done, total: steps.append(done))
    _, whole = trained(few)
    assert steps == [5, 6] and all(torch.equal(state[name], whole[name]) for name in whole)
