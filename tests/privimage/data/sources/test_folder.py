import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from small_images import refused

from privimage.data import PublicConfig, SensitiveConfig, load_public, load_sensitive
from privimage.data.sources.encoded import UNREADABLE
from privimage.data.sources.folder import read_folder
from privimage.errors import InputError


def save(path, colour=(200, 30, 90), size=(20, 20), mode="RGB", **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = colour if isinstance(colour, int) else colour[0]
    Image.new(mode, size, colour if mode == "RGB" else grey).save(path, **options)


def fail(root, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_folder(root, **({"size": 8, "channels": None} | options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def root(tmp_path):
    for suffix in ("png", "bmp", "WEBP"):
        save(tmp_path / "red" / f"a.{suffix}", (200, 30, 90))
    for suffix in ("jpg", "jpeg", "pgm"):
        save(tmp_path / "grey" / f"a.{suffix}", 77, mode="L")
    return tmp_path


def test_every_format_is_read_in_the_order_of_names(root) -> None:
    x, y, classes = read_folder(root, size=8, channels=None)
    assert classes == ("grey", "red")
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    assert x.shape == (6, 3, 8, 8)
    assert np.abs(x[:3].astype(int) - 77).max() <= 2
    assert np.abs(x[3:].astype(int) - np.reshape([200, 30, 90], (3, 1, 1))).max() <= 6  # webp is lossy


def test_grey_images_stay_grey_and_colour_can_be_asked_away(root) -> None:
    x, _, _ = read_folder(root, size=8, channels=1)
    assert x.shape == (6, 1, 8, 8)
    for path in (root / "red").iterdir():
        path.unlink()
    save(root / "red" / "a.png", 5, mode="L")
    assert read_folder(root, size=8, channels=None)[0].shape == (4, 1, 8, 8)


def test_images_are_cropped_at_the_centre_and_antialiased(tmp_path) -> None:
    wide = np.zeros((16, 48), np.uint8)
    wide[:, :16] = 255  # cut away
    wide[:, 16:32:2] = 200  # stripes finer than the result: only a filter gives their mean
    (tmp_path / "a").mkdir()
    Image.fromarray(wide).save(tmp_path / "a" / "x.png")
    x, _, _ = read_folder(tmp_path, size=8, channels=1)
    assert abs(int(x[0, 0, :, 2:6].mean()) - 100) < 15
    assert x.max() < 160


def test_hidden_files_are_ignored_and_other_files_are_named(root, caplog) -> None:
    save(root / ".cache" / "a.png")
    (root / "red" / "._a.png").write_bytes(b"junk")
    (root / "red" / "notes.txt").write_text("x")
    (root / "README.md").write_text("x")
    x, _, classes = read_folder(root, size=8, channels=3)
    assert len(x) == 6 and classes == ("grey", "red")
    assert ["(.txt)" in record.message for record in caplog.records] == [True]


def test_links_are_followed(root, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "blue" / "b.png")
    (root / "blue").symlink_to(elsewhere / "blue")
    assert read_folder(root, size=8, channels=3)[2] == ("blue", "grey", "red")


def test_transparent_pixels_become_white(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a" / "x.png")
    assert read_folder(tmp_path, size=8, channels=None)[0].tolist() == np.full((1, 3, 8, 8), 255).tolist()


def test_sixteen_bits_of_a_png_are_refused_by_its_header(tmp_path) -> None:
    """12 bits in 16 became black; and scaling by the brightest pixel would be a statistic of private images."""
    (tmp_path / "a").mkdir()
    for pixels in (np.full((8, 8), 4095, np.uint16), np.full((8, 8), 65535, np.uint16), np.zeros((8, 8), np.uint16)):
        Image.fromarray(pixels).save(tmp_path / "a" / "x.png")
        for size in (8, None):
            assert fail(tmp_path, size=size) == f"{tmp_path / 'a' / 'x.png'}: " + (
                "has 16 bits a channel; convert all images to 8 bits by one rule, e.g. of 12 bits the upper 8"
            )


def png16(colour: int, samples: list[int]) -> bytes:
    """A PNG of 8 x 8 equal pixels with 16 bits a channel, which Pillow cannot write in colour."""
    row = b"\0" + struct.pack(f">{len(samples)}H", *samples) * 8

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 8, 8, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * 8)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_seen_in_every_kind_of_png(tmp_path, colour, samples) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(png16(colour, [4095] * samples))
    assert "16 bits a channel" in fail(tmp_path)


def test_a_pgm_is_scaled_by_the_brightest_value_that_it_declares(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.pgm").write_bytes(b"P5 8 8 4095\n" + struct.pack(">64H", *[2048] * 64))
    assert (np.abs(read_folder(tmp_path, size=8, channels=1)[0].astype(int) - 128) <= 1).all()


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_several_images_in_one_file_are_refused(tmp_path, suffix) -> None:
    (tmp_path / "a").mkdir()
    frames = [Image.new("RGB", (8, 8), (i, i, i)) for i in (0, 99, 200)]
    frames[0].save(tmp_path / "a" / f"x.{suffix}", save_all=True, append_images=frames[1:])
    assert fail(tmp_path) == f"{tmp_path / 'a' / f'x.{suffix}'}: holds several images; write one image a file"


def test_cmyk_palette_and_rotation_are_read(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a" / "1.jpg")
    Image.new("RGB", (8, 8), (255, 0, 0)).convert("P").save(tmp_path / "a" / "2.png")
    turned = Image.new("RGB", (16, 8), (255, 0, 0))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.paste((255, 255, 255), (0, 0, 8, 8))  # the left half, which is the upper one when it is turned
    turned.save(tmp_path / "a" / "3.png", exif=exif)
    x = read_folder(tmp_path, size=8, channels=3)[0].astype(int)
    assert np.abs(x[:2] - np.reshape([255, 0, 0], (3, 1, 1))).max() <= 30
    assert x[2, 2, 0].min() > 200 and x[2, 2, -1].max() < 60


def test_missing_folder(tmp_path) -> None:
    assert fail(tmp_path / "no") == f"{tmp_path / 'no'}: no such folder"
    (tmp_path / "file").write_text("x")
    assert fail(tmp_path / "file") == f"{tmp_path / 'file'}: not a folder"


def test_no_class_directories(tmp_path) -> None:
    save(tmp_path / "a.png")
    assert "no class directories" in fail(tmp_path)


def test_an_empty_class_directory_is_named(root) -> None:
    (root / "void").mkdir()
    message = fail(root)
    assert str(root / "void") in message and "empty class directory" in message and ".png" in message


@pytest.mark.parametrize("content", ["text", "truncated", "empty", "gif"])
@pytest.mark.parametrize("size", [8, None])
def test_an_unreadable_image_is_named_and_not_quoted(root, content, size) -> None:
    bad = root / "red" / "z.png"
    whole = (root / "red" / "a.png").read_bytes()
    if content == "gif":
        Image.new("L", (20, 20)).save(bad, format="GIF")
    else:
        bad.write_bytes({"text": b"secret", "truncated": whole[: len(whole) - 30], "empty": b""}[content])
    assert fail(root, size=size) == f"{bad}: damaged, or not a PNG, JPEG, BMP, WEBP or PGM image"


def test_without_a_size_images_must_share_one(root) -> None:
    assert read_folder(root, size=None, channels=3)[0].shape == (6, 3, 20, 20)
    save(root / "red" / "z.png", size=(20, 21))
    message = fail(root, size=None)
    assert str(root / "red" / "z.png") in message and "20 x 21" in message and "give size" in message


def config(root, **changes) -> SensitiveConfig:
    return SensitiveConfig(**({"name": "folder", "id": "mine", "root": str(root), "size": 8, "channels": 1} | changes))


def test_a_class_too_small_to_split_is_named(tmp_path) -> None:
    for i in range(40):
        save(tmp_path / "a" / f"{i}.png", 10 + i, mode="L")
    save(tmp_path / "b" / "0.png", mode="L")
    for seed in range(20):  # whichever part the only image would fall into
        with pytest.raises(InputError, match=r"class 'b' has fewer than 11 images, too few to be split.*add images"):
            load_sensitive(config(tmp_path, split_seed=seed))


def test_a_sensitive_folder_is_split_into_three_parts(tmp_path) -> None:
    for i in range(20):
        save(tmp_path / "a" / f"{i}.png", 10 + i, mode="L")
        save(tmp_path / "b" / f"{i}.png", 110 + i, mode="L")
    data = load_sensitive(config(tmp_path, validation=0.2, test=0.3))
    parts = [data.train, data.validation, data.test]
    assert min(map(len, parts)) >= 1 and set(data.train.y) == {0, 1}
    values = sorted(int(value) for part in parts for value in part.x[:, 0, 0, 0])
    assert values == [*range(10, 30), *range(110, 130)]
    assert all((part.x[:, 0, 0, 0] > 100).astype(int).tolist() == part.y.tolist() for part in parts)
    assert (data.train.id, data.train.name, data.train.classes) == ("mine", "folder", ("a", "b"))


def test_a_folder_is_split_by_its_files_at_every_size(tmp_path) -> None:
    for i in range(20):
        save(tmp_path / "a" / f"{i}.png", 10 + i, mode="L")
        save(tmp_path / "b" / f"{i}.png", 110 + i, mode="L")
    splits = []
    for changes in ({}, {"size": 12}, {"channels": 3}):
        data = load_sensitive(config(tmp_path, validation=0.2, test=0.3, **changes))
        splits.append([part.x[:, 0, 0, 0].tolist() for part in (data.train, data.validation, data.test)])
    assert splits[0] == splits[1] == splits[2]


def test_a_sensitive_folder_says_its_channels(root) -> None:
    """One colour image more would make all others colour, too."""
    with pytest.raises(ValueError, match=r"channels: give 1 \(grey\) or 3"):
        config(root, channels=None)


def test_imagenet_lies_in_folders_by_synset_and_val_may_be_its_test_split(tmp_path) -> None:
    for part, n, first in (("train", 20, 0), ("val", 3, 50)):
        for j, synset in enumerate(("n01440764", "n01443537")):
            for i in range(n):
                save(tmp_path / part / synset / f"{synset}_{i}.JPEG", 100 * j + first + i, size=(30, 20), mode="L")
    roots = {"root": str(tmp_path / "train"), "test_root": str(tmp_path / "val")}
    data = load_sensitive(SensitiveConfig(name="folder", id="i", size=8, channels=3, **roots))
    assert data.train.classes == ("n01440764", "n01443537") and data.train.shape == (3, 8, 8)
    assert len(data.train) + len(data.validation) == 40 and len(data.test) == 6


def test_a_name_that_is_no_text_or_of_two_lines_is_told_in_one(root, tmp_path) -> None:
    damaged = root / "grey" / os.fsdecode(b"\xff\n.png")
    damaged.write_bytes(b"x")
    assert refused(tmp_path, name="folder", root=str(root)) == f"{root}/grey/\\udcff\\n.png: {UNREADABLE}"
    damaged.unlink()
    (root / "grey" / "loop.png").symlink_to("loop.png")
    assert "grey/loop.png: cannot be read (Too many levels" in refused(tmp_path, name="folder", root=str(root))


def test_a_public_folder_keeps_the_first_classes(root, tmp_path) -> None:
    save(root / "blue" / "b.png")
    public = load_public(PublicConfig(name="folder", root=str(root), size=8, limit_classes=2), cache=tmp_path)
    assert public.classes == ("blue", "grey") and public.y.tolist() == [0, 1, 1, 1]
