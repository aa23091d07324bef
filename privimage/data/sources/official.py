"""Published sets with a test split of their own, in files of their own: read from a folder, or fetched there first."""

from __future__ import annotations

import pickle
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.data.fit import Pixels
from privimage.data.sources.source import InMemory, Source
from privimage.errors import InputError
from privimage.local import LocalPath

Read = tuple[Pixels, NDArray[np.int64], tuple[str, ...]]  # images [n, channels, height, width], labels, class names


class Official(Source):
    """The files of a published set under `root`, as they are published or as torchvision keeps them."""

    root: LocalPath = Field(description="the path of the folder that holds the published files")
    download: bool = False  # fetch what is missing

    torchvision: ClassVar[str]  # its class there, which fetches the files

    def open(self, *, cache: Path | None, test: bool = False, limit_classes: int | None = None) -> InMemory:
        """See Source."""
        found = self.find(train=not test)
        if found is None and self.download:
            self._fetch()
            found = self.find(train=not test)
        if found is None:
            raise InputError(
                f"{self.path}: no complete files of {self.name} here; put them there or set `download: true`"
            )
        x, y, classes = found
        return InMemory(x=x, y=y, classes=classes, size=self.size, channels=self.channels).first(limit_classes)

    @abstractmethod
    def find(self, *, train: bool) -> Read | None:
        """The official split; None where its files are not there. Raises InputError naming a file that is damaged."""

    @property
    def has_test(self) -> bool:
        """See Source."""
        return True

    @property
    def told(self) -> dict[str, Any]:
        """What torchvision has to know to fetch the files, beside the folder."""
        return {}

    def check(self) -> None:
        """Raise InputError if there is no such folder, and nothing may be downloaded into it."""
        if not self.path.exists() and not self.download:
            raise InputError(f"{self.path}: no such folder; put the files of {self.name} there or set `download: true`")
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: not a folder")

    @property
    def identity(self) -> dict[str, Any]:
        """Whether it was downloaded or lay there makes no difference."""
        return self.model_dump(mode="json", exclude={"download"})

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.root).expanduser()

    def _fetch(self) -> None:
        from privimage.data.torchvision_shim import import_torchvision  # here, as it imports torch

        known = getattr(import_torchvision().datasets, self.torchvision)
        try:
            known(root=str(self.path), download=True, **self.told)
        except (OSError, RuntimeError, ValueError, AssertionError, EOFError, pickle.UnpicklingError) as error:
            raise InputError(f"{self.path}: could not download {self.name} ({type(error).__name__})") from None
