import gzip
import io
import json
import tarfile

import pytest
from small_images import greys, opened, png, png16, refused

from privimage.data import SensitiveConfig
from privimage.data.sources.webdataset import WebDataset


def write(path, members):
    """A tar file of these members, as WebDataset's writer makes it: in the order of keys, then of extensions."""
    with tarfile.open(path, "w") as tar:
        for name, raw in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return path


def sample(i, *, kind="cls", label=None, **more):
    label = f"{i % 3}" if label is None else label
    return {f"{i:06d}.{kind}": label.encode(), f"{i:06d}.png": png(8 * i)} | {
        f"{i:06d}.{k}": v for k, v in more.items()
    }


def samples(numbers, **values):
    return {name: raw for i in numbers for name, raw in sample(i, **values).items()}


@pytest.fixture
def shards(tmp_path):
    for number in range(3):
        write(tmp_path / f"train-{number:06d}.tar", samples(range(10 * number, 10 * number + 10)))
    write(tmp_path / "val-000000.tar", samples(range(2)))
    return tmp_path


def test_shards_are_read_in_the_order_of_their_names(shards, tmp_path) -> None:
    found = opened(tmp_path, name="webdataset", root=str(shards / "train-*.tar"))
    assert found.y.tolist() == [i % 3 for i in range(30)] and found.classes == ("0", "1", "2")
    assert greys(found) == [8 * i for i in range(30)]
    assert len(opened(tmp_path, name="webdataset", root=str(shards))) == 32
    assert len(opened(tmp_path, name="webdataset", root=str(shards / "val-000000.tar"))) == 2
    some = opened(
        tmp_path, name="webdataset", root=str(shards / "train-*.tar"), limit_classes=2, classes=("a", "b", "c")
    )
    assert some.classes == ("a", "b") and greys(some) == [8 * i for i in range(30) if i % 3 < 2]


def test_a_label_may_be_a_name_or_a_field_of_an_object(tmp_path) -> None:
    write(tmp_path / "a.tar", samples([1], label="owl\n") | samples([2], label="cat"))
    found = opened(tmp_path, name="webdataset", root=str(tmp_path / "a.tar"))
    assert found.classes == ("cat", "owl") and greys(found) == [8, 16] and found.y.tolist() == [1, 0]
    told = [json.dumps({"kind": "elk", "place": 1}).encode(), json.dumps({"kind": "cat", "place": 0}).encode()]
    write(tmp_path / "b.tar", sample(1, json=told[0]) | sample(2, json=told[1]))
    values = {"name": "webdataset", "root": str(tmp_path / "b.tar")}
    assert opened(tmp_path, **values, label="json.kind").y.tolist() == [1, 0]
    assert opened(tmp_path, **values, label="json.place", classes=("a", "b")).y.tolist() == [1, 0]


def test_of_several_images_one_is_named_and_keys_have_folders(tmp_path) -> None:
    members = {
        "x/1.a.png": png(0),
        "x/1.jpg": png(50, form="JPEG"),
        "x/1.cls": b"0",
        "y/1.JPG": png(90),
        "y/1.cls": b"0",
    }
    write(tmp_path / "a.tar", members)
    assert greys(opened(tmp_path, name="webdataset", root=str(tmp_path / "a.tar"))) == [50, 90]
    write(tmp_path / "a.tar", members | {"y/1.png": png(70)})
    message = refused(tmp_path, name="webdataset", root=str(tmp_path / "a.tar"))
    assert message.endswith("a.tar: y/1: several images in this sample; name it by `image`")
    assert greys(opened(tmp_path, name="webdataset", root=str(tmp_path / "a.tar"), image="jpg")) == [50, 90]


def test_other_members_are_left_out_and_counted(tmp_path) -> None:
    write(tmp_path / "a.tar", sample(1, txt=b"a caption", json=b"{}") | sample(2))
    assert WebDataset(name="webdataset", root=str(tmp_path / "a.tar")).left_out() == {
        "members that are neither image nor label": 2
    }


FAULTS = {
    "no label": ({"1.png": png(0)}, "a.tar: 1: no .cls in this sample; name by `label`"),
    "no image": ({"1.cls": b"0"}, "a.tar: 1: no image in this sample; name it by `image`"),
    "empty label": ({"1.png": png(0), "1.cls": b""}, "a.tar: 1: its label under cls is no name"),
    "no text": ({"1.png": png(0), "1.cls": b"\xff"}, "a.tar: 1: no label under cls"),
    "long label": ({"1.png": png(0), "1.cls": bytes(2_000_000)}, "a.tar: 1: no .cls in this sample"),
    "nothing": ({}, "a.tar: holds no images"),
    "damaged": ({"1.png": b"secret", "1.cls": b"0"}, "a.tar: 1.png: damaged, or not a PNG"),
    "16 bits": ({"1.png": png16(), "1.cls": b"0"}, "a.tar: 1.png: has 16 bits a channel"),
    "two lines": ({"1\n2.png": b"", "1\n2.cls": b"0"}, "a.tar: 1\\n2.png: damaged"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_sample_is_named(fault, tmp_path) -> None:
    members, said = FAULTS[fault]
    write(tmp_path / "a.tar", members)
    assert said in refused(tmp_path, name="webdataset", root=str(tmp_path / "a.tar"))


@pytest.mark.parametrize("field", ["json", "json.kind", "json.list"])
def test_an_object_without_the_field_is_named(field, tmp_path) -> None:
    write(tmp_path / "a.tar", sample(1, json=b'{"list": [1]}' if field != "json" else b""))
    assert "a.tar: 000001: " in refused(tmp_path, name="webdataset", root=str(tmp_path / "a.tar"), label=field)


def test_a_label_of_no_class_is_named_and_not_quoted(tmp_path) -> None:
    write(tmp_path / "a.tar", samples([1], label="owl"))
    message = refused(tmp_path, name="webdataset", root=str(tmp_path / "a.tar"), classes=("cat", "dog"))
    assert "a.tar: 000001.png: its label is none of the 2 classes" in message and "owl" not in message


def test_a_damaged_shard_is_named(shards, tmp_path) -> None:
    shard = shards / "train-000001.tar"
    whole = shard.read_bytes()
    for raw in (whole[:3000], b"", b"<html>" * 200, gzip.compress(whole)):
        shard.write_bytes(raw)
        assert f"{shard}: damaged, or no tar file" in refused(tmp_path, name="webdataset", root=str(shards))


def test_a_shard_that_is_cut_between_members_or_goes_on_with_no_header_is_named(tmp_path) -> None:
    path = write(tmp_path / "a.tar", samples(range(4)))
    with tarfile.open(path) as tar:
        border = tar.getmembers()[6].offset
    whole = path.read_bytes()
    for raw in (whole[:border], whole[:border] + b"x" * 512 + whole[border + 512 :]):
        path.write_bytes(raw)
        said = f"{path}: cut off, or damaged: no end after 6 members; get it whole"
        assert refused(tmp_path, name="webdataset", root=str(path)) == said


@pytest.mark.parametrize("again", ["000002.png", "000002.cls", "./000002.png", "000002.PNG"])
def test_a_member_that_comes_again_is_named(again, tmp_path) -> None:
    path = write(tmp_path / "a.tar", samples(range(4)))
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo(again))
    said = f"{path}: {again}: stands there twice, or in upper and lower case; give every sample its own key"
    assert refused(tmp_path, name="webdataset", root=str(path)) == said


def test_a_header_that_tarfile_cannot_read_is_named(tmp_path) -> None:
    path = write(tmp_path / "a.tar", samples(range(2)))
    with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("7.png")
        info.pax_headers = {"GNU.sparse.map": "a,b"}
        tar.addfile(info)
    assert refused(tmp_path, name="webdataset", root=str(path)).startswith(f"{path}: damaged, or no tar file")


def test_a_link_is_not_followed(tmp_path) -> None:
    (tmp_path / "secret.png").write_bytes(png(1))
    with tarfile.open(write(tmp_path / "a.tar", sample(1)), "a") as tar:
        link, label = tarfile.TarInfo("2.png"), tarfile.TarInfo("2.cls")
        link.type, link.linkname, label.size = tarfile.SYMTYPE, str(tmp_path / "secret.png"), 1
        tar.addfile(link)
        tar.addfile(label, io.BytesIO(b"0"))
    assert "a.tar: 2: no image" in refused(tmp_path, name="webdataset", root=str(tmp_path / "a.tar"))


def test_what_is_not_there_is_said(tmp_path) -> None:
    for root in ("gone", "gone.tar", "no-*.tar", ""):
        assert "no " in refused(tmp_path, name="webdataset", root=str(tmp_path / root))


def test_a_sensitive_set_names_its_classes(shards) -> None:
    with pytest.raises(ValueError, match="classes: give the names of the labels"):
        SensitiveConfig(name="webdataset", id="a", root=str(shards), size=8, channels=1)
