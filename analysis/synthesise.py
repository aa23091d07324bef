"""Synthesise: images from an exported generator, without the sensitive data and at no further privacy cost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from privimage.analysis import bundle, pictures, wanted
from privimage.analysis.bundle import BundleConfig
from privimage.analysis.wanted import Labels
from privimage.disk import refusal
from privimage.errors import InputError
from privimage.generators.generator import Generator
from privimage.generators.sampler import draw_images
from privimage.local import local_path
from privimage.privacy.guarantee import Guarantee
from privimage.progress import Tell, silent

SEEDS = 2**63 - 1  # the largest
PNG_COLUMNS = 100  # images a label that a picture may show


class Bundle:
    """An exported generator by its folder, as `best` wrote it; `config` says what it is.

    Raises InputError in one line if the folder is no intact bundle of this version.
    """

    def __init__(self, directory: str | Path) -> None:
        self.path = local_path(directory, named="DIR")
        self.config: BundleConfig = bundle.read_config(self.path)

    def __repr__(self) -> str:
        return f"Bundle({str(self.path)!r})"

    @property
    def guarantee(self) -> Guarantee:
        """What has to be stated beside it, and beside its images; its `sentence` says so."""
        return self.config.guarantee

    @cached_property
    def _generator(self) -> Generator:
        return bundle.read(self.path, self.config)

    def sample(
        self,
        *,
        n: int | None = None,
        labels: Labels = (),
        seed: int = 0,
        device: str = "cpu",
        progress: Tell = silent,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """n images uint8 [n, C, H, W] (1000 if None) with labels [n] in turn: all of them or those asked for.

        `labels` are numbers or class names, as words that may end in =NUMBER or =SHARE% (see `analysis.wanted`), or a
        mapping to numbers of images. The same for the same seed, device and labels; costs no privacy.

        Raises InputError in one line, which names the argument, if one is not as said here or the device is not there,
        and if the weights are damaged.
        """
        seed = wanted.whole("seed", seed, least=0, most=SEEDS)
        where, order = _device(device), wanted.order(self.counts(n=n, labels=labels))
        return draw_images(
            self._generator, n=len(order), config=self.config.sample, seed=seed, device=where,
            labels=order, progress=progress,
        )  # fmt: skip

    def counts(self, *, n: int | None = None, labels: Labels = ()) -> dict[int, int]:
        """How many images of each label such a call draws. Raises InputError if it cannot be drawn."""
        return wanted.counts(labels, n=n, classes=self.config.classes)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        raise InputError(f"device: got {name!r}, which this machine does not have; cpu always works") from None
    return device


def check_output(to: Path, *, most: int) -> None:
    """Raise InputError if images, at most so many of a label, could not be written to the path.

    Its folder is made if it is missing. Called before the images are drawn: that can take hours.
    """
    _check_kind(to, most=most)
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
        raise refusal(error, to, "written", fix="name another file") from None
