"""Small files in the real on-disk form of MNIST and its family."""

import gzip
import struct

import numpy as np
import pytest

from privimage.data import PublicConfig, SensitiveConfig, load_public, load_sensitive
from privimage.data.sources.idx import EMNIST, FashionMnist, Kmnist, Mnist, read_idx
from privimage.data.torchvision_shim import import_torchvision
from privimage.errors import InputError

FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}


def idx(array) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def write(folder, name, array, *, packed=False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    raw = idx(array)
    (folder / f"{name}.gz" if packed else folder / name).write_bytes(gzip.compress(raw) if packed else raw)


def write_pair(folder, start, *, n, k=10, first=0, packed=False):
    x = np.random.default_rng(n).integers(0, 256, (n, 28, 28), np.uint8)
    write(folder, f"{start}-images-idx3-ubyte", x, packed=packed)
    write(folder, f"{start}-labels-idx1-ubyte", (np.arange(n) % k + first).astype(np.uint8), packed=packed)
    return x


@pytest.fixture(params=list(FOLDERS))
def mnist(request, tmp_path):
    raw = tmp_path / FOLDERS[request.param] / "raw"
    return request.param, tmp_path, {part: write_pair(raw, part, n=n) for part, n in (("train", 200), ("t10k", 30))}


def refused(name, root, **values) -> str:
    with pytest.raises(InputError) as caught:
        load_public(PublicConfig(name=name, root=str(root), **values), cache=root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_become_three_parts(mnist) -> None:
    name, root, arrays = mnist
    data = load_sensitive(SensitiveConfig(name=name, id="m", root=str(root), validation=0.1))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [180, 20, 30]
    assert data.train.shape == (1, 28, 28) and len(data.train.classes) == 10
    assert (data.test.x[:, 0] == arrays["t10k"]).all()  # the official test split, untouched
    cut = sorted(image.tobytes() for part in (data.train, data.validation) for image in part.x)
    assert cut == sorted(image.tobytes() for image in arrays["train"])


def test_a_file_of_no_images_with_huge_sides_is_refused(tmp_path) -> None:
    path = tmp_path / "x"
    path.write_bytes(struct.pack(">4I", 0x803, 0, 2**32 - 1, 2**32 - 1))
    with pytest.raises(InputError, match=r"x: says that it holds \d+ bytes; at most"):
        read_idx(path, dimensions=3)


def test_a_public_set_is_its_train_split(mnist, tmp_path) -> None:
    name, root, arrays = mnist
    public = load_public(PublicConfig(name=name, root=str(root), limit_classes=3), cache=tmp_path)
    assert (public.x[:, 0] == arrays["train"][np.arange(200) % 10 < 3]).all()
    assert len(public.classes) == 3 and set(public.y.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("source", [Mnist, FashionMnist, Kmnist])
def test_classes_have_the_names_that_torchvision_gives_them(source) -> None:
    assert list(source.names) == getattr(import_torchvision().datasets, source.torchvision).classes


def test_emnist_has_the_classes_that_torchvision_gives_it() -> None:
    known = import_torchvision().datasets.EMNIST.classes_split_dict
    assert {part: list(names) for part, names in EMNIST.items()} == known | {"letters": known["letters"][1:]}


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images.idx3-ubyte", "train-images-idx3-ubyte.gz"])
def test_files_lie_in_the_folder_itself_as_they_are_published_or_unpacked(name, tmp_path) -> None:
    x = write_pair(tmp_path, "train", n=20)
    raw = (tmp_path / "train-images-idx3-ubyte").read_bytes()
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    public = load_public(PublicConfig(name="fashion-mnist", root=str(tmp_path)), cache=tmp_path)
    assert (public.x[:, 0] == x).all() and public.classes[9] == "Ankle boot"


@pytest.mark.parametrize("part", EMNIST)
@pytest.mark.parametrize("packed", [False, True])
def test_emnist_is_turned_upright_and_its_letters_begin_with_one(part, packed, tmp_path) -> None:
    k, first = len(EMNIST[part]), int(part == "letters")
    x = write_pair(tmp_path, f"emnist-{part}-train", n=2 * k, k=k, first=first, packed=packed)
    public = load_public(PublicConfig(name="emnist", root=str(tmp_path), part=part), cache=tmp_path)
    assert (public.x[:, 0] == x.transpose(0, 2, 1)).all()
    assert public.y.tolist() == [*range(k)] * 2 and public.classes == EMNIST[part]


def test_letters_that_begin_with_zero_are_refused(tmp_path) -> None:
    write_pair(tmp_path, "emnist-letters-train", n=52, k=26)
    assert "emnist-letters-train-labels-idx1-ubyte: labels outside 1 .. 26" in refused(
        "emnist", tmp_path, part="letters"
    )


@pytest.mark.parametrize("name", [*FOLDERS, "cifar10", "cifar100"])
def test_missing_files_are_one_line_that_names_path_and_remedy(name, tmp_path) -> None:
    said = refused(name, tmp_path)
    assert str(tmp_path) in said and "`download: true`" in said


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("fault", ["cut", "longer", "magic", "text", "empty", "claims"])
def test_a_damaged_file_is_named(fault, packed, tmp_path) -> None:
    write_pair(tmp_path, "train", n=20)
    file = tmp_path / "train-images-idx3-ubyte"
    raw = file.read_bytes()
    file.unlink()
    faulty = {
        "cut": raw[:-100],
        "longer": raw + b"x",
        "magic": struct.pack(">I", 0x801) + raw[4:],
        "text": b"<html>",
        "empty": b"",
        "claims": struct.pack(">4I", 0x803, 2**32 - 1, 28, 28) + raw[16:],
    }[fault]
    if packed:
        file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(faulty) if packed else faulty)
    said = refused("mnist", tmp_path)
    assert str(file) in said and ("damaged" in said or "at most" in said)


def test_a_cut_gzip_file_is_named(tmp_path) -> None:
    write_pair(tmp_path, "train", n=20, packed=True)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-200])
    assert f"{file}: damaged" in refused("mnist", tmp_path)


def test_no_more_is_unpacked_than_a_file_says(tmp_path) -> None:
    """A gzip file of 60 kB that would be 60 MB: its header says one image."""
    file = tmp_path / "a.gz"
    file.write_bytes(gzip.compress(struct.pack(">4I", 0x803, 1, 28, 28) + bytes(60_000_000)))
    with pytest.raises(InputError, match="damaged"):
        read_idx(file, dimensions=3)


def test_other_sizes_and_counts_are_refused(tmp_path) -> None:
    write_pair(tmp_path, "train", n=20)
    write(tmp_path, "train-labels-idx1-ubyte", np.zeros(19, np.uint8))
    assert "train-labels-idx1-ubyte: damaged; it holds 19 labels of 20 images" in refused("mnist", tmp_path)
    write(tmp_path, "train-labels-idx1-ubyte", np.full(20, 10, np.uint8))
    assert "train-labels-idx1-ubyte: labels outside 0 .. 9: not those of mnist" in refused("mnist", tmp_path)
    write(tmp_path, "train-images-idx3-ubyte", np.zeros((20, 32, 32), np.uint8))
    assert "hold images of 28 x 28 pixels" in refused("mnist", tmp_path)


def test_a_failed_download_is_one_line(tmp_path, monkeypatch) -> None:
    def unplugged(_self):
        raise OSError("no network")

    monkeypatch.setattr(import_torchvision().datasets.MNIST, "download", unplugged)
    assert "could not download mnist" in refused("mnist", tmp_path, download=True)


def test_what_is_missing_is_fetched_where_torchvision_keeps_it(tmp_path, monkeypatch) -> None:
    def arrives(self) -> None:
        for part in ("train", "test"):
            write_pair(tmp_path / "EMNIST" / "raw", f"emnist-{self.split}-{part}", n=20)

    known = import_torchvision().datasets.EMNIST
    monkeypatch.setattr(known, "download", arrives)
    public = load_public(PublicConfig(name="emnist", root=str(tmp_path), part="digits", download=True), cache=tmp_path)
    assert len(public) == 20
