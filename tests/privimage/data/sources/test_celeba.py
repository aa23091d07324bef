"""A small set in the on-disk form of CelebA: 178 x 218 pixels, and lists of attributes and of its partition."""

import zipfile

import numpy as np
import pytest
from PIL import Image
from small_images import greys, opened, png16, refused

from privimage.data import SensitiveConfig, load_sensitive
from privimage.data.pair import DataConfig
from privimage.data.sources.celeba import CelebA
from privimage.errors import InputError

N = 60


def face(i):
    """A grey of its own at the centre; what lies above and below the central square is white."""
    pixels = np.full((218, 178, 3), 255, np.uint8)
    pixels[20:198] = 4 * i
    return Image.fromarray(pixels)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "img_align_celeba").mkdir()
    lines, parts = [f"{N}", "Bald Male Young "], []
    for i in range(N):
        name = f"{i + 1:06d}.jpg"
        face(i).save(tmp_path / "img_align_celeba" / name, quality=95)
        lines.append(f"{name} -1 {' 1' if i % 3 == 0 else '-1'}  1")
        parts.append(f"{name} {0 if i < 40 else 1 if i < 50 else 2}")
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    return tmp_path


def values(root, **more):
    return {"name": "celeba", "root": str(root)} | more


@pytest.mark.parametrize("size", [32, 64])
def test_faces_are_cut_at_the_centre_and_resized_as_pillow_does(size, root, tmp_path) -> None:
    found = opened(tmp_path, **values(root, size=size))
    assert found.classes == ("not Male", "Male") and found.y.tolist() == [int(i % 3 == 0) for i in range(N)]
    assert found.shape == (3, size, size)
    file = Image.open(root / "img_align_celeba" / "000011.jpg")
    box = (0, 20, 178, 198)
    resized = file.resize((size, size), Image.Resampling.LANCZOS, box=box)
    assert (found.x[10] == np.asarray(resized).transpose(2, 0, 1)).all()
    cut_first = np.asarray(file.crop(box).resize((size, size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    assert (found.x[10][:, 3:-3] == cut_first[:, 3:-3]).all()  # but where the filter reaches beyond the square
    assert np.abs(found.x[10].astype(int) - 40).max() < 30  # nothing of the white above and below


def test_an_official_split_without_test_images_is_told_what_mends_it(root) -> None:
    partition = root / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace(" 2\n", " 1\n"))
    config = SensitiveConfig(**values(root, id="faces", size=8, channels=3, official=True, attribute=None))
    with pytest.raises(InputError, match=r": its test split holds no images; .* or set official: false: a test split"):
        load_sensitive(config)


def test_a_count_of_many_digits_and_a_file_in_the_place_of_the_folder_are_named(root, tmp_path) -> None:
    listed = root / "list_attr_celeba.txt"
    listed.write_text(listed.read_text().replace(f"{N}\n", "9" * 5000 + "\n", 1))
    said = refused(tmp_path, **values(root))
    assert said.startswith(f"{listed}: damaged; it says that it lists 99") and len(said) < 500
    (root / "img_align_celeba").rename(root / "elsewhere")
    (root / "img_align_celeba").write_bytes(b"")
    listed.write_text(listed.read_text().replace("9" * 5000, f"{N}"))
    assert refused(tmp_path, **values(root)) == f"{root}/img_align_celeba: not a folder"
    with pytest.raises(InputError, match="img_align_celeba: not a folder"):
        CelebA(**values(root)).check()


def test_another_attribute_or_none_is_the_label(root, tmp_path) -> None:
    for attribute in ("Bald", "Young"):
        found = CelebA(**values(root, attribute=attribute, size=8, channels=3)).open(cache=None)
        assert found.y.tolist() == [int(attribute == "Young")] * N and found.classes == (f"not {attribute}", attribute)
    faces = opened(tmp_path, **values(root, attribute=None))
    assert faces.classes == ("face",) and len(faces) == N


def test_files_lie_as_they_are_published_and_images_in_their_zip(root, tmp_path) -> None:
    one = opened(tmp_path, **values(root))
    with zipfile.ZipFile(tmp_path / "img.zip", "w") as file:
        for path in sorted((root / "img_align_celeba").iterdir()):
            file.write(path, f"img_align_celeba/{path.name}")
    for folder, names in (("Img", ()), ("Anno", ("list_attr_celeba.txt",)), ("Eval", ("list_eval_partition.txt",))):
        (root / folder).mkdir()
        for name in names:
            (root / name).rename(root / folder / name)
    (root / "img_align_celeba").rename(root / "aside")
    (tmp_path / "img.zip").rename(root / "Img" / "img_align_celeba.zip")
    archive = root / "Img" / "img_align_celeba.zip"
    packed = opened(tmp_path, **values(root, official=False))
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive, "a") as file:
        file.write(root / "aside" / "000001.jpg", "again/000002.jpg")
    assert refused(tmp_path, **values(root)) == (
        f"{archive}: holds images of one name in two folders; leave one folder in it"
    )
    archive.write_bytes(whole)
    assert (packed.x == one.x).all() and (packed.y == one.y).all()
    (root / "Img" / "img_align_celeba").mkdir()
    (root / "aside").rename(root / "Img" / "img_align_celeba" / "img_align_celeba")
    (root / "Img" / "img_align_celeba.zip").unlink()
    assert (opened(tmp_path, **values(root)).x == one.x).all()


def test_its_own_test_split_is_kept_where_it_is_asked_for(root) -> None:
    own = SensitiveConfig(**values(root), id="a", size=8, channels=3, official=True, validation=0.2)
    data = load_sensitive(own)
    assert sorted(greys(data.test)) == pytest.approx([4 * i for i in range(50, 60)], abs=3)
    assert len(data.train) + len(data.validation) == 50 and min(len(data.train), len(data.validation)) > 0
    cut = SensitiveConfig(**values(root), id="a", size=8, channels=3)
    assert own.division != cut.division and own.has_test and not cut.has_test
    assert load_sensitive(cut).content != data.content
    public = {"name": "glyphs", "size": 8, "channels": 3}
    one, other = (
        DataConfig.model_validate({"sensitive": s.model_dump(), "public": public}).identity for s in (own, cut)
    )
    assert one != other
    with pytest.raises(ValueError, match="celeba has its own test split; remove test"):
        SensitiveConfig(**values(root), id="a", size=8, channels=3, official=True, test=0.3)


def test_a_sensitive_set_says_its_channels(root) -> None:
    with pytest.raises(ValueError, match="channels: give 1"):
        SensitiveConfig(**values(root), id="a", size=8)


def test_what_is_not_listed_is_left_out(root) -> None:
    assert CelebA(**values(root)).left_out() == {}
    face(1).save(root / "img_align_celeba" / "999999.jpg")
    assert CelebA(**values(root)).left_out() == {"images that are not listed": 1}


ATTRIBUTES = {
    "empty": ("", "damaged; expected how many images"),
    "no count": ("Bald Male\nx.jpg 1 1\ny.jpg 1 1\n", "damaged; expected how many images"),
    "count": ("2\nBald Male\n000001.jpg 1 1\n", "damaged; it says that it lists 2 images, and lists 1"),
    "short": (
        "2\nBald Male\n000001.jpg 1 1\n000002.jpg 1\n",
        "line 4: expected the name of an image, given once, and 2",
    ),
    "blank": ("2\nBald Male\n000001.jpg 1 1\n\n", "line 4: expected the name"),
    "zero": (
        "1\nBald Male\n000001.jpg 1 0\n",
        "line 3: expected the name of an image, given once, and 2 times -1 or 1",
    ),
    "twice": ("2\nBald Male\n000001.jpg 1 1\n000001.jpg 1 1\n", "line 4: expected the name of an image, given once"),
    "elsewhere": ("1\nBald Male\n../x.jpg 1 1\n", "line 3: expected the name"),
    "attribute": ("1\nBald Young\n000001.jpg 1 1\n", "no attribute 'Male'; it has Bald, Young"),
}


@pytest.mark.parametrize("fault", ATTRIBUTES)
def test_a_wrong_list_is_named(fault, root, tmp_path) -> None:
    text, said = ATTRIBUTES[fault]
    (root / "list_attr_celeba.txt").write_text(text)
    assert f"{root / 'list_attr_celeba.txt'}: {said}" in refused(tmp_path, **values(root))


def test_what_is_missing_or_damaged_is_named(root, tmp_path) -> None:
    image = root / "img_align_celeba" / "000007.jpg"
    image.write_bytes(png16())
    assert f"{image}: has 16 bits" in refused(tmp_path, **values(root))
    image.unlink()
    assert "img_align_celeba: 000007.jpg: listed, but not there" in refused(tmp_path, **values(root))
    partition = root / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace("000009.jpg 0", "000009.jpg 3"))
    assert f"{partition}: line 9: " in refused(tmp_path, **values(root, official=True))
    partition.write_text("\n".join(partition.read_text().splitlines()[:8]))
    assert f"{partition}: 000009.jpg: listed, but not there" in refused(tmp_path, **values(root, official=True))
    partition.unlink()
    assert f"{partition}: no such file" in refused(tmp_path, **values(root, official=True))
    (root / "list_attr_celeba.txt").unlink()
    assert "list_attr_celeba.txt: no such file" in refused(tmp_path, **values(root))
