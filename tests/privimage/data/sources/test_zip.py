import io
import shutil
import struct
import warnings
import zipfile

import pytest
from PIL import Image
from small_images import greys, opened, png, png16, refused

from privimage.data.sources.folder import open_folder
from privimage.data.sources.zip import Zip, Zipped, members_of


def write(path, members, *, packed=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", packed) as file:
        for name, raw in members.items():
            file.writestr(name, raw)
    return path


MEMBERS = {f"{kind}/{i}.png": png(10 * i) for i, kind in enumerate(["cat", "owl", "cat"])}


@pytest.mark.parametrize("packed", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize("above", ["", "set/", "a/set/"])
def test_every_directory_is_a_class(above, packed, tmp_path) -> None:
    path = write(tmp_path / "a.zip", {above + name: raw for name, raw in MEMBERS.items()}, packed=packed)
    found = opened(tmp_path, name="zip", root=str(path))
    assert found.classes == ("cat", "owl") and found.y.tolist() == [0, 0, 1] and greys(found) == [0, 20, 10]
    assert greys(opened(tmp_path, name="zip", root=str(path), channels=3)) == [0, 20, 10]


def test_a_zip_of_a_folder_holds_what_the_folder_holds(tmp_path) -> None:
    for name, raw in MEMBERS.items():
        path = tmp_path / "f" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    archive = shutil.make_archive(str(tmp_path / "f"), "zip", tmp_path / "f")
    one = open_folder(tmp_path / "f", size=8, channels=1)
    other = Zip(name="zip", root=archive, size=8, channels=1).open(cache=None)
    assert list(one.contents()) == list(other.contents()) and (one.rows(one.place) == other.rows(other.place)).all()


def test_what_is_no_image_is_left_out(tmp_path) -> None:
    junk = {
        "__MACOSX/cat/._0.png": b"x",
        "cat/.DS_Store": b"x",
        ".cache/0.png": b"x",
        "cat/notes.txt": b"x",
        "README": b"x",
    }
    path = write(tmp_path / "a.zip", MEMBERS | junk)
    assert len(opened(tmp_path, name="zip", root=str(path))) == 3
    assert Zip(name="zip", root=str(path)).left_out() == {"hidden files": 3, "files of other kinds": 2}


LAYOUTS = {
    "none": {},
    "no directory": {"0.png": png(0)},
    "unequal": MEMBERS | {"0.png": png(0)},
    "deeper": MEMBERS | {"cat/more/0.png": png(0)},
    "two sets": {f"train/{name}": raw for name, raw in MEMBERS.items()} | {"val/cat/7.png": png(0)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_layout_is_refused(layout, tmp_path) -> None:
    path = write(tmp_path / "a.zip", LAYOUTS[layout])
    message = refused(tmp_path, name="zip", root=str(path))
    assert message.startswith(f"{path}: ") and (
        "one directory of images per class" in message or "in one dir" in message
    )


@pytest.mark.parametrize("name", ["../cat/9.png", "cat/../../9.png", "/cat/9.png"])
def test_a_member_that_leads_out_is_refused(name, tmp_path) -> None:
    path = write(tmp_path / "a.zip", MEMBERS | {name: png(0)})
    assert f"{path}: {name}: its name leads out of the archive" in refused(tmp_path, name="zip", root=str(path))


@pytest.mark.parametrize("again", ["cat/0.png", "./cat/0.png", "cat//0.png"])
def test_a_member_that_stands_there_twice_is_refused(again, tmp_path) -> None:
    path = write(tmp_path / "a.zip", MEMBERS)
    with zipfile.ZipFile(path, "a") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.writestr(again, png(0))
    said = refused(tmp_path, name="zip", root=str(path))
    assert said.startswith(f"{path}: ") and said.endswith("0.png: stands there twice; give every image its own name")


@pytest.mark.parametrize("raw", [b"", b"<html>", b"PK\x05\x06" + bytes(18), "cut"])
def test_what_is_no_zip_is_named(raw, tmp_path) -> None:
    path = write(tmp_path / "a.zip", MEMBERS)
    path.write_bytes(path.read_bytes()[:-40] if raw == "cut" else raw)
    assert refused(tmp_path, name="zip", root=str(path)).startswith(f"{path}: ")
    assert "no such file" in refused(tmp_path, name="zip", root=str(path) + "x")


@pytest.mark.parametrize(("raw", "said"), [(b"secret", "damaged, or not a PNG"), (png16(), "has 16 bits a channel")])
def test_an_image_is_decoded_and_refused_as_in_a_folder(raw, said, tmp_path) -> None:
    path = write(tmp_path / "a.zip", MEMBERS | {"cat/9\n.png": raw})
    assert f"{path}: cat/9\\n.png: {said}" in refused(tmp_path, name="zip", root=str(path))


def test_damaged_bytes_of_a_member_are_seen(tmp_path) -> None:
    path = write(tmp_path / "a.zip", MEMBERS, packed=zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[raw.index(MEMBERS["owl/1.png"]) + 60] ^= 1
    path.write_bytes(raw)
    assert f"{path}: owl/1.png: damaged" in refused(tmp_path, name="zip", root=str(path))


def test_no_more_is_unpacked_than_the_archive_says(tmp_path) -> None:
    """A member of 60 kB that says it is of 100 bytes, and unpacks to 60 MB."""
    bomb = bytes(60_000_000)
    path = write(tmp_path / "a.zip", MEMBERS | {"cat/9.png": bomb})
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<I", len(bomb)), struct.pack("<I", 100)))
    names = members_of(path).names
    member = next(i for i in range(len(names)) if names[i] == "cat/9.png")
    with pytest.raises(ValueError, match="damaged"):
        Zipped(archive=path, members=members_of(path)).opened(member)
    assert f"{path}: cat/9.png: damaged" in refused(tmp_path, name="zip", root=str(path))


def test_a_member_that_would_be_huge_is_not_unpacked(tmp_path) -> None:
    path = write(tmp_path / "a.zip", MEMBERS | {"cat/9.png": bytes(1000)})
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<I", 1000), struct.pack("<I", 1 << 31)))
    assert f"{path}: cat/9.png: unpacks to {1 << 31} bytes; at most" in refused(tmp_path, name="zip", root=str(path))


@pytest.mark.thorough
def test_an_image_of_too_many_pixels_is_refused(tmp_path) -> None:
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    path = write(tmp_path / "a.zip", MEMBERS | {"cat/9.png": file.getvalue()})
    assert f"{path}: cat/9.png: damaged" in refused(tmp_path, name="zip", root=str(path))


def test_other_packings_are_named(tmp_path) -> None:
    path = write(tmp_path / "a.zip", MEMBERS, packed=zipfile.ZIP_BZIP2)
    assert "cat/0.png: is packed in a way that is not read" in refused(tmp_path, name="zip", root=str(path))
    path = write(tmp_path / "a.zip", MEMBERS)
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"PK\x01\x02", 0, raw.index(b"PK\x01\x02") + 4) + 8] |= 1  # the flag of the first, in the directory
    path.write_bytes(raw)
    assert "cat/0.png: is encrypted" in refused(tmp_path, name="zip", root=str(path))
