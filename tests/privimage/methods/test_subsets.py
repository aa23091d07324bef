"""Subsets: rows of public images are what they say, and cost what their question costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toys

from privimage.data.views import Views
from privimage.errors import InputError
from privimage.methods.method import Sizes, load
from privimage.methods.resolve import resolve
from privimage.stages import Stages

SMALL = {
    "samples": 30,
    "select": {"ratio": 0.5},
    "means": {"sigma": 4.0},
    "query": {"sigma": 3.0, "function": {"steps": 3, "batch": 8}},
}


def made(folder: Path, name: str) -> Stages:
    """The stages of a trial of it."""
    _, stages = toys.ran(
        folder,
        toys.trial(asked=0.5, method={"name": name, **SMALL}),
        public=toys.public_set(),
        sensitive=toys.sensitive_set(),
    )
    return stages


def places(x: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Where each of the images is among these."""
    same = (x[:, None] == among[None]).all(axis=(2, 3, 4))
    assert same.any(axis=1).all(), "an image is none of them"
    found: np.ndarray = same.argmax(axis=1)
    return found


@pytest.mark.parametrize("name", ["selected-images", "unselected-images", "random-images", "all-images"])
def test_every_image_is_a_public_one_that_was_chosen_for_its_label(name: str, tmp_path: Path) -> None:
    stages, public = made(tmp_path, name), toys.public_set()
    drawn = stages.store.get("samples", stages.artefacts["samples"])
    place, y = places(drawn.arrays["x"], public.x), drawn.arrays["y"]
    assert sorted(y) == sorted(np.arange(30) % 3)
    if name == "all-images":
        assert len(np.unique(public.y[place])) > 2 and not stages.ledger.charges()
        return
    chosen = stages.store.get("selection", stages.artefacts["selection"]).arrays
    if name == "unselected-images":
        assert not np.isin(public.y[place], chosen["classes"]).any()
    else:
        assert all(public.y[p] in chosen["classes"][label] for p, label in zip(place, y, strict=True))
    assert [event.purpose for charge in stages.ledger.charges() for event in charge.events] == (
        [] if name == "random-images" else ["query"]
    )


def test_tilted_ones_are_views_of_public_images_that_have_weight_for_the_label(tmp_path: Path) -> None:
    stages = made(tmp_path, "tilted-images")
    drawn = stages.store.get("samples", stages.artefacts["samples"]).arrays
    tilted = stages.store.get("tilted", stages.artefacts["tilted"]).arrays
    config = resolve({"name": "tilted-images", **SMALL})
    views = Views.of(toys.public_set(), config.pool)  # type: ignore[attr-defined]
    for label in range(3):
        place = places(drawn["x"][drawn["y"] == label], views.rows(np.arange(len(views))))
        own = tilted["index"][tilted["label"] == label]
        assert np.isin(place, own).mean() > 0.9  # views of one image may be equal
    assert [event.purpose for charge in stages.ledger.charges() for event in charge.events] == ["means"]


def test_where_the_query_selects_all_classes_none_is_left_to_draw() -> None:
    config = resolve({"name": "unselected-images", "select": {"ratio": 1.0}})
    with pytest.raises(InputError, match=r"method.select.ratio: got 1, which selects all 20 public classes"):
        load("unselected-images").check(config, Sizes(n_train=100, n_labels=10, n_public=20))
    load("selected-images").check(resolve({"name": "selected-images", "select": {"ratio": 1.0}}),
                                  Sizes(n_train=100, n_labels=10, n_public=20))  # fmt: skip
