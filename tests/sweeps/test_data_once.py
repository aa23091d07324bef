"""The images of a sweep are in Ray's object store once, and in no file that Ray keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whole import Finished, finish

from privimage.sweeps.work import Work


def test_the_images_are_put_once(finished_sweep: Finished) -> None:
    assert finished_sweep.images.copies == 1
    one = finished_sweep.images.x[0].tobytes()
    kept = [path for path in finished_sweep.folder.ray.rglob("*") if path.is_file()]
    assert kept and not any(one in path.read_bytes() for path in kept)


@pytest.mark.slow
def test_the_fault_is_seen(
    local_ray: None, tiny_values: Callable[[], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole work is handed on."""
    monkeypatch.setattr(Work, "terms", property(lambda self: self))
    assert finish(tiny_values() | {"trials": 0, "compare": ["selection-only"]}, tmp_path).images.copies == 2
