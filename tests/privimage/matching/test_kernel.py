"""DP-Kernel: the answer of a step is that of its batch with the declared noise; training can be killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from known import entropy

from privimage import checkpoint as checkpoints
from privimage.checkpoint import Checkpoint
from privimage.data.sets import PrivateSet
from privimage.generators import sizes
from privimage.generators.generator import OneStep
from privimage.generators.pretrain import Seeded
from privimage.matching import kernel
from privimage.matching.config import KernelConfig
from privimage.matching.kernel import UNIT, asked, drawn, train
from privimage.privacy.budget import Event
from privimage.stores.file import FileStore

CPU, SHAPE = torch.device("cpu"), (1, toys.SIDE, toys.SIDE)
CONFIG = KernelConfig(q=0.5, steps=4, features=40, batch=12)
EVENT = Event(purpose="kernel means", split="train", sigma=0.5, q=0.5, steps=4)


def answered(images: PrivateSet, batch: np.ndarray, *, sigma: float = 1e-9, number: int = 5, step: int = 0) -> Any:
    event, features = EVENT.model_copy(update={"sigma": sigma}), drawn(CONFIG, step, SHAPE, device=CPU)
    return asked(features, images, batch, event=event, entropy=entropy(number), step=step).value


def one_image_changes_one_row(images: PrivateSet) -> None:
    batch = np.arange(9)
    whole = answered(images, batch)
    for i in range(9):
        changed = whole - answered(images, batch[batch != i])
        assert np.flatnonzero(np.abs(changed).sum(axis=1) > 1).tolist() == [images.y[i]]
        assert np.linalg.norm(changed) <= UNIT


def test_one_image_changes_one_row_by_at_most_the_sensitivity(sensitive: PrivateSet) -> None:
    one_image_changes_one_row(sensitive)


def test_it_is_seen_if_an_image_counts_twice(sensitive: PrivateSet, monkeypatch: pytest.MonkeyPatch) -> None:
    real = kernel.contributions
    monkeypatch.setattr(kernel, "contributions", lambda phi, unit: 2 * real(phi, unit))
    with pytest.raises(AssertionError):
        one_image_changes_one_row(sensitive)


def noise_is_new_in_every_step(images: PrivateSet) -> None:
    exact = answered(images, np.arange(20))
    first, again, other, later = (
        answered(images, np.arange(20), sigma=3, number=n) - exact for n in (1, 1, 2, 1)
    )  # fmt: skip
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.std() / UNIT == pytest.approx(3, rel=0.15) and np.array_equal(first, later)
    empty = np.arange(0)
    steps = [answered(images, empty, sigma=3, step=step) for step in range(2)]
    assert abs(np.corrcoef(steps[0].ravel(), steps[1].ravel())[0, 1]) < 0.3


def test_noise_is_new_in_every_step(sensitive: PrivateSet) -> None:
    noise_is_new_in_every_step(sensitive)


def test_it_is_seen_if_steps_share_their_noise(sensitive: PrivateSet, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Event.perturb
    monkeypatch.setattr(Event, "perturb", lambda self, value, *, sensitivity, stream: real(
        self, value, sensitivity=sensitivity, stream=entropy(9).stream("noise")))  # fmt: skip
    with pytest.raises(AssertionError):
        noise_is_new_in_every_step(sensitive)


def test_kernels_go_round_their_lengths_and_are_the_same_for_all() -> None:
    lengths = [np.linalg.norm(drawn(CONFIG, step, SHAPE, device=CPU).arrays["frequencies"]) for step in range(3)]
    assert lengths[1] / lengths[0] == pytest.approx(2, rel=0.1) and lengths[2] / lengths[0] == pytest.approx(
        0.5, rel=0.1
    )
    first, again, other = (drawn(CONFIG, step, SHAPE, device=CPU).arrays["frequencies"] for step in (0, 0, 3))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def trained(sensitive: PrivateSet, config: KernelConfig = CONFIG, sigma: float = 0.5, **rest: Any) -> dict[str, Any]:
    generator = sizes.build("implicit-128", shape=SHAPE, n_classes=3, seed=0)
    assert isinstance(generator, OneStep)
    event = EVENT.model_copy(update={"sigma": sigma, "steps": config.steps, "q": config.q})
    arguments: dict[str, Any] = {"progress": lambda done, total: None, "entropy": entropy(5)} | rest
    release = train(generator, sensitive, config=config, event=event, seed=0, device=CPU, **arguments)
    assert release.events == (event,)
    return release.value


def test_a_killed_one_ends_with_the_same_bits(
    sensitive: PrivateSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))
    place = Checkpoint(store=FileStore(tmp_path), name="kernel", entropy=entropy(5))

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    expected, steps = trained(sensitive), list[int]()
    with pytest.raises(KeyboardInterrupt):
        trained(sensitive, checkpoint=place, progress=kill)
    found = trained(sensitive, checkpoint=place, progress=lambda done, total: steps.append(done))
    assert steps == [3, 4]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_images_have_what_those_of_their_label_have() -> None:
    y = np.arange(60) % 3
    x = np.random.default_rng(0).integers(0, 60, (60, *SHAPE))
    x[y == 0, :, :8] += 180
    x[y == 1, :, 8:] += 180
    images = replace(toys.private_set(60, seed=1), x=x.astype(np.uint8), y=y)
    config = CONFIG.model_copy(update={"steps": 60, "features": 200, "batch": 24})
    generator = sizes.build("implicit-128", shape=SHAPE, n_classes=3, seed=0)
    assert isinstance(generator, OneStep)
    generator.F.load_state_dict(trained(images, config, sigma=0.3))
    label = torch.arange(9) % 3
    made = generator.pixels(generator.noise(9, Seeded(torch.Generator().manual_seed(0))), label).detach()
    above = made[:, :, :8].mean(dim=(1, 2, 3)) - made[:, :, 8:].mean(dim=(1, 2, 3))
    assert (above[label == 0] > 0.2).all() and (above[label == 1] < -0.2).all()
