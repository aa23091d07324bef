import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privimage.data import PublicConfig, SensitiveConfig, load_public, load_sensitive
from privimage.data.sources.npz import read_npz
from privimage.errors import InputError

NAMES = np.array(["cat", "dog", "owl"])


def arrays(n: int = 90, **changed: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    good = {"x": rng.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8), "y": np.arange(n) % 3, "classes": NAMES}
    return {name: value for name, value in (good | changed).items() if value is not None}


def written(path: Path, **changed: Any) -> Path:
    np.savez(path, **arrays(**changed))
    return path


def test_a_file_becomes_three_parts(tmp_path: Path) -> None:
    path = written(tmp_path / "a.npz")
    data = load_sensitive(SensitiveConfig(name="npz", id="a", root=str(path), test=0.3, validation=0.2))
    parts = (data.train, data.validation, data.test)
    assert sum(map(len, parts)) == 90 and data.train.classes == ("cat", "dog", "owl")
    found = sorted((int(y), x.tobytes()) for part in parts for x, y in zip(part.x, part.y, strict=True))
    assert found == sorted((int(y), x.tobytes()) for x, y in zip(arrays()["x"], arrays()["y"], strict=True))


def test_grey_images_may_come_without_channels(tmp_path: Path) -> None:
    x = arrays()["x"][:, 0]
    path = written(tmp_path / "a.npz", x=x, y=(np.arange(90) % 3).astype(np.uint8))
    public = load_public(PublicConfig(name="npz", root=str(path), limit_classes=2), cache=tmp_path)
    assert public.shape == (1, 8, 8) and public.classes == ("cat", "dog") and (public.x[:, 0] == x[public_rows()]).all()
    wider = load_public(PublicConfig(name="npz", root=str(path), size=16, channels=3), cache=tmp_path)
    assert wider.shape == (3, 16, 16) and len(wider) == 90


def public_rows() -> np.ndarray:
    return np.arange(90) % 3 < 2


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no x": ({"x": None}, "x: missing"),
    "no names": ({"classes": None}, "classes: missing; an .npz set holds"),
    "floats": ({"x": arrays()["x"] / 255}, r"x: got float64 \(90, 3, 8, 8\); expected uint8"),
    "flat": ({"x": arrays()["x"].reshape(90, -1)}, r"x: got uint8 \(90, 192\)"),
    "channels last": ({"x": arrays()["x"].transpose(0, 2, 3, 1)}, "expected uint8.*1 or 3, height"),
    "empty": ({"x": arrays()["x"][:0], "y": np.arange(0)}, "x: got uint8"),
    "not square": ({"x": arrays()["x"][:, :, :5]}, "5 x 8 pixels, not square; give size"),
    "labels are floats": ({"y": np.arange(90) % 3 / 1.0}, "y: got float64"),
    "too few labels": ({"y": np.arange(89) % 3}, r"y: got int64 \(89,\); expected 90 whole numbers"),
    "label without a name": ({"y": np.arange(90) % 4}, r"y: labels outside 0 .. 2, the places of classes"),
    "negative label": ({"y": np.arange(90) % 3 - 1}, r"y: labels outside 0 .. 2"),
    "names are numbers": ({"classes": np.arange(3)}, "classes: got int64"),
    "one name twice": ({"classes": np.array(["a", "b", "a"])}, "classes: .*different names"),
    "objects": ({"y": np.array([None] * 90)}, "arrays of objects"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_no_labelled_set_is_one_line(why: str, tmp_path: Path) -> None:
    changed, said = REFUSED[why]
    path = written(tmp_path / "a.npz", **changed)
    with pytest.raises(InputError, match=said) as caught:
        load_public(PublicConfig(name="npz", root=str(path)), cache=tmp_path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_other_names_of_the_arrays_and_classes_of_the_file_or_the_yaml(tmp_path: Path) -> None:
    found = arrays()
    np.savez(tmp_path / "a.npz", image=found["x"], label=found["y"])
    values = {"name": "npz", "root": str(tmp_path / "a.npz")}
    public = load_public(PublicConfig(**values, classes=("cat", "dog", "owl")), cache=tmp_path)
    assert (public.x == found["x"]).all() and public.classes == ("cat", "dog", "owl")
    with pytest.raises(InputError, match=r"classes: missing; an .npz set holds"):
        load_public(PublicConfig(**values), cache=tmp_path)
    path = written(tmp_path / "b.npz")
    with pytest.raises(InputError, match="classes: the file has other names than the YAML"):
        load_public(PublicConfig(name="npz", root=str(path), classes=("dog", "cat", "owl")), cache=tmp_path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_numbers_of_0_to_1_become_bytes_where_the_yaml_says_so(dtype: type, tmp_path: Path) -> None:
    """The layout of DPImageBench's gen.npz: x float [n, channels, height, width] of 0 .. 1, y whole numbers."""
    found = arrays()
    np.savez(tmp_path / "gen.npz", x=(found["x"] / 255).astype(dtype), y=found["y"])
    config = PublicConfig(name="npz", root=str(tmp_path / "gen.npz"), classes=("a", "b", "c"), scale="unit")
    public = load_public(config, cache=tmp_path)
    assert public.x.dtype == np.uint8 and (public.x == found["x"]).all() and (public.y == found["y"]).all()


@pytest.mark.parametrize("worst", [1.01, -0.01, float("nan"), float("inf")])
def test_numbers_elsewhere_are_refused(worst: float, tmp_path: Path) -> None:
    x = arrays()["x"] / 255
    x[7, 0, 0, 0] = worst
    path = written(tmp_path / "a.npz", x=x)
    with pytest.raises(InputError, match=r"a\.npz: x: not all of it in 0 .. 1, as scale: unit says"):
        read_npz(path, scale="unit")
    with pytest.raises(InputError, match="x: got uint8; scale: unit is for numbers"):
        read_npz(written(tmp_path / "b.npz"), scale="unit")
    with pytest.raises(InputError, match=r"x: got float64.*of numbers of 0 .. 1 give scale: unit"):
        read_npz(path)


def test_a_header_that_claims_more_than_memory_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (2**46, 1, 8, 8)})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", head.getvalue() + bytes(100))
    with pytest.raises(InputError, match=r"a\.npz: (says that it holds more|damaged)"):
        read_npz(path)


def test_what_is_not_given_is_no_part_of_a_key() -> None:
    """So that sets that were named before there was more to say keep their keys."""
    config = PublicConfig(name="npz", root="/x")
    assert config.identity == {"name": "npz", "root": "/x", "size": None, "channels": None, "limit_classes": None}
    assert PublicConfig(name="npz", root="/x", scale="unit").identity["scale"] == "unit"


@pytest.mark.parametrize("fault", ["cut", "text", "npy", "zip", "folder", "missing", "flipped"])
def test_a_damaged_file_is_one_line(fault: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.npz")
    raw = path.read_bytes()
    if fault == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    if fault == "text":
        path.write_text("x,y\n")
    if fault == "npy":
        path = tmp_path / "a.npy"
        np.save(path, arrays()["x"])
    if fault == "zip":
        path.write_bytes(b"PK\x05\x06" + bytes(18))
    if fault == "folder":
        path = tmp_path
    if fault == "missing":
        path = tmp_path / "b.npz"
    if fault == "flipped":
        path.write_bytes(raw[:2000] + bytes(255 - b for b in raw[2000:2100]) + raw[2100:])
    with pytest.raises(InputError, match=r"damaged|no such file|x: missing") as caught:
        read_npz(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
