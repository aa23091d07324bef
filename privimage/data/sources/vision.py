"""The sets that torchvision knows: MNIST, Fashion-MNIST and CIFAR-10, from its files under a root."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privimage.data.config import VisionName
from privimage.data.torchvision_shim import import_torchvision
from privimage.errors import InputError

_TORCHVISION_CLASS: dict[VisionName, str] = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
}


def read_vision(
    name: VisionName, *, root: Path, train: bool, download: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Images [n, 1, 28, 28] or [n, 3, 32, 32], labels [n] and class names of the official split."""
    dataset = _open(name, root=root, train=train, download=download)
    pixels = np.asarray(dataset.data, dtype=np.uint8)
    x = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    y = np.asarray(dataset.targets, dtype=np.int64)
    if x.shape[1:] != ((3, 32, 32) if name == "cifar10" else (1, 28, 28)) or len(x) != len(y):
        raise InputError(f"{root}: the files of {name} are damaged; remove them and set `download: true`")
    return np.ascontiguousarray(x), y, tuple(str(label) for label in dataset.classes)


def _open(name: VisionName, *, root: Path, train: bool, download: bool) -> Any:
    known = getattr(import_torchvision().datasets, _TORCHVISION_CLASS[name])
    try:
        return known(root=str(root), train=train, download=download)
    except (OSError, RuntimeError, ValueError, AssertionError, EOFError, pickle.UnpicklingError) as error:
        # torchvision says RuntimeError both for files that are not there and for a download that failed
        if download:
            problem = f"could not download {name} ({type(error).__name__})"
        elif isinstance(error, RuntimeError) and "not found" in str(error):
            problem = f"no complete files of {name} here; put them there or set `download: true`"
        else:
            problem = f"the files of {name} are damaged; remove them and set `download: true`"
        raise InputError(f"{root}: {problem}") from None
