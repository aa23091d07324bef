import logging

import numpy as np
import pytest

from privimage.data import PrivateSet, PublicConfig, PublicSet, load_public
from privimage.data.sources import glyphs
from privimage.data.sources.glyph_render import draw_face
from privimage.data.sources.glyphs import font_files, read_glyphs, usable
from privimage.data.sources.source import InMemory
from privimage.errors import InputError

FACES = font_files()[::12]


def found(cache, **changes) -> InMemory:
    return read_glyphs(**({"cache": cache, "min_images": 6, "limit_classes": 40, "_faces": FACES} | changes))


def small(cache, **changes) -> PublicSet:
    drawn = found(cache, **changes)
    return PublicSet(x=drawn.x, y=drawn.y, name="glyphs", classes=drawn.classes)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return cache, small(cache)


def refuse(*_args, **_kwargs):
    raise AssertionError("glyphs were drawn")


def test_one_character_is_one_class(drawn) -> None:
    _, public = drawn
    assert isinstance(public, PublicSet) and not isinstance(public, PrivateSet)
    assert public.shape == (1, 28, 28) and public.y.dtype == np.int64
    assert "8 U+0038" in public.classes
    codes = [int(name.split("U+")[1], 16) for name in public.classes]
    assert codes == sorted(codes) and len(codes) <= 40
    assert [name[0] for name in public.classes] == [chr(code) for code in codes]


def test_every_class_has_enough_distinct_images(drawn) -> None:
    _, public = drawn
    assert np.bincount(public.y).min() >= 6
    assert len(public.classes) == public.y.max() + 1
    pairs = {(label, image.tobytes()) for label, image in zip(public.y.tolist(), public.x, strict=True)}
    assert len(pairs) == len(public)


def test_classes_look_like_their_names(drawn) -> None:
    _, public = drawn
    means = np.stack([public.x[public.y == k].mean(axis=0).ravel() for k in range(len(public.classes))])
    nearest = ((public.x.reshape(len(public), 1, -1) - means) ** 2).mean(axis=2).argmin(axis=1)
    assert (nearest == public.y).mean() > 0.5  # chance is 1 in 40


def test_a_second_call_reads_the_cache(drawn, monkeypatch) -> None:
    cache, public = drawn
    monkeypatch.setattr(glyphs, "draw_faces", refuse)
    assert small(cache).fingerprint == public.fingerprint
    assert small(cache).classes == public.classes
    with pytest.raises(AssertionError, match="were drawn"):
        small(cache, min_images=7)
    with pytest.raises(AssertionError, match="were drawn"):
        small(cache, limit_classes=41)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "other"])
def test_a_damaged_cache_file_is_drawn_again_with_one_warning(tmp_path, caplog, monkeypatch, damage) -> None:
    monkeypatch.setattr(glyphs, "draw_faces", lambda jobs: [draw_face(*job) for job in jobs])  # no new process
    changes = {"limit_classes": 3, "_faces": FACES[:3], "min_images": 1}
    fresh = small(tmp_path, **changes)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    if damage == "other":  # a well-formed file whose pixels are not the ones that were written
        with np.load(path) as file:
            arrays = dict(file)
        arrays["images"] = arrays["images"] // 2
        np.savez_compressed(path, **arrays)
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        path.write_bytes({"truncate": content[:middle], "flip": flipped, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        again = small(tmp_path, **changes)
    assert again.fingerprint == fresh.fingerprint
    assert [record.message for record in caplog.records] == [f"{path}: damaged cache file, drawing the glyphs again"]
    assert path.read_bytes() != b"" and list(tmp_path.iterdir()) == [path]
    caplog.clear()
    small(tmp_path, **changes)
    assert not caplog.records


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(glyphs.np, "savez_compressed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path, limit_classes=2, _faces=FACES[:1], min_images=1)
    assert list(tmp_path.iterdir()) == []


def test_too_high_a_minimum_is_an_input_error(tmp_path) -> None:
    with pytest.raises(InputError, match="min_images: got 99"):
        small(tmp_path, min_images=99)


@pytest.mark.parametrize(
    ("character", "expected"),
    [(c, True) for c in "8ß→一"] + [(c, False) for c in "éﬁ─⠁각龍ʰ "],
)
def test_usable(character, expected) -> None:
    assert usable(ord(character)) is expected


def test_public_config_brings_glyphs_to_another_shape(tmp_path, monkeypatch, drawn) -> None:
    monkeypatch.setattr("privimage.data.sources.glyphs.read_glyphs", lambda **_: found(drawn[0]))
    public = load_public(PublicConfig(name="glyphs", size=32, channels=3), cache=tmp_path)
    assert public.shape == (3, 32, 32)
    assert public.classes == drawn[1].classes and len(public) == len(drawn[1])


@pytest.mark.slow
def test_the_whole_set(tmp_path) -> None:
    public = load_public(PublicConfig(name="glyphs"), cache=tmp_path)
    assert (len(public.classes), len(public)) == (952, 36336)
    assert np.bincount(public.y).min() >= 10
