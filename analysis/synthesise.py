"""Synthesise: images from an exported generator, without the sensitive data and at no further privacy cost."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis import bundle, pictures
from privimage.errors import InputError
from privimage.sampler import draw_images

Progress = Callable[[int, int], None]  # (images done, images in all)
SEEDS = 2**63 - 1  # the largest
PNG_COLUMNS = 100  # images a label that a picture may show


def sample_from(
    directory: Path, *, n: int, seed: int, device: str = "cpu", progress: Progress = lambda done, total: None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """n images uint8 [n, C, H, W] with labels 0, 1, 2, ... in turn; the same for the same seed and device.

    Raises InputError in one line if the folder is not an intact bundle, the seed is none, or the device is not there.
    """
    if n < 1:
        raise InputError(f"n: got {n}; at least 1 image")
    if not 0 <= seed <= SEEDS:
        raise InputError(f"seed: got {seed}; expected a whole number from 0 to {SEEDS}")
    where = _device(device)
    found = bundle.read(directory)
    return draw_images(
        found.generator, n=n, shape=found.config.shape, config=found.config.sample, seed=seed, device=where,
        progress=progress,
    )  # fmt: skip


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"device: got {name!r}, which this machine does not have; cpu always works") from None
    return device


def check_output(to: Path, *, n: int, labels: int) -> None:
    """Raise InputError if n images with so many labels in turn could not be written to the path.

    Its folder is made if it is missing. Called before the images are drawn: that can take hours.
    """
    _check_kind(to, most=-(-n // labels))
    if to.is_dir():
        raise InputError(f"{to}: is a folder; name a file in it, e.g. {to / 'images.npz'}")
    with _writing(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        if to.exists():
            to.open("ab").close()  # of an earlier file, nothing is lost
        else:
            tempfile.TemporaryFile(dir=to.parent).close()


def write_samples(x: NDArray[np.uint8], y: NDArray[Any], to: Path) -> Path:
    """The path of the .npz (arrays x and y) or .png (a row a label) that now holds all images."""
    most = int(np.unique(y, return_counts=True)[1].max())
    _check_kind(to, most=most)
    with _writing(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("wb") as file:
            if to.suffix == ".npz":
                np.savez_compressed(file, x=x, y=y)
            else:
                file.write(pictures.enlarged(pictures.Samples(x=x, y=y), columns=most, rows=None))
    return to


def _check_kind(to: Path, *, most: int) -> None:
    """Raise InputError if no file of this name can hold `most` images of a label."""
    if to.suffix not in (".npz", ".png"):
        raise InputError(f"{to}: unknown suffix {to.suffix!r}; allowed: .npz, .png")
    if to.suffix == ".png" and most > PNG_COLUMNS:
        raise InputError(f"{to}: a picture shows at most {PNG_COLUMNS} images a label, got {most}; write .npz")


@contextmanager
def _writing(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{to}: cannot be written ({error.strerror}); name another file") from None
