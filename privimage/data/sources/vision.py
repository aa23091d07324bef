"""The sets that torchvision knows: MNIST, Fashion-MNIST and CIFAR-10, from its files under a root."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.data.sources.source import InMemory, Source
from privimage.errors import InputError
from privimage.local import LocalPath

VisionName = Literal["mnist", "fashion-mnist", "cifar10"]

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


class Vision(Source):
    """A set in the files that torchvision keeps under `root`, which has a test split of its own."""

    root: LocalPath = Field(description="the path of the folder that holds the files that torchvision keeps")
    download: bool = False  # fetch what is missing

    has_test: ClassVar[bool] = True
    known: ClassVar[VisionName]

    def open(self, *, cache: Path | None, test: bool = False, limit_classes: int | None = None) -> InMemory:
        """See Source."""
        x, y, classes = read_vision(self.known, root=self._folder, train=not test, download=self.download)
        return InMemory(x=x, y=y, classes=classes, size=self.size, channels=self.channels).first(limit_classes)

    def check(self) -> None:
        """Raise InputError if there is no such folder, and nothing may be downloaded into it."""
        if self._folder.exists() and not self._folder.is_dir():
            raise InputError(f"{self._folder}: not a folder")
        if not self._folder.exists() and not self.download:
            raise InputError(
                f"{self._folder}: no such folder; put the files of {self.known} there or set `download: true`"
            )

    @property
    def identity(self) -> dict[str, Any]:
        """Whether it was downloaded or lay there makes no difference."""
        return self.model_dump(mode="json", exclude={"download"})

    @property
    def _folder(self) -> Path:
        return Path(self.root).expanduser()


class Mnist(Vision):
    """MNIST."""

    what: ClassVar[str] = "70,000 handwritten digits"
    own_shape: ClassVar[tuple[int, int] | None] = (1, 28)
    n_train: ClassVar[int | None] = 60_000
    known: ClassVar[VisionName] = "mnist"


class FashionMnist(Vision):
    """Fashion-MNIST."""

    what: ClassVar[str] = "70,000 pictures of clothes"
    own_shape: ClassVar[tuple[int, int] | None] = (1, 28)
    n_train: ClassVar[int | None] = 60_000
    known: ClassVar[VisionName] = "fashion-mnist"


class Cifar10(Vision):
    """CIFAR-10."""

    what: ClassVar[str] = "60,000 colour photographs of ten kinds of things"
    own_shape: ClassVar[tuple[int, int] | None] = (3, 32)
    n_train: ClassVar[int | None] = 50_000
    known: ClassVar[VisionName] = "cifar10"


MEMBERS = {"mnist": Mnist, "fashion-mnist": FashionMnist, "cifar10": Cifar10}


def _open(name: VisionName, *, root: Path, train: bool, download: bool) -> Any:
    from privimage.data.torchvision_shim import import_torchvision  # here, as it imports torch

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
