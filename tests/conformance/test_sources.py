"""Every source keeps to what it declares: images by index, contents that no size changes, fields of its own only."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from quick import these

from privimage.data import PublicConfig, SensitiveConfig, check_there, load_public, load_sensitive
from privimage.data.mapped import Mapped
from privimage.data.pair import DataConfig
from privimage.data.sets import PARTS, Chosen, Images
from privimage.data.sources import source
from privimage.data.sources.source import SOURCES, Rows
from privimage.errors import InputError
from privimage.schema import parse

NAMES = SOURCES.names()
Patch = pytest.MonkeyPatch


def digits(folder: Path, patch: Patch) -> dict[str, Any]:
    return {}


def glyphs(folder: Path, patch: Patch) -> dict[str, Any]:
    return {"limit_classes": 3}


def folder(folder: Path, patch: Patch) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (folder / "f" / name).mkdir(parents=True)
        for i in range(40):
            Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8)).save(folder / "f" / name / f"{i}.png")
    return {"root": str(folder / "f"), "channels": 1}


def npz(folder: Path, patch: Patch) -> dict[str, Any]:
    x = np.random.default_rng(0).integers(0, 256, (120, 1, 12, 12), dtype=np.uint8)
    np.savez(folder / "a.npz", x=x, y=np.arange(120) % 3, classes=np.array(["a", "b", "c"]))
    return {"root": str(folder / "a.npz")}


def _encoded() -> list[bytes]:
    """Of 120 images."""
    rng, found = np.random.default_rng(0), []
    for _ in range(120):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8)).save(file, "PNG")
        found.append(file.getvalue())
    return found


def zipped(folder: Path, patch: Patch) -> dict[str, Any]:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for i, raw in enumerate(_encoded()):
            file.writestr(f"set/{'abc'[i % 3]}/{i}.png", raw)
    return {"root": str(folder / "a.zip"), "channels": 1}


def csv(folder: Path, patch: Patch) -> dict[str, Any]:
    for i, raw in enumerate(_encoded()):
        (folder / f"{i}.png").write_bytes(raw)
    lines = [f"{i}.png,{'abc'[i % 3]}" for i in range(120)]
    (folder / "a.csv").write_text("\n".join(["file,label", *lines]))
    return {"root": str(folder / "a.csv"), "channels": 1, "classes": ("a", "b", "c")}


def webdataset(folder: Path, patch: Patch) -> dict[str, Any]:
    with tarfile.open(folder / "a.tar", "w") as tar:
        for i, raw in enumerate(_encoded()):
            for name, data in ((f"{i}.cls", b"%d" % (i % 3)), (f"{i}.png", raw)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return {"root": str(folder / "a.tar"), "channels": 1, "classes": ("a", "b", "c")}


def _table() -> pa.Table:
    return pa.table(
        {"image": [{"bytes": raw, "path": None} for raw in _encoded()], "label": [i % 3 for i in range(120)]}
    )


def parquet(folder: Path, patch: Patch) -> dict[str, Any]:
    pq.write_table(_table(), folder / "a.parquet", row_group_size=50)
    return {"root": str(folder / "a.parquet"), "channels": 1, "classes": ("a", "b", "c")}


def huggingface(folder: Path, patch: Patch) -> dict[str, Any]:
    (folder / "set").mkdir()
    with pa.ipc.new_stream(folder / "set" / "data-00000-of-00001.arrow", _table().schema) as stream:
        stream.write_table(_table(), max_chunksize=50)
    (folder / "set" / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    return {"root": str(folder / "set"), "channels": 1, "classes": ("a", "b", "c")}


def celeba(folder: Path, patch: Patch) -> dict[str, Any]:
    (folder / "img_align_celeba").mkdir()
    for i, raw in enumerate(_encoded()):
        (folder / "img_align_celeba" / f"{i}.jpg").write_bytes(raw)
    lines = ["120", "Male", *(f"{i}.jpg {1 if i % 2 else -1}" for i in range(120))]
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines))
    return {"root": str(folder), "channels": 1}


def _idx(folder: Path, starts: tuple[str, str] = ("train", "t10k"), k: int = 10) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for start, n in zip(starts, (200, 30), strict=True):
        x, y = rng.integers(0, 256, (n, 28, 28), np.uint8), (np.arange(n) % k).astype(np.uint8)
        (folder / f"{start}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, *x.shape) + x.tobytes())
        (folder / f"{start}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(y)) + y.tobytes())
    return {"root": str(folder)}


def _cifar(folder: Path, names: tuple[str, ...], meta: str, kinds: dict[str, int]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for name in names:
        labels = {f"{kind}labels": [i % k for i in range(60)] for kind, k in kinds.items()}
        (folder / name).write_bytes(pickle.dumps({"data": rng.integers(0, 256, (60, 3072), np.uint8)} | labels))
    told = {f"{kind}label_names": [f"{kind}{i}" for i in range(k)] for kind, k in kinds.items()}
    (folder / meta).write_bytes(pickle.dumps(told))
    return {"root": str(folder)}


BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")

SAMPLES: dict[str, Callable[[Path, Patch], dict[str, Any]]] = {
    "digits": digits,
    "glyphs": glyphs,
    "folder": folder,
    "npz": npz,
    "zip": zipped,
    "csv": csv,
    "webdataset": webdataset,
    "parquet": parquet,
    "huggingface": huggingface,
    "celeba": celeba,
    "mnist": lambda folder, patch: _idx(folder),
    "fashion-mnist": lambda folder, patch: _idx(folder),
    "kmnist": lambda folder, patch: _idx(folder),
    "emnist": lambda folder, patch: _idx(folder, ("emnist-digits-train", "emnist-digits-test")) | {"part": "digits"},
    "cifar10": lambda folder, patch: _cifar(folder, BATCHES, "batches.meta", {"": 10}),
    "cifar100": lambda folder, patch: _cifar(folder, ("train", "test"), "meta", {"fine_": 4, "coarse_": 2}),
}


@pytest.fixture(params=these(set(NAMES) - {"glyphs"}, NAMES))  # those are 36,336 images, with tests of their own
def sample(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Patch) -> dict[str, Any]:
    """The values of a small set of every source, which is there."""
    return {"name": request.param} | SAMPLES[request.param](tmp_path, monkeypatch)


def test_every_source_has_a_sample() -> None:
    assert set(NAMES) == set(SAMPLES)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what has to be drawn is kept: once for all tests."""
    return tmp_path_factory.mktemp("cache")


def config(sample: dict[str, Any], **changed: Any) -> SensitiveConfig | PublicConfig:
    """In a role that it can have."""
    if "sensitive" in SOURCES.load(sample["name"]).roles:
        return parse(SensitiveConfig, sample | {"id": "s"} | changed)
    return parse(PublicConfig, sample | changed)


def opened(sample: dict[str, Any], cache: Path, **changed: Any) -> Rows:
    found = config(sample, **changed)
    return found.open(cache=cache, limit_classes=getattr(found, "limit_classes", None))


def test_images_come_by_index(sample: dict[str, Any], cache: Path) -> None:
    found = opened(sample, cache)
    n = len(found.y)
    assert found.y.dtype == np.int64 and found.y.min() >= 0 and found.y.max() < len(found.classes)
    assert all(isinstance(name, str) for name in found.classes) and len(set(found.classes)) == len(found.classes)
    some = np.array([n - 1, 0, 3, 3])
    x, whole = found.rows(some), found.rows(np.arange(n))
    assert x.dtype == np.uint8 and x.ndim == 4 and x.shape[1] in (1, 3) and len(whole) == n
    assert (x == whole[some]).all() and found.rows(np.arange(0)).shape == (0, *x.shape[1:])
    shape = config(sample).shape
    assert shape is None or shape == x.shape[1:]


def test_contents_tell_images_apart_and_no_size_changes_them(sample: dict[str, Any], cache: Path) -> None:
    one = list(opened(sample, cache).contents())
    assert len(set(one)) > 0.9 * len(one) == 0.9 * len(opened(sample, cache).y)
    small = opened(sample, cache, size=8, channels=3)
    assert list(small.contents()) == one and small.rows(np.arange(2)).shape == (2, 3, 8, 8)


def test_the_splits_are_disjoint_and_hold_all(sample: dict[str, Any], cache: Path) -> None:
    if "sensitive" not in SOURCES.load(sample["name"]).roles:
        pytest.skip("public only")
    settings = config(sample, validation=0.2)
    assert isinstance(settings, SensitiveConfig)
    data = load_sensitive(settings)
    found = [opened(sample, cache)] + ([settings.open(cache=None, test=True)] if settings.has_test else [])
    images = sorted(x.tobytes() for rows in found for x in rows.rows(np.arange(len(rows.y))))
    assert images == sorted(x.tobytes() for part in (data.train, data.validation, data.test) for x in part.x)
    assert load_sensitive(settings).content == data.content != ""


def test_a_public_set_keeps_the_first_classes(sample: dict[str, Any], cache: Path) -> None:
    if "public" not in SOURCES.load(sample["name"]).roles:
        pytest.skip("sensitive only")
    public = load_public(parse(PublicConfig, sample | {"limit_classes": 2}), cache=cache)
    assert len(public.classes) == 2 and set(public.y.tolist()) == {0, 1}


def test_fields_of_other_sources_are_refused_by_name(sample: dict[str, Any]) -> None:
    own = set(SOURCES.load(sample["name"]).model_fields)
    others = {field for name in NAMES for field in SOURCES.load(name).model_fields} - own
    for field in others:
        with pytest.raises(InputError, match=rf"^x\.{field}: unknown key"):
            parse(type(config(sample)), config(sample).model_dump() | {field: 1}, where="x")
    assert others or own >= {"root", "download", "min_images"}


def test_what_is_missing_is_said_before_anything_is_read(sample: dict[str, Any]) -> None:
    check_there(config(sample), key="data.x")
    if "root" not in sample:
        return
    gone = config(sample | {"root": sample["root"] + "-not-there"})
    with pytest.raises(InputError, match=r"^data\.x\.root: .*no such f") as caught:
        check_there(gone, key="data.x")
    assert "\n" not in str(caught.value)


def test_where_sensitive_images_lie_is_no_part_of_a_key(sample: dict[str, Any]) -> None:
    settings = config(sample)
    if not isinstance(settings, SensitiveConfig):
        return
    public = {"name": "glyphs"} | ({"size": 16, "channels": 1})
    moved = {field: "/elsewhere" for field in settings.place if field in sample}
    one, other = (
        DataConfig.model_validate({"sensitive": values | {"id": "s", "size": 16, "channels": 1}, "public": public})
        for values in (sample, sample | moved)
    )
    assert one.identity == other.identity
    assert {"root", "download"}.isdisjoint(one.identity["sensitive"])
    thinner = one.model_copy(update={"sensitive": config(sample, size=24)})
    assert thinner.identity != one.identity


def test_a_set_that_is_not_held_in_memory_is_the_same(
    sample: dict[str, Any], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`in_memory` is for a source to say: what it opens is then asked for by index, in every process a copy of it."""
    roles = SOURCES.load(sample["name"]).roles

    def loaded() -> list[Images]:
        public = [load_public(parse(PublicConfig, sample), cache=cache)] if "public" in roles else []
        data = load_sensitive(parse(SensitiveConfig, sample | {"id": "s"})) if "sensitive" in roles else None
        return [*public, *([getattr(data, part) for part in PARTS] if data is not None else [])]

    held = loaded()
    monkeypatch.setattr(SOURCES.load(sample["name"]), "in_memory", False)
    for near, far in zip(held, loaded(), strict=True):
        assert isinstance(near.x, np.ndarray) and isinstance(far.x, Chosen)
        assert pickle.loads(pickle.dumps(far)).fingerprint == near.fingerprint


FILES = {"folder", "npz", "zip", "csv", "webdataset", "parquet", "huggingface", "celeba"}
DECODED = FILES | {"mnist", "fashion-mnist", "kmnist", "emnist"}  # cifar, digits and glyphs are never LARGE


def test_a_large_set_is_the_same_from_its_decoded_copy(
    sample: dict[str, Any], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same images, labels, splits, content and fingerprint, without and with a copy, which the second start finds."""
    roles = SOURCES.load(sample["name"]).roles
    if sample["name"] not in DECODED:
        assert config(sample).stamp() is None, "a source with a stamp belongs to DECODED"
        return
    near_public = load_public(parse(PublicConfig, sample), cache=cache) if "public" in roles else None
    settings = parse(SensitiveConfig, sample | {"id": "s"})
    near, place = load_sensitive(settings), tmp_path / "decoded" / "s"
    monkeypatch.setattr(source, "LARGE", 1000)
    for start in ("decodes", "finds"):
        if start == "finds":
            monkeypatch.setattr(SOURCES.load(sample["name"]), "open", lambda *_, **__: pytest.fail("opened again"))
        if near_public is not None:
            far_public = load_public(parse(PublicConfig, sample), cache=tmp_path / "public")
            assert isinstance(far_public.x, Mapped)
            same(pickle.loads(pickle.dumps(far_public)), near_public)
        far = load_sensitive(settings, place=place)
        assert far.content == near.content
        for part in PARTS:
            one, other = getattr(far, part), getattr(near, part)
            assert isinstance(one.x, Chosen) and isinstance(one.x.of, Mapped)
            same(pickle.loads(pickle.dumps(one)), other)


def same(far: Images, near: Images) -> None:
    assert len(far) == len(near) and (far.y == near.y).all() and far.classes == near.classes  # type: ignore[attr-defined]
    assert far.fingerprint == near.fingerprint and len(pickle.dumps(far.x)) < 5000 + 8 * len(far)
    assert (np.concatenate(list(far.blocks(7))) == near.x).all()
