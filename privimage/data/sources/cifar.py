"""CIFAR-10 and CIFAR-100, from their python archives, packed or not. Their pickles are read; nothing in them is run."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from privimage.data.fit import Pixels
from privimage.data.sources.official import Official, Read
from privimage.data.sources.tars import DAMAGED_TAR, refused
from privimage.errors import InputError

SHAPE = (3, 32, 32)
MOST = 1 << 28  # bytes of an archive, unpacked: more than there is


class _Cifar(Official):
    own_shape: ClassVar[tuple[int, int] | None] = (3, 32)
    n_train: ClassVar[int | None] = 50_000
    archive: ClassVar[str]
    unpacked: ClassVar[str]
    files: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]]  # of the train split, of the test split
    meta: ClassVar[str]
    keys: ClassVar[tuple[str, str]]  # of the labels in a file, of their names in the other

    @property
    def names_of(self) -> tuple[str, str]:
        return self.keys

    def find(self, *, train: bool) -> Read | None:
        """See Official."""
        files, (key, names) = self.files[0 if train else 1], self.names_of
        raw = self._raw((self.meta, *files))
        if raw is None:
            return None
        where, found = raw
        classes = _unpickled(found[self.meta], named=f"{where}: {self.meta}").get(names)
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes) or not classes:
            raise InputError(f"{where}: {self.meta}: no {names}; fetch it again")
        parts = [_batch(found.pop(name), key, len(classes), named=f"{where}: {name}") for name in files]
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts]), tuple(classes)

    def _raw(self, names: tuple[str, ...]) -> tuple[Path, dict[str, bytes]] | None:
        """Where the files lie, and what is in them."""
        for folder in (self.path / self.unpacked, self.path):
            if (folder / self.meta).is_file():
                for name in names:
                    if not (folder / name).is_file():
                        raise InputError(f"{folder / name}: no such file; no complete files of {self.name} here")
                return folder, {name: (folder / name).read_bytes() for name in names}
        archive = self.path / self.archive
        return (archive, from_tar(archive, names)) if archive.is_file() else None


class Cifar10(_Cifar):
    """CIFAR-10."""

    what: ClassVar[str] = "60,000 colour photographs of ten kinds of things"
    torchvision: ClassVar[str] = "CIFAR10"
    archive: ClassVar[str] = "cifar-10-python.tar.gz"
    unpacked: ClassVar[str] = "cifar-10-batches-py"
    files: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]] = (
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        ("test_batch",),
    )
    meta: ClassVar[str] = "batches.meta"
    keys: ClassVar[tuple[str, str]] = ("labels", "label_names")


class Cifar100(_Cifar):
    """CIFAR-100, with its 100 fine labels or its 20 coarse ones."""

    labels: Literal["fine", "coarse"] = "fine"  # 100 kinds of things, or 20 kinds of these kinds

    what: ClassVar[str] = "60,000 colour photographs of a hundred kinds of things"
    torchvision: ClassVar[str] = "CIFAR100"
    archive: ClassVar[str] = "cifar-100-python.tar.gz"
    unpacked: ClassVar[str] = "cifar-100-python"
    files: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]] = (("train",), ("test",))
    meta: ClassVar[str] = "meta"

    @property
    def names_of(self) -> tuple[str, str]:
        """Of the labels that were asked for."""
        return f"{self.labels}_labels", f"{self.labels}_label_names"


MEMBERS = {"cifar10": Cifar10, "cifar100": Cifar100}


class _UpTo:
    """What a packed file unpacks to, as long as that is not more than MOST bytes."""

    def __init__(self, file: gzip.GzipFile, *, named: Path) -> None:
        self.file, self.named, self.size = file, named, 0

    def read(self, size: int) -> bytes:
        found = self.file.read(size)
        self.size += len(found)
        if self.size > MOST:
            raise InputError(f"{self.named}: unpacks to more than {MOST} bytes; that is no archive of CIFAR")
        return found


def from_tar(archive: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The files of these names in a packed archive, wherever in it they lie. Nothing is written to disk.

    Raises InputError naming the archive if it is damaged, lacks one of them, or would be larger than MOST.
    """
    wanted, found = set(names), dict[str, bytes]()
    try:
        with gzip.open(archive) as packed:
            stream: Any = _UpTo(packed, named=archive)
            with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 16) as tar:
                for member in tar:
                    name = member.name.rsplit("/", 1)[-1]
                    file = tar.extractfile(member) if member.isreg() and name in wanted else None
                    if file is not None:
                        found[name] = file.read()
                    if found.keys() == wanted:
                        return found
    except InputError:
        raise
    except (*DAMAGED_TAR, zlib.error) as error:
        if refused(error):
            raise
        raise InputError(f"{archive}: damaged; fetch it again") from None
    raise InputError(f"{archive}: {min(wanted - found.keys())}: not in the archive; fetch it again")


class _Kind:
    """What stands for the dtype of an array: bytes, and no other; whatever else is told of it is not heard."""

    def __init__(self, kind: Any, *_: Any) -> None:
        if kind != "u1":
            raise pickle.UnpicklingError

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """What stands for an array: its shape and bytes are taken from the pickle, and numpy makes it of no other."""

    def __init__(self, *_: Any) -> None:
        self.value: NDArray[np.uint8] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Kind, bool, str | bytes]) -> None:
        _, shape, _, fortran, raw = state
        data = raw.encode("latin-1") if isinstance(raw, str) else raw
        self.value = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


def _encoded(text: str, encoding: str) -> bytes:  # how Python 3 writes bytes for Python 2
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError
    return text.encode("latin-1")


class _Reader(pickle.Unpickler):
    """Reads lists, dicts, texts, numbers and arrays of bytes; whatever else a pickle names is refused, not called."""

    known: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): None,  # only ever told to `_reconstruct`
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _encoded,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise pickle.UnpicklingError
        return self.known[module, name]


def _unpickled(raw: bytes, *, named: str) -> dict[str, Any]:
    try:
        found = _Reader(io.BytesIO(raw), encoding="latin1").load()
    except Exception:  # a damaged pickle ends in nearly any of them
        raise InputError(f"{named}: damaged, or not a file of CIFAR; nothing in it was run; fetch it again") from None
    if not isinstance(found, dict):
        raise InputError(f"{named}: not a file of CIFAR; fetch it again")
    return found


def _batch(raw: bytes, key: str, n_classes: int, *, named: str) -> tuple[Pixels, NDArray[np.int64]]:
    """Images [n, 3, 32, 32] and labels [n] of one file."""
    found = _unpickled(raw, named=named)
    x, y = getattr(found.get("data"), "value", None), found.get(key)
    if not isinstance(x, np.ndarray) or x.ndim != 2 or x.shape[1] != 3072:
        raise InputError(f"{named}: data: not rows of 3072 bytes; fetch it again")
    if not isinstance(y, list) or len(y) != len(x) or not all(type(i) is int and 0 <= i < n_classes for i in y):
        raise InputError(f"{named}: {key}: not {len(x)} numbers of 0 .. {n_classes - 1}; fetch it again")
    return np.ascontiguousarray(x).reshape(-1, *SHAPE), np.array(y, np.int64)
