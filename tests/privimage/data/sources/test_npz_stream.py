"""A large .npz is unpacked in blocks: what it gives is what it gives from memory, and damage is one line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privimage.data import PublicConfig, load_public
from privimage.data.sources import npz_stream, source
from privimage.data.sources.npz import Npz
from privimage.data.sources.npz_stream import ArrayStream, Streamed
from privimage.data.sources.source import InMemory
from privimage.errors import InputError

N, CLASSES = 100, np.array(["a", "b", "c"])
rng = np.random.default_rng(0)
GREY, COLOUR = rng.integers(0, 256, (N, 12, 12), np.uint8), rng.integers(0, 256, (N, 3, 12, 12), np.uint8)
FORMS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "grey": (GREY, {}),
    "colour": (COLOUR, {}),
    "resized": (COLOUR, {"size": 8, "channels": 1}),
    "numbers": (GREY.astype(np.float32) / 255, {"scale": "unit"}),
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_stream, "AT_ONCE", 3000)


def both(path: Path, monkeypatch: pytest.MonkeyPatch, **values: Any) -> tuple[InMemory, Streamed]:
    config, limit = Npz(name="npz", root=str(path), **values), 2
    near = config.open(cache=None, limit_classes=limit)
    monkeypatch.setattr(source, "LARGE", 1000)
    far = config.open(cache=None, limit_classes=limit)
    assert isinstance(near, InMemory) and isinstance(far, Streamed)
    return near, far


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_it_gives_what_it_gives_from_memory(
    form: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, values = FORMS[form]
    (np.savez_compressed if packed else np.savez)(tmp_path / "a.npz", x=x, y=np.arange(N) % 3, classes=CLASSES)
    near, far = both(tmp_path / "a.npz", monkeypatch, **values)
    assert (far.y == near.y).all() and far.classes == near.classes == ("a", "b")
    assert list(far.contents()) == list(near.contents())
    for index in (np.arange(len(far.y)), np.array([60, 3, 3, 59, 0]), np.arange(0), np.array([5])):
        assert (far.rows(index) == near.rows(index)).all() and far.rows(index).shape == near.rows(index).shape
    assert (pickle.loads(pickle.dumps(far)).rows(np.arange(7)) == near.rows(np.arange(7))).all()


def test_no_more_than_a_block_is_unpacked_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=COLOUR, y=np.arange(N) % 3, classes=CLASSES)
    _, far = both(tmp_path / "a.npz", monkeypatch)
    read, seen = ArrayStream.read, list[int]()
    monkeypatch.setattr(ArrayStream, "read", lambda self, raw, n: (seen.append(n * self.width), read(self, raw, n))[1])
    for start in range(0, len(far.y), 6):
        far.rows(np.arange(start, min(start + 6, len(far.y))))
    assert max(seen) <= 3000 and sum(seen) == COLOUR.nbytes, "and the file is passed once"


def test_what_is_damaged_or_lies_by_columns_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LARGE", 1000)

    def refused(**values: Any) -> str:
        config = PublicConfig.model_validate({"name": "npz", "root": str(tmp_path / "a.npz")} | values)
        with pytest.raises(InputError) as caught:
            load_public(config, cache=tmp_path / "cache")
        assert "\n" not in str(caught.value) and not list((tmp_path / "cache").rglob("images.u1"))
        return str(caught.value)

    labels = {"y": np.arange(N) % 3, "classes": CLASSES}
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(COLOUR), **labels)
    assert "x: lies in Fortran's order; write numpy.ascontiguousarray(x)" in refused()
    numbers = GREY.astype(np.float32) / 255
    numbers[77, 3, 3] = 1.5
    np.savez(tmp_path / "a.npz", x=numbers, **labels)
    assert "x: not all of it in 0 .. 1" in refused(scale="unit") and "1.5" not in refused(scale="unit")
    np.savez(tmp_path / "a.npz", x=GREY, y=np.arange(N - 1) % 3, classes=CLASSES)
    assert "y: got int64 (99,); expected 100 whole numbers" in refused()
    np.savez_compressed(tmp_path / "a.npz", x=COLOUR, **labels)
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    raw[20_000:20_100] = bytes(100)
    (tmp_path / "a.npz").write_bytes(raw)
    assert "a.npz: damaged" in refused()
