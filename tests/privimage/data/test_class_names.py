"""Names of classes that are no UTF-8 are refused when a set is opened: later they would end a run that was paid for."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from privimage.data import PublicConfig, SensitiveConfig, load_public, load_sensitive
from privimage.data.sources import source
from privimage.errors import InputError

N = 60


def png(i: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (16, 16), i).save(file, "PNG")
    return file.getvalue()


def folder(tmp_path: Path) -> dict[str, Any]:
    for name in (b"cat", b"k\xff\xfe0"):
        (tmp_path / "f" / os.fsdecode(name)).mkdir(parents=True)
        for i in range(N):
            (tmp_path / "f" / os.fsdecode(name) / f"{i}.png").write_bytes(png(i))
    return {"name": "folder", "root": str(tmp_path / "f"), "channels": 1}


def npz(tmp_path: Path) -> dict[str, Any]:
    x = np.random.default_rng(0).integers(0, 256, (N, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(N) % 2, classes=np.array(["cat", "k\udcff\udcfe0"]))
    return {"name": "npz", "root": str(tmp_path / "a.npz")}


def shard(tmp_path: Path) -> dict[str, Any]:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for i in range(N):
            label = b'{"label": "%s"}' % (b"cat", b"k\\udcff\\udcfe0")[i % 2]
            for name, raw in ((f"{i}.png", png(i)), (f"{i}.json", label)):
                info = tarfile.TarInfo(name)
                info.size = len(raw)
                tar.addfile(info, io.BytesIO(raw))
    return {"name": "webdataset", "root": str(tmp_path / "a.tar"), "label": "json.label"}


def refused(load: Callable[[], object], root: str) -> None:
    with pytest.raises(InputError) as caught:
        load()
    assert str(caught.value) == (f"{root}: class 'k\\udcff\\udcfe0': its name is no valid text; give it one in UTF-8")


@pytest.mark.parametrize("made", [folder, npz, shard])
@pytest.mark.parametrize("large", [False, True])
def test_it_is_named_by_file_and_class(
    made: Callable[[Path], dict[str, Any]], large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LARGE", 1000 if large else source.LARGE)
    values = made(tmp_path)
    refused(lambda: load_public(PublicConfig(**values), cache=tmp_path / "cache"), values["root"])
    if made is not shard:  # a sensitive one names its classes in the YAML
        sensitive = SensitiveConfig(id="a", **values)
        refused(lambda: load_sensitive(sensitive, place=tmp_path / "runs" / "decoded"), values["root"])
