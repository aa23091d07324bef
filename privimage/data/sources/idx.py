"""MNIST and its family: Fashion-MNIST, KMNIST and the splits of EMNIST, from idx files, gzipped or not."""

from __future__ import annotations

import gzip
import math
import string
import struct
import zlib
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from privimage.data.sources.official import Official, Read
from privimage.data.sources.stamps import stamp_of_files
from privimage.errors import InputError

SIDE = 28
MOST = 1 << 31  # bytes: four times the largest set of the family; no more is unpacked, whatever a file says
DIGITS = tuple(string.digits)
ALIKE = set("cijklmopsuvwxyz")  # whose small letter EMNIST merges with the capital
MERGED = tuple(sorted({*string.digits, *string.ascii_letters} - ALIKE))
EMNIST: dict[str, tuple[str, ...]] = {
    "byclass": tuple(sorted(string.digits + string.ascii_letters)),
    "bymerge": MERGED,
    "balanced": MERGED,
    "letters": tuple(string.ascii_lowercase),
    "digits": DIGITS,
    "mnist": DIGITS,
}


class Idx(Official):
    """A set in two idx files a split, in the folder or where torchvision keeps them below it."""

    own_shape: ClassVar[tuple[int, int] | None] = (1, SIDE)
    names: ClassVar[tuple[str, ...]] = DIGITS

    def find(self, *, train: bool) -> Read | None:
        """See Official."""
        return self.pair(*self.files(train=train), self.names)

    def stamp(self, *, test: bool = False) -> str | None:
        """See Source: of its two files, if they are there."""
        there = [self._file(name) for name in self.files(train=not test)]
        return None if None in there else stamp_of_files(path for path in there if path is not None)

    def files(self, *, train: bool) -> tuple[str, str]:
        """The names of the two files of a split, as they are published and unpacked."""
        start = "train" if train else "t10k"
        return f"{start}-images-idx3-ubyte", f"{start}-labels-idx1-ubyte"

    def pair(self, images: str, labels: str, names: tuple[str, ...], *, first: int = 0) -> Read | None:
        """What two files hold, whose labels begin with `first`."""
        x_file, y_file = self._file(images), self._file(labels)
        if x_file is None or y_file is None:
            return None
        x, y = read_idx(x_file, dimensions=3), read_idx(y_file, dimensions=1).astype(np.int64) - first
        if x.shape[1:] != (SIDE, SIDE) or len(x) == 0:
            raise InputError(f"{x_file}: got {x.shape}; the files of {self.name} hold images of {SIDE} x {SIDE} pixels")
        if len(x) != len(y):
            raise InputError(f"{y_file}: damaged; it holds {len(y)} labels of {len(x)} images; fetch it again")
        if y.min() < 0 or y.max() >= len(names):
            raise InputError(f"{y_file}: labels outside {first} .. {len(names) - 1 + first}: not those of {self.name}")
        return x[:, None], y, names

    def _file(self, name: str) -> Path | None:
        """The file of this name, as it is published or unpacked."""
        raw = self.path / self.torchvision / "raw"
        for folder in (self.path, raw, self.path / "raw"):
            for path in (folder / name, folder / name.replace("-idx", ".idx"), folder / f"{name}.gz"):
                if path.is_file():
                    return path
        return None


class Mnist(Idx):
    """MNIST."""

    what: ClassVar[str] = "70,000 handwritten digits"
    n_train: ClassVar[int | None] = 60_000
    torchvision: ClassVar[str] = "MNIST"
    names: ClassVar[tuple[str, ...]] = tuple(
        f"{i} - {word}" for i, word in enumerate("zero one two three four five six seven eight nine".split())
    )


class FashionMnist(Idx):
    """Fashion-MNIST."""

    what: ClassVar[str] = "70,000 pictures of clothes"
    n_train: ClassVar[int | None] = 60_000
    torchvision: ClassVar[str] = "FashionMNIST"
    names: ClassVar[tuple[str, ...]] = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
    )  # fmt: skip


class Kmnist(Idx):
    """KMNIST."""

    what: ClassVar[str] = "70,000 handwritten hiragana"
    n_train: ClassVar[int | None] = 60_000
    torchvision: ClassVar[str] = "KMNIST"
    names: ClassVar[tuple[str, ...]] = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


class Emnist(Idx):
    """One of the splits of EMNIST, upright: its files hold every image on its side."""

    part: Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"]  # which of its six sets

    what: ClassVar[str] = "handwritten letters and digits"
    torchvision: ClassVar[str] = "EMNIST"

    def find(self, *, train: bool) -> Read | None:
        """See Official."""
        first = 1 if self.part == "letters" else 0
        found = self.pair(*self.files(train=train), EMNIST[self.part], first=first)
        if found is None:
            return None
        x, y, names = found
        return np.ascontiguousarray(x.transpose(0, 1, 3, 2)), y, names

    def files(self, *, train: bool) -> tuple[str, str]:
        """See Idx."""
        start = f"emnist-{self.part}-{'train' if train else 'test'}"
        return f"{start}-images-idx3-ubyte", f"{start}-labels-idx1-ubyte"

    @property
    def told(self) -> dict[str, Any]:
        """See Official."""
        return {"split": self.part}


MEMBERS = {"mnist": Mnist, "fashion-mnist": FashionMnist, "kmnist": Kmnist, "emnist": Emnist}


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """What an idx file of bytes holds. Raises InputError naming it if it is damaged, or no such file.

    The file says how long it is; that much is read, and no more unpacked.
    """
    damaged = InputError(f"{path}: damaged, or no idx file of {dimensions} dimensions; fetch it again")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, *shape = struct.unpack(f">{1 + dimensions}I", file.read(4 + 4 * dimensions))
            if magic != 0x800 + dimensions:
                raise damaged
            size = math.prod(max(1, side) for side in shape)  # also of none: numpy makes no array with such a side
            if size > MOST:
                raise InputError(f"{path}: says that it holds {size} bytes; at most {MOST} are read")
            found = file.read(math.prod(shape))
            if len(found) < math.prod(shape) or file.read(1):
                raise damaged
    except (OSError, EOFError, struct.error, zlib.error):
        raise damaged from None
    return np.frombuffer(found, np.uint8).reshape(shape)
