"""The images of a sweep are in Ray's object store once, and in no file that Ray keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray._private.worker import global_worker

from privimage.data.sets import SensitiveData
from privimage.paths import Root
from privimage.sweeps import run as runs
from privimage.sweeps.sweep import load_sweep
from privimage.sweeps.work import Work

Patch = pytest.MonkeyPatch


def copies(values: dict[str, Any], root: Path, patch: Patch) -> int:
    """How often the training images are in what the driver puts into the object store while the sweep runs."""
    file = root / "sweep.yaml"
    file.write_text(yaml.safe_dump(values | {"trials": 0, "compare": ["selection-only"]}))
    loaded: list[SensitiveData] = []
    real_load, real_put, found = runs.load_data, ray.put, [0]

    def load(*args: Any, **rest: Any) -> Any:
        both = real_load(*args, **rest)
        loaded.append(both[1])
        return both

    def put(value: Any, *args: Any, **rest: Any) -> Any:
        raw = global_worker.get_serialization_context().serialize(value).to_bytes()
        found[0] += raw.count(loaded[-1].train.x.tobytes())
        return real_put(value, *args, **rest)

    patch.setattr(runs, "load_data", load)
    patch.setattr(ray, "put", put)
    outcome = runs.run_sweep(load_sweep(file), root=Root(path=root / "runs"), address=None, quiet=True)
    assert outcome.failures == ()
    one = loaded[-1].train.x[0].tobytes()
    kept = [path for path in outcome.folder.ray.rglob("*") if path.is_file()]
    assert kept and not any(one in path.read_bytes() for path in kept)
    return found[0]


@pytest.mark.parametrize(
    "fault", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["as it is", "the whole work is handed on"]
)
def test_the_images_are_put_once(
    local_ray: None, tiny_values: Callable[[], dict[str, Any]], tmp_path: Path, monkeypatch: Patch, fault: bool
) -> None:
    if fault:
        monkeypatch.setattr(Work, "terms", property(lambda self: self))
    assert copies(tiny_values(), tmp_path, monkeypatch) == (2 if fault else 1)
