"""Images of 64 and 128 pixels: the paper's networks take a step of DP-SGD on two cores, and every size is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from privimage.errors import InputError
from privimage.generators import sizes

HERE = Path(__file__).parents[1]
GIB = 1024  # of MiB
CELEBA64 = ("unet-2.00m", "unet-4.35m", "unet-6.47m", "unet-17.9m", "unet-31.8m", "gan-11.3m")  # the paper's
AT_128 = ("unet-xs",)
QUICK = ("dct-mlp-192",)


def seen(name: str, *, side: int, labels: int) -> dict[str, Any]:
    """What a process of its own saw of that generator; see large_images.py."""
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(HERE / "large_images.py"), name, str(side), str(labels)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True, text=True, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(name, side, found)
    return found


def trains_and_draws(name: str, *, side: int, labels: int, most_gib: float) -> None:
    """A step of pre-training, one of DP-SGD that is clipped and finite, and images; in so much memory."""
    found = seen(name, side=side, labels=labels)
    n, clip = len(found["norms"]), 1e-3  # of large_images.py
    assert n >= 2 and all(norm > clip for norm in found["norms"]), "each is clipped"
    assert 0 < found["sum"] <= n * clip * (1 + 1e-4)
    assert found["finite"] and found["moved"]
    assert found["shape"] == [2, 3, side, side] and found["differ"]
    assert found["peak_mib"] < most_gib * GIB


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("name", CELEBA64)
def test_the_papers_networks_at_64_pixels(name: str) -> None:
    trains_and_draws(name, side=64, labels=1, most_gib=8)


@pytest.mark.thorough
@pytest.mark.parametrize("name", QUICK)
def test_128_pixels(name: str) -> None:
    trains_and_draws(name, side=128, labels=3, most_gib=8)


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("name", AT_128)
def test_128_pixels_with_larger_networks(name: str) -> None:
    trains_and_draws(name, side=128, labels=3, most_gib=8)


@pytest.mark.parametrize("name", sizes.DOOR.names())
def test_every_size_is_there_for_128_pixels(name: str) -> None:
    sizes.check(name, (3, 128, 128))


@pytest.mark.parametrize(
    ("size", "pixels", "says"),
    [
        ("unet-2.00m", 100, "a UNet needs a side that is a multiple of 8 for 4 levels, got 100"),
        ("unet-1.75m", 130, "a UNet needs a side that is a multiple of 4 for 3 levels, got 130"),
        ("gan-11.3m", 120, "this GAN needs sides that are multiples of 16"),
        ("dct-mlp-512", 8, "a dct-mlp needs at least "),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(
    size: str, pixels: int, says: str, tmp_path: Path, privimage: Callable[..., tuple[int, str, str]]
) -> None:
    with pytest.raises(InputError, match=says):
        sizes.check(size, (1, pixels, pixels))
    file, name = tmp_path / "x.yaml", "privimage+g" if size.startswith("gan") else "privimage+d"
    values = {
        "name": "x",
        "data": {
            "sensitive": {"name": "digits", "id": "x", "size": pixels},
            "public": {"name": "glyphs", "size": pixels},
        },
        "budgets": [{"epsilon": 10, "delta": 1e-5}],
        "method": {"name": name, "model": {"size": size}},
        "objectives": {"accuracy[lr]": "max"},
    }
    file.write_text(yaml.safe_dump(values))
    for verb in ("plan", "sweep"):
        code, said, err = privimage(verb, file, "--root", tmp_path / "runs")
        refusal = f"{size} does not fit images of {pixels} x {pixels} pixels: {says}"
        assert code == 2 and refusal in " ".join((said + err).split()), (said, err)
    assert not list(tmp_path.glob("runs/*/records.jsonl"))
