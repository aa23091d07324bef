"""Other public images in the same place are not served what was made of the old ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from privimage.errors import InputError
from privimage.paths import Root
from privimage.sweeps.run import _prepared
from privimage.sweeps.sweep import load_sweep


def test_changed_public_images_are_refused_before_anything_is_asked(
    write_sweep: Callable[..., Path], image_folders: dict[str, Path], tmp_path: Path
) -> None:
    public = shutil.copytree(image_folders["public"], tmp_path / "public")
    sweep = load_sweep(write_sweep(), overrides={"data.public.root": str(public)})
    root = Root(path=tmp_path / "runs")

    def prepare() -> None:
        folder = root.run(sweep.name)
        folder.path.mkdir(parents=True, exist_ok=True)
        _prepared(sweep, folder, quiet=True)

    prepare()
    prepare()  # the same images
    one, other = sorted(public.glob("*/*.png"))[:2]
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match=r"data\.public: the images of .* are others than those"):
        prepare()
    assert not root.ledger("tiny-v1").exists()
    one.write_bytes(kept)
    prepare()
    (public / "c00").rename(public / "c99")  # a class by another name, in another place
    with pytest.raises(InputError, match=r"data\.public"):
        prepare()
