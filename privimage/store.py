"""Store: the content-addressed folder of artefacts, each with its privacy class. Single flight across processes.

An artefact is named arrays plus a small JSON `meta`, at `artefacts/<kind>/<key>/`, where the key is the digest of
everything that determines it (so a hit is the answer, and a cache needs no invalidation). Written to a temporary
folder and renamed, so that a reader sees all of it or nothing. `public` and `released` artefacts may be shared and
shown; `internal` ones never leave the folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from privimage.budget import Event
from privimage.disk import make_folder, sync
from privimage.entropy import BYTES, Entropy
from privimage.errors import InputError, LostAnswer
from privimage.schema import Frozen

Arrays = Mapping[str, NDArray[Any]]
PrivacyClass = Literal["public", "released", "internal"]
Origin = Literal["hit", "built", "joined"]  # from the cache; built here; waited for another that was building it


FILES = ("manifest.json", "arrays.safetensors")


class Manifest(Frozen):
    """What an artefact is: kind, key, privacy class, the events behind it, its meta data and content hash."""

    kind: str
    key: str
    privacy: PrivacyClass
    events: tuple[Event, ...] = ()
    meta: dict[str, Any] = Field(default_factory=dict)
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """Arrays with their manifest. Treat the arrays as read-only: they may be shared between trials."""

    manifest: Manifest
    arrays: Arrays


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a builder returns: the arrays and what to remember with them."""

    arrays: Arrays
    privacy: PrivacyClass
    events: tuple[Event, ...] = ()
    meta: Mapping[str, Any] | None = None


class Cache(Protocol):
    """Where stages look before they compute: the Store itself, or the cluster's shared cache in front of it."""

    def fetch(self, kind: str, key: str, build: Callable[[], Built]) -> tuple[Artefact, Origin]:
        """The artefact of this key, and whether it was found, built by this call, or built by another meanwhile."""
        ...


class Store:
    """The artefacts under the folder `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: str, key: str) -> Path:
        """The folder of an artefact, whether or not it exists."""
        return self.root / "artefacts" / kind / key

    def get(self, kind: str, key: str) -> Artefact | None:
        """The artefact, or None if it is not there. A damaged one that can be recomputed is removed and is None.

        Raises LostAnswer if a damaged artefact is an answer that privacy was paid for.
        """
        folder = self.folder(kind, key)
        try:
            manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
            raw = (folder / "arrays.safetensors").read_bytes()
        except FileNotFoundError:
            if folder.is_dir() and not all((folder / name).exists() for name in FILES):
                shutil.rmtree(folder)  # one of its files is gone (a folder appears with all of them)
            return None
        except ValueError:
            raise InputError(f"{folder}/manifest.json: damaged; remove this folder to recompute it") from None
        if hashlib.sha256(raw).hexdigest() != manifest.sha256:
            if manifest.privacy == "released" and manifest.meta.get("paid"):
                raise LostAnswer(f"{folder}: damaged, and asking again would cost privacy; restore it from a backup")
            shutil.rmtree(folder)
            return None
        try:
            return Artefact(manifest=manifest, arrays=load_safetensors(raw))
        except SafetensorError:
            raise InputError(f"{folder}/arrays.safetensors: unreadable; remove this folder to recompute it") from None

    def put(self, kind: str, key: str, built: Built) -> Artefact:
        """The stored artefact. If this key was stored meanwhile, the earlier one stays and is returned."""
        raw = save_safetensors({name: np.asarray(array, order="C") for name, array in built.arrays.items()})
        manifest = Manifest(
            kind=kind,
            key=key,
            privacy=built.privacy,
            events=built.events,
            meta=dict(built.meta or {}),
            sha256=hashlib.sha256(raw).hexdigest(),
            bytes=len(raw),
        )
        folder = self.folder(kind, key)
        make_folder(folder.parent)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
        try:
            _write(draft / "arrays.safetensors", raw)
            _write(draft / "manifest.json", manifest.model_dump_json(indent=1).encode())
            sync(draft)
            os.rename(draft, folder)
            sync(folder.parent)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            earlier = self.get(kind, key)
            if earlier is None:
                raise InputError(f"{folder}: cannot be written ({error.strerror}); nothing was lost") from error
            return earlier
        return Artefact(manifest=manifest, arrays=dict(built.arrays))

    def fetch(self, kind: str, key: str, build: Callable[[], Built]) -> tuple[Artefact, Origin]:
        """See Cache.fetch. Processes that share this folder take turns on a file lock: one builds, the others wait."""
        found = self.get(kind, key)
        if found is not None:
            return found, "hit"
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(str(locks / f"{kind}-{key[:32]}.lock")):
            found = self.get(kind, key)
            if found is not None:
                return found, "joined"
            return self.put(kind, key, build()), "built"

    def entropy(self, name: str) -> Entropy:
        """256 bits from the operating system, drawn once for `name` and kept until `forget`.

        They key the noise of one private access. Kept on disk (`internal`, mode 600) before the access is charged,
        so that an access that was killed is finished with the same noise instead of being asked again.
        """
        path = self._entropy_path(name)
        make_folder(path.parent, mode=0o700)
        if not path.exists():
            handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{name}.")  # mode 600
            os.close(handle)
            _write(Path(draft), Entropy.fresh().raw.hex().encode())
            try:
                os.link(draft, path)  # whole or not at all, and the first one stays
            except FileExistsError:
                pass
            finally:
                os.unlink(draft)
        sync(path.parent)  # before the charge is: an access that is charged can always be finished
        text = path.read_text()
        if len(text) != 2 * BYTES:  # damaged from outside: nothing was asked with less
            path.unlink()
            return self.entropy(name)
        return Entropy(bytes.fromhex(text))

    def has_entropy(self, name: str) -> bool:
        """Whether an access of that name was begun and not finished, and what it was begun with is whole."""
        path = self._entropy_path(name)
        return path.exists() and len(path.read_text()) == 2 * BYTES

    def keep(self, name: str, raw: bytes) -> None:
        """Keep the checkpoint of the unfinished stage `name` until `forget`, in place of the one before it.

        Written whole or not at all, `internal` (mode 600). Only the builder of a stage writes, so there is one draft.
        """
        path = self._checkpoint_path(name)
        draft = path.parent / f".{path.name}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.touch(mode=0o600)
            _write(draft, raw)
            os.replace(draft, path)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); nothing was lost") from error

    def kept(self, name: str) -> bytes | None:
        """What `keep` wrote last, or None. It may have been damaged since."""
        try:
            return self._checkpoint_path(name).read_bytes()
        except FileNotFoundError:
            return None

    def forget(self, name: str) -> None:
        """Remove the entropy and the checkpoint of `name`, and drafts of them that a killed process left.

        Once the answer is stored, nobody may be able to subtract its noise.
        """
        self._entropy_path(name).unlink(missing_ok=True)
        self._checkpoint_path(name).unlink(missing_ok=True)
        for draft in (self.root / "internal").glob(f".{name}.*"):
            draft.unlink(missing_ok=True)

    def _entropy_path(self, name: str) -> Path:
        return self.root / "internal" / f"{name}.seed"

    def _checkpoint_path(self, name: str) -> Path:
        return self.root / "internal" / f"{name}.checkpoint"


def numpy_state(state: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    """The arrays of a state dict."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}


def torch_state(arrays: Arrays) -> dict[str, torch.Tensor]:
    """A state dict of its own memory: stored arrays may be shared between trials and are read-only."""
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def _write(path: Path, raw: bytes) -> None:
    with path.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
