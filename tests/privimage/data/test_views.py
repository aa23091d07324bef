"""Views: the same images by index as in order, whatever is asked with them; variations, not other images."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest

from privimage.data.pool import Vary
from privimage.data.sets import PublicSet
from privimage.data.sources import source
from privimage.data.views import Held, Views
from privimage.errors import InputError
from privimage.nearest import Candidates


def images(channels: int, n: int = 2300) -> PublicSet:
    rng = np.random.default_rng(0)
    x = np.zeros((n, channels, 12, 12), np.uint8)
    x[:, :, 3:9, 3:9] = rng.integers(60, 256, (n, channels, 6, 6))
    return PublicSet(x=x, y=np.arange(n) % 3, name="toy", classes=("a", "b", "c"))


@pytest.mark.parametrize(("kind", "channels"), [("strokes", 1), ("photo", 3)])
def test_images_by_index_are_those_in_order(kind: Vary, channels: int) -> None:
    views = Views(public=images(channels), count=3, kind=kind)
    whole = np.concatenate(list(views.each_block(300)))
    assert len(whole) == len(views) == 6900
    index = np.random.default_rng(1).integers(0, 6900, 300)
    assert (views.rows(index) == whole[index]).all()
    assert (whole[:2300] == views.public.x).all()
    first, second, third = whole.reshape(3, 2300, *views.public.shape)
    for one, other in ((first, second), (first, third), (second, third)):
        assert (one != other).any(axis=(1, 2, 3)).mean() > 0.99


def test_what_is_held_is_made_once_and_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    views, made = Views(public=images(1), count=3, kind="strokes"), list[int]()
    rows = Views.rows
    monkeypatch.setattr(Views, "rows", lambda self, index: (made.append(len(index)), rows(self, index))[1])
    index = np.array([5, 6000, 5, 2])
    held = views.held(index)
    assert not made
    for asked in ([0, 1], [3, 2, 1]):
        assert (held.rows(np.array(asked)) == rows(views, index[asked])).all()
    assert made == [3]
    assert len(Candidates.of(held, np.array([0, 1, 2, 0]), None)) == 3, "one view that two labels chose is one image"


@pytest.mark.parametrize(("kind", "channels"), [("strokes", 1), ("photo", 3)])
def test_a_variation_is_nearer_to_its_image_than_to_others(kind: Vary, channels: int) -> None:
    views = Views(public=images(channels, 400), count=2, kind=kind)
    x = views.rows(np.arange(800)).astype(np.float32).reshape(800, -1)
    own = np.linalg.norm(x[400:] - x[:400], axis=1)
    other = np.linalg.norm(x[400:] - np.roll(x[:400], 7, axis=0), axis=1)
    assert (own < other).mean() > 0.6


def test_what_is_large_is_held_in_a_file_and_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    views, made = Views(public=images(1), count=3, kind="strokes"), list[int]()
    index = np.random.default_rng(1).permutation(6900)[:2500]
    near = views.held(index).rows(np.arange(2500))
    rows = Views.rows
    monkeypatch.setattr(Views, "rows", lambda self, index: (made.append(len(index)), rows(self, index))[1])
    monkeypatch.setattr(source, "LARGE", 2500 * 144 - 1)
    held = views.held(index)
    assert (held.rows(np.arange(2500)) == near).all() and made == [1000, 1000, 500]
    assert isinstance(held.of, Held) and isinstance(held.of._made.base, np.memmap)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "r+b", buffering=0))
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        views.held(index).rows(np.arange(1))
