"""Small files in the real on-disk formats. CIFAR-10's md5 sums would refuse ours, so they are replaced."""

import hashlib
import pickle
import struct

import numpy as np
import pytest

from privimage.data import PublicConfig, SensitiveConfig, load_public, load_sensitive
from privimage.data.sources.vision import read_vision
from privimage.data.torchvision_shim import import_torchvision
from privimage.errors import InputError

FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}


def write_idx(folder, *, part, x, y) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, *x.shape) + x.tobytes())
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(y)) + y.tobytes())


@pytest.fixture(params=list(FOLDERS))
def mnist(request, tmp_path):
    rng = np.random.default_rng(0)
    raw = tmp_path / FOLDERS[request.param] / "raw"
    arrays = {}
    for part, n in (("train", 200), ("t10k", 30)):
        x, y = rng.integers(0, 256, (n, 28, 28), np.uint8), (np.arange(n) % 10).astype(np.uint8)
        write_idx(raw, part=part, x=x, y=y)
        arrays[part] = x
    return request.param, tmp_path, arrays


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    known = import_torchvision().datasets.CIFAR10
    folder, rng = tmp_path / known.base_folder, np.random.default_rng(0)
    folder.mkdir()

    def write(name, content) -> str:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def batch(name) -> list[str]:
        x = rng.integers(0, 256, (20, 3072), np.uint8)
        return [name, write(name, {"data": x, "labels": [i % 10 for i in range(20)]})]

    monkeypatch.setattr(known, "train_list", [batch(f"data_batch_{i}") for i in range(1, 6)])
    monkeypatch.setattr(known, "test_list", [batch("test_batch")])
    names = ["airplane", "automobile", *(f"class{i}" for i in range(2, 10))]
    monkeypatch.setattr(known, "meta", known.meta | {"md5": write("batches.meta", {"label_names": names})})
    return tmp_path, folder


def test_mnist_files_become_three_parts(mnist) -> None:
    name, root, arrays = mnist
    data = load_sensitive(SensitiveConfig(name=name, id="m", root=str(root), validation=0.1))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [180, 20, 30]
    assert data.train.shape == (1, 28, 28) and len(data.train.classes) == 10
    assert (data.test.x[:, 0] == arrays["t10k"]).all()  # the official test split, untouched
    cut = sorted(image.tobytes() for part in (data.train, data.validation) for image in part.x)
    assert cut == sorted(image.tobytes() for image in arrays["train"])


def test_a_public_torchvision_set_is_its_train_split(mnist, tmp_path) -> None:
    name, root, arrays = mnist
    public = load_public(PublicConfig(name=name, root=str(root), limit_classes=3), cache=tmp_path)
    assert (public.x[:, 0] == arrays["train"][np.arange(200) % 10 < 3]).all()
    assert len(public.classes) == 3 and set(public.y.tolist()) == {0, 1, 2}


def test_cifar_is_channels_first(cifar) -> None:
    root, folder = cifar
    data = load_sensitive(SensitiveConfig(name="cifar10", id="c", root=str(root), validation=0.2))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [80, 20, 20]
    stored = pickle.loads((folder / "test_batch").read_bytes())["data"]
    assert (data.test.x == stored.reshape(20, 3, 32, 32)).all()
    assert data.train.classes[:2] == ("airplane", "automobile")


def test_cifar_can_be_brought_to_the_shape_of_mnist(cifar, tmp_path) -> None:
    config = PublicConfig(name="cifar10", root=str(cifar[0]), size=28, channels=1)
    assert load_public(config, cache=tmp_path).shape == (1, 28, 28)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_missing_files_are_one_line_that_names_path_and_remedy(name, tmp_path) -> None:
    with pytest.raises(InputError) as caught:
        read_vision(name, root=tmp_path, train=True, download=False)
    assert str(tmp_path) in str(caught.value) and "`download: true`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_mnist(mnist) -> None:
    name, root, _ = mnist
    file = root / FOLDERS[name] / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        read_vision(name, root=root, train=True, download=False)


def test_a_tampered_cifar_batch_is_refused_before_it_is_unpickled(cifar) -> None:
    root, folder = cifar

    class Bomb:
        def __reduce__(self):
            return (folder.joinpath("exploded").touch, ())

    (folder / "data_batch_3").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match=r"no complete files of cifar10|damaged"):
        read_vision("cifar10", root=root, train=True, download=False)
    assert not (folder / "exploded").exists()


def test_a_failed_download_is_one_line(tmp_path, monkeypatch) -> None:
    def unplugged(_self):
        raise OSError("no network")

    monkeypatch.setattr(import_torchvision().datasets.MNIST, "download", unplugged)
    with pytest.raises(InputError, match="could not download mnist"):
        read_vision("mnist", root=tmp_path, train=True, download=True)
