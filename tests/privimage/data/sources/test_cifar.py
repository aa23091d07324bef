"""Small files in the real on-disk form of CIFAR: pickles of Python 2, in a folder or in a packed archive."""

import io
import pickle
import pickletools
import tarfile

import numpy as np
import pytest

from privimage.data import PublicConfig, SensitiveConfig, load_public, load_sensitive
from privimage.data.sources import cifar as module
from privimage.errors import InputError

BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def python2(value) -> bytes:
    """The pickle that Python 2 wrote, by protocol 2: texts and the bytes of arrays are its plain strings."""

    def string(raw: bytes) -> bytes:
        return b"T" + len(raw).to_bytes(4, "little") + raw

    def opcodes(value) -> bytes:
        if isinstance(value, dict):
            return b"}(" + b"".join(opcodes(k) + opcodes(v) for k, v in value.items()) + b"u"
        if isinstance(value, list):
            return b"](" + b"".join(map(opcodes, value)) + b"e"
        if isinstance(value, str):
            return string(value.encode("latin-1"))
        if isinstance(value, int):
            return b"J" + value.to_bytes(4, "little", signed=True)
        kind = b"cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R(K\x03" + string(b"|") + b"NNN"
        kind += opcodes(-1) * 2 + b"K\x00tb"
        start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R"
        shape = b"".join(map(opcodes, value.shape))
        return start + b"(K\x01" + b"(" + shape + b"t" + kind + b"\x89" + string(value.tobytes()) + b"tb"

    raw = b"\x80\x02" + opcodes(value) + b"."
    pickletools.dis(raw, io.StringIO())  # it is well formed
    return raw


def files10(rng, dumps=python2):
    names = ["airplane", "automobile", *(f"class{i}" for i in range(2, 10))]
    stored = {name: rng.integers(0, 256, (20, 3072), np.uint8) for name in BATCHES}
    batches = {
        name: dumps({"batch_label": name, "labels": [i % 10 for i in range(20)], "data": x})
        for name, x in stored.items()
    }
    return {
        "batches.meta": dumps({"num_cases_per_batch": 20, "label_names": names, "num_vis": 3072}),
        **batches,
    }, stored


def files100(rng):
    meta = {
        "fine_label_names": [f"fine{i}" for i in range(100)],
        "coarse_label_names": [f"coarse{i}" for i in range(20)],
    }
    files = {"meta": python2(meta)}
    for name, n in (("train", 200), ("test", 100)):
        fine = [i % 100 for i in range(n)]
        x = rng.integers(0, 256, (n, 3072), np.uint8)
        files[name] = python2({"fine_labels": fine, "coarse_labels": [i // 5 for i in fine], "data": x})
    return files


def lay(files, root, *, form, folder, archive):
    """None: writes the files as `form` says: unpacked, unpacked in a folder of their own, or packed."""
    root.mkdir(exist_ok=True)
    if form != "packed":
        where = root / folder if form == "below" else root
        where.mkdir(exist_ok=True)
        for name, raw in files.items():
            (where / name).write_bytes(raw)
        return
    with tarfile.open(root / archive, "w:gz") as tar:
        for name, raw in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))


def lay10(files, root, form="packed"):
    lay(files, root, form=form, folder="cifar-10-batches-py", archive="cifar-10-python.tar.gz")


def refused(root, name="cifar10") -> str:
    with pytest.raises(InputError) as caught:
        load_public(PublicConfig(name=name, root=str(root)), cache=root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("form", ["packed", "below", "here"])
@pytest.mark.parametrize("dumps", [python2, lambda value: pickle.dumps(value, protocol=2), pickle.dumps])
def test_cifar10_is_channels_first_packed_or_not(form, dumps, rng, tmp_path) -> None:
    files, stored = files10(rng, dumps)
    lay10(files, tmp_path, form)
    data = load_sensitive(SensitiveConfig(name="cifar10", id="c", root=str(tmp_path), validation=0.2))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [80, 20, 20]
    assert (data.test.x == stored["test_batch"].reshape(20, 3, 32, 32)).all()
    assert data.train.classes[:2] == ("airplane", "automobile")
    public = load_public(PublicConfig(name="cifar10", root=str(tmp_path), size=28, channels=1), cache=tmp_path)
    assert public.shape == (1, 28, 28) and public.y.tolist() == [*range(10)] * 10


@pytest.mark.parametrize("form", ["packed", "below"])
def test_cifar100_has_fine_labels_or_coarse_ones(form, rng, tmp_path) -> None:
    lay(files100(rng), tmp_path, form=form, folder="cifar-100-python", archive="cifar-100-python.tar.gz")
    fine = load_public(PublicConfig(name="cifar100", root=str(tmp_path)), cache=tmp_path)
    coarse = load_public(PublicConfig(name="cifar100", root=str(tmp_path), labels="coarse"), cache=tmp_path)
    assert fine.y.tolist() == [*range(100)] * 2 and fine.classes[99] == "fine99"
    assert (coarse.y == fine.y // 5).all() and coarse.classes[19] == "coarse19" and len(coarse.classes) == 20
    assert (coarse.x == fine.x).all()
    test = PublicConfig(name="cifar100", root=str(tmp_path)).open(cache=None, test=True)
    assert len(test.y) == 100


@pytest.mark.parametrize("form", ["packed", "here"])
def test_nothing_in_a_pickle_is_run(form, rng, tmp_path) -> None:
    class Bomb:
        def __reduce__(self):
            return ((tmp_path / "exploded").touch, ())

    for bad in (pickle.dumps(Bomb()), b"cos\nsystem\n(S'touch " + str(tmp_path).encode() + b"/exploded'\ntR."):
        lay10(files10(rng)[0] | {"data_batch_3": bad}, tmp_path, form)
        assert "data_batch_3: damaged, or not a file of CIFAR; nothing in it was run" in refused(tmp_path)
        assert not (tmp_path / "exploded").exists()


FAULTS = {
    "cut": (lambda raw: raw[:-100], "data_batch_2: damaged"),
    "text": (lambda raw: b"<html>", "data_batch_2: damaged"),
    "a list": (lambda raw: pickle.dumps([1]), "data_batch_2: not a file of CIFAR"),
    "floats": (lambda raw: pickle.dumps({"data": np.zeros((20, 3072)), "labels": [0] * 20}), "data_batch_2: damaged"),
    "flat": (lambda raw: pickle.dumps({"data": np.zeros(3072, "u1"), "labels": [0]}), "data_batch_2: data: not rows"),
    "no data": (lambda raw: pickle.dumps({"labels": [0]}), "data_batch_2: data: not rows"),
    "few": (lambda raw: python2({"data": np.zeros((20, 3072), "u1"), "labels": [0] * 19}), "labels: not 20 numbers"),
    "ten": (lambda raw: python2({"data": np.zeros((1, 3072), "u1"), "labels": [10]}), "numbers of 0 .. 9"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_batch_is_named(fault, rng, tmp_path) -> None:
    files, _ = files10(rng)
    spoil, said = FAULTS[fault]
    lay10(files | {"data_batch_2": spoil(files["data_batch_2"])}, tmp_path)
    message = refused(tmp_path)
    assert said in message and f"{tmp_path / 'cifar-10-python.tar.gz'}: data_batch_2" in message


def test_a_missing_batch_is_named(rng, tmp_path) -> None:
    files, _ = files10(rng)
    del files["data_batch_4"]
    lay10(files, tmp_path / "a")
    assert "cifar-10-python.tar.gz: data_batch_4: not in the archive" in refused(tmp_path / "a")
    lay10(files, tmp_path / "b", "here")
    assert f"{tmp_path / 'b' / 'data_batch_4'}: no such file" in refused(tmp_path / "b")


def test_a_damaged_archive_is_named(rng, tmp_path) -> None:
    lay10(files10(rng)[0], tmp_path)
    archive = tmp_path / "cifar-10-python.tar.gz"
    whole = archive.read_bytes()
    for raw in (whole[: len(whole) // 2], b"", b"<html>", whole[:500] + bytes(200) + whole[700:]):
        archive.write_bytes(raw)
        assert f"{archive}: " in refused(tmp_path)


def test_an_archive_with_a_header_that_tarfile_cannot_read_is_named(rng, tmp_path) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("batches.meta")
        info.pax_headers = {"GNU.sparse.map": "a,b"}
        tar.addfile(info)
    assert refused(tmp_path) == f"{archive}: damaged; fetch it again"


def test_an_archive_that_would_be_huge_is_not_unpacked(rng, tmp_path, monkeypatch) -> None:
    lay10({"zeros": bytes(3_000_000)} | files10(rng)[0], tmp_path)
    monkeypatch.setattr(module, "MOST", 2_000_000)
    assert "unpacks to more than 2000000 bytes" in refused(tmp_path)


def test_members_that_point_elsewhere_are_not_followed(rng, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(files10(rng)[0]["data_batch_1"])
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as tar:
        for name in ("batches.meta", *BATCHES):
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.type, info.linkname = tarfile.SYMTYPE, str(outside)
            tar.addfile(info)
    assert "not in the archive" in refused(tmp_path)
