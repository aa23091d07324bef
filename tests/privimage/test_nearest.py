"""How near synthetic images are to public ones: against distances that are computed one by one."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch

from privimage import nearest
from privimage.data.sets import Chosen, Images
from privimage.nearest import Candidates, arrays_of
from privimage.progress import silent

CPU = torch.device("cpu")


def pictures(n: int, shape: tuple[int, int, int], seed: int) -> Any:
    """Images whose pixels are often black or white: those whose products are the largest."""
    x = np.random.default_rng(seed).integers(-200, 456, (n, *shape))
    return x.clip(0, 255).astype(np.uint8)


def one_by_one(a: Any, b: Any) -> Any:
    """Distances [len(a), len(b)] by their definition."""
    return np.array([[np.sqrt(np.mean((p / 255.0 - q / 255.0) ** 2)) for q in b] for p in a])


def found(x: Any, y: Any, public: Any, label: Any, weight: Any = None) -> dict[str, Any]:
    source = public if hasattr(public, "rows") else Images(x=public, y=np.zeros(len(public), np.int64))
    candidates = Candidates.of(source, np.asarray(label), weight)
    return arrays_of(x, np.asarray(y), candidates, device=CPU, progress=silent)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 24, 20), (1, 5, 7)])
def test_nearest_images_and_distances_are_those_of_brute_force(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 37)
    x, public = pictures(60, shape, 1), pictures(100, shape, 2)
    y, label = np.arange(60) % 4, np.random.default_rng(3).integers(0, 4, 100)
    made, each = found(x, y, public, label), one_by_one(x, public)
    assert made["sample"].tolist() == list(range(60)) and made["counted"].all()
    np.testing.assert_allclose(made["distance"], each.min(axis=1), rtol=1e-12)
    assert made["other"].tolist() == (label[each.argmin(axis=1)] != y).tolist()
    assert made["shown"].tolist() == [True] * 32 + [False] * 28, "the first eight of every label"
    assert np.array_equal(made["nearest"], public[each.argmin(axis=1)[:32]])
    apart = one_by_one(public, public) + np.diag(np.full(100, np.inf))
    np.testing.assert_allclose(np.sort(made["scale"]), np.sort(apart.min(axis=1)), rtol=1e-12)


def test_large_images_are_told_apart_by_one_step_of_one_pixel() -> None:
    """Where rounding of the products would hide it: a white image, and two that nearly are one."""
    white = np.full((1, 3, 64, 64), 255, np.uint8)
    public = np.concatenate([white, white, white])
    public[0, 0, 0, 0], public[1, 0, 0, 0], public[2, 0, 0, 0] = 253, 254, 253
    made = found(white, [0], public, [1, 0, 1])
    assert made["distance"] == pytest.approx([(1 / 12288) ** 0.5 / 255], rel=1e-12)
    assert not made["other"].any() and np.array_equal(made["nearest"], public[1:2])
    assert found(white, [1], public, [1, 0, 1])["other"].all()


def test_an_identical_image_has_distance_0_and_is_no_scale() -> None:
    public = pictures(10, (1, 8, 8), 1)
    twice = np.concatenate([public, public])
    made = found(public, np.zeros(10, int), twice, np.zeros(20, int))
    assert (made["distance"] == 0).all() and not made["other"].any()
    assert len(made["scale"]) == 20 and made["scale"].min() > 0.1
    same = np.repeat(public[:1], 5, axis=0)
    assert len(found(public, np.zeros(10, int), same, np.zeros(5, int))["scale"]) == 0, "all of them are the same"


def test_an_image_that_was_chosen_for_several_labels_is_of_none_of_them_another() -> None:
    """Whether it is one place that was chosen twice, or an equal image at another place."""
    pool = pictures(3, (1, 8, 8), 1)
    x, y = np.repeat(pool[:1], 3, axis=0), np.array([0, 1, 2])
    chosen = Chosen(of=Images(x=pool, y=np.zeros(3, np.int64)), index=np.array([2, 0, 1, 0]))
    made = found(x, y, chosen, [2, 0, 2, 1])
    assert made["distance"].tolist() == [0, 0, 0] and made["other"].tolist() == [False, False, True]
    assert found(x, y, pool[[2, 0, 1, 0]], [2, 0, 2, 1])["other"].tolist() == [False, False, True]
    assert found(x, y + 7, pool, [0, 1, 2])["other"].all(), "no image was chosen for these labels"


def test_numbers_are_over_as_many_of_every_label_and_pictures_of_the_first_labels() -> None:
    few, many = np.zeros((4, 1, 2, 2), np.uint8), np.zeros((6000, 1, 2, 2), np.uint8)
    y = np.arange(6000) % 30
    made = found(many, y, few, [0, 1, 2, 3])
    assert np.bincount(y[made["sample"]][made["counted"]]).tolist() == [16] * 30
    assert np.bincount(y[made["sample"]][made["shown"]]).tolist() == [8] * 20
    y = np.arange(6000) % 100
    made = found(many, y, few, [0, 1, 2, 3])
    assert np.bincount(y[made["sample"]][made["counted"]]).tolist() == [5] * 100
    assert np.bincount(y[made["sample"]][made["shown"]]).tolist() == [8] * 20 and len(made["sample"]) == 560
    assert found(many, np.arange(6000) % 1000, few, [0, 1, 2, 3])["counted"].sum() == 500


def test_the_scale_is_of_the_images_that_training_saw() -> None:
    public = pictures(700, (1, 4, 4), 1)
    assert len(found(public[:2], [0, 0], public, np.zeros(700, int))["scale"]) == 500
    weight = np.where(np.arange(700) < 3, 1.0, 0.0)
    each = one_by_one(public[:3], public)
    scale = found(public[:2], [0, 0], public, np.zeros(700, int), weight)["scale"]
    np.testing.assert_allclose(np.sort(scale), np.sort(np.where(each == 0, np.inf, each).min(axis=1)), rtol=1e-12)


def test_progress_is_told_up_to_the_last_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 4)
    x, told = pictures(10, (1, 4, 4), 1), list[tuple[int, int]]()
    candidates = Candidates.of(Images(x=x, y=np.zeros(10, np.int64)), np.zeros(10, np.int64), None)
    arrays_of(x, np.zeros(10, np.int64), candidates, device=CPU, progress=lambda done, of: told.append((done, of)))
    assert told == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.slow
def test_the_numbers_of_70_000_digits_take_seconds() -> None:
    x = np.random.default_rng(0).integers(0, 256, (70_000, 1, 28, 28), dtype=np.uint8)
    label, start = np.arange(70_000) % 10, time.process_time()
    made = found(x[:500], label[:500], x, label)
    assert time.process_time() - start < 6 and (made["distance"] == 0).all(), "twice 500, and quiet is half as long"
