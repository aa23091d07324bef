"""The images of a sweep are in Ray's object store once, and in no file that Ray keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whole import Finished, finish

from privimage.errors import Violation
from privimage.sweeps.following import Following
from privimage.sweeps.work import Work


def test_the_images_are_put_once(finished_sweep: Finished) -> None:
    assert finished_sweep.images.copies == 1
    one = finished_sweep.images.x[0].tobytes()
    kept = [path for path in finished_sweep.folder.ray.rglob("*") if path.is_file()]
    assert kept and not any(one in path.read_bytes() for path in kept)


@pytest.mark.thorough
def test_the_work_of_a_sweep_is_not_handed_on(
    local_ray: None, tiny_values: Callable[[], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither to the processes of trials, nor with what Tune writes of its callbacks."""
    monkeypatch.setattr(Work, "terms", property(lambda self: self))
    with pytest.raises(Violation, match="would be pickled with its work"):
        finish(tiny_values() | {"trials": 0, "compare": ["selection-only"]}, tmp_path)
    monkeypatch.undo()
    monkeypatch.delattr(Following, "__getstate__")
    (tmp_path / "again").mkdir()
    with pytest.raises(Violation, match="would be pickled with its work"):
        finish(tiny_values() | {"trials": 0, "compare": ["selection-only"]}, tmp_path / "again")
