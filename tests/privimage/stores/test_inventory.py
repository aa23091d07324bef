"""What a store holds, whether it is whole, and what goes where room is short: never what was paid for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privimage.bucket import Bucket
from privimage.disk import exclusive
from privimage.paths import Root
from privimage.privacy.budget import Event
from privimage.pull import made
from privimage.stores import inventory
from privimage.stores.file import FileStore
from privimage.stores.inventory import AGAIN, RESTORE
from privimage.stores.manifest import Manifest
from privimage.stores.mirrored import MirroredStore
from privimage.stores.open import open_store
from privimage.stores.store import Built

Command = Callable[..., tuple[int, str, str]]
EVENT = Event(purpose="query", split="train", sigma=5)
KINDS = {"old": "public", "new": "public", "released": "released", "internal": "internal", "asked": "public"}


def fill(store: Any) -> None:
    """Two public ones, and three that may not go; each of a kind of its own, used in this order."""
    for number, (kind, privacy) in enumerate(KINDS.items()):
        events = (EVENT,) if kind in ("released", "asked") else ()
        arrays = {"x": np.full(4000, number, np.float64)}
        store.put(kind, kind[0] * 64, Built(arrays=arrays, privacy=privacy, events=events))  # type: ignore[arg-type]
        for path in store.folder(kind, kind[0] * 64).iterdir():
            os.utime(path, (1e9 + number, 1e9))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fill(FileStore(tmp_path / "runs" / "store"))
    return tmp_path / "runs"


def kinds(store: Any) -> list[str]:
    return sorted(item.manifest.kind for item in inventory.items(store))


def damage(store: FileStore, kind: str, file: str = "arrays.safetensors") -> None:
    path = store.folder(kind, kind[0] * 64) / file
    path.write_bytes(path.read_bytes()[:-2] + b"xy")


def test_ls_counts_by_kind_and_class(privimage: Command, root: Path) -> None:
    code, out, _ = privimage("cache", "ls", root)
    words = " ".join(out.split())
    assert code == 0 and "5 artefacts, 0.2 MiB" in words
    for kind, privacy in KINDS.items():
        assert any(kind in line and privacy in line for line in out.splitlines())
    (total,) = (one for one in inventory.totals(list(inventory.items(FileStore(root / "store")))) if one.kind == "new")
    assert (total.count, total.made, total.used) == (1, 1e9, 1e9 + 1) and total.bytes > 32000


def test_verify_names_the_damaged_with_the_fix(privimage: Command, root: Path) -> None:
    used = [item.used for item in inventory.items(FileStore(root / "store"))]
    assert privimage("cache", "verify", root)[0] == 0
    assert [item.used for item in inventory.items(FileStore(root / "store"))] == used, "to check it is no use of it"
    store = FileStore(root / "store")
    damage(store, "old")
    damage(store, "released")
    damage(store, "internal", "manifest.json")
    code, out, err = privimage("cache", "verify", root)
    said = err.splitlines()
    assert code == 1 and "5 artefacts, 3 of them damaged" in " ".join(out.split()) and len(said) == 3
    fixes = {kind: next(line for line in said if f"/{kind}/" in line) for kind in ("old", "released", "internal")}
    assert AGAIN in fixes["old"] and RESTORE in fixes["released"] and RESTORE in fixes["internal"]
    (store.folder("new", "n" * 64) / "arrays.safetensors").unlink()
    assert len(inventory.verify(store)[1]) == 4


def never_what_was_paid_for(store: FileStore) -> None:
    inventory.remove(store, inventory.unneeded(store, to=0))
    assert kinds(store) == ["asked", "internal", "released"]
    for kind in kinds(store):
        assert store.get(kind, kind[0] * 64) is not None


def test_never_what_was_paid_for(root: Path) -> None:
    never_what_was_paid_for(FileStore(root / "store"))


def test_one_that_goes_would_be_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Manifest, "paid", property(lambda self: self.privacy == "internal"))
    with pytest.raises(AssertionError):
        never_what_was_paid_for(FileStore(root / "store"))


def test_gc_removes_the_least_recently_used_only_when_told(privimage: Command, root: Path) -> None:
    store = FileStore(root / "store")
    size = sum(item.bytes for item in inventory.items(store))
    code, out, _ = privimage("cache", "gc", root, "--to", f"{size - 1}")
    assert code == 0 and "old/oooo" in out and "new/" not in out and "would remove" in out and len(kinds(store)) == 5
    code, out, _ = privimage("cache", "gc", root, "--to", f"{size - 1}", "--yes")
    assert (
        code == 0 and "removed 1 artefact, 0.0 MiB" in out and kinds(store) == ["asked", "internal", "new", "released"]
    )
    assert not [path for path in (root / "store").rglob(".draft*")]
    code, out, _ = privimage("cache", "gc", root, "--to", "1K", "--yes")
    assert code == 0 and "stay, more than 1K" in out and kinds(store) == ["asked", "internal", "released"]
    assert "removed 0 artefacts, 0.0 MiB" in privimage("cache", "gc", root, "--to", "1G", "--yes")[1]


def test_what_an_unfinished_access_needs_stays_and_so_does_what_is_locked(root: Path) -> None:
    store = FileStore(root / "store")
    seed = store.entropy("old-" + "o" * 64)
    store.keep("old-" + "o" * 64, b"checkpoint")
    with exclusive(store.lock_of("old", "o" * 64)):
        inventory.remove(store, inventory.unneeded(store, to=0))
    assert kinds(store) == ["asked", "internal", "old", "released"]
    assert store.entropy("old-" + "o" * 64) == seed and store.kept("old-" + "o" * 64) == b"checkpoint"


def test_of_a_bucket_any_copy_may_go(bucket_url: str, tmp_path: Path, privimage: Command) -> None:
    root = Root(path=made(bucket_url, at=tmp_path / "here"))
    store = open_store(root.store)
    assert isinstance(store, FileStore)
    fill(store)
    damage(store, "released")
    code, _, err = privimage("cache", "verify", root.path)
    assert code == 1 and "a copy of what the bucket has" in " ".join(err.split())
    assert privimage("cache", "gc", root.path, "--to", "0", "--yes")[0] == 0
    assert kinds(store) == []
    assert all(store.get(kind, kind[0] * 64) is not None for kind in KINDS)
    assert inventory.verify(store) == (5, [])


def test_what_stays_of_copies_is_said(bucket_url: str, tmp_path: Path, privimage: Command) -> None:
    root = Root(path=made(bucket_url, at=tmp_path / "here"))
    fill(open_store(root.store))
    bucket = Bucket.open(bucket_url)
    for name in [name for name in bucket.names() if "/released/" in name]:
        bucket.delete(name)
    code, out, _ = privimage("cache", "gc", root.path, "--to", "0", "--yes")
    assert code == 0 and "MiB stay, more than 0: what the bucket has lost stays" in " ".join(out.split())


def a_last_copy_stays(bucket_url: str, folder: Path) -> None:
    """What the bucket has lost may be the only answer that was paid for."""
    store = open_store(Root(path=made(bucket_url, at=folder)).store)
    assert isinstance(store, FileStore)
    fill(store)
    bucket = Bucket.open(bucket_url)
    for of, ends in (("released", "manifest.json"), ("asked", ".safetensors")):
        (name,) = (name for name in bucket.names() if f"/{of}/" in name and name.endswith(ends))
        bucket.delete(name)
    gone = inventory.remove(store, inventory.unneeded(store, to=0))
    assert sorted(item.manifest.kind for item in gone) == ["internal", "new", "old"]
    assert kinds(store) == ["asked", "released"]


def test_a_last_copy_stays(bucket_url: str, tmp_path: Path) -> None:
    a_last_copy_stays(bucket_url, tmp_path / "here")


def test_a_last_copy_that_goes_is_seen(bucket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MirroredStore, "is_replaceable", lambda self, manifest: True)
    with pytest.raises(AssertionError):
        a_last_copy_stays(bucket_url, tmp_path / "here")


def test_what_another_process_removes_meanwhile_is_not_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, iterdir = FileStore(root / "store"), Path.iterdir

    def overtaken(self: Path) -> Iterator[Path]:
        if self.parent.name == "old":
            shutil.rmtree(self)
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", overtaken)
    assert kinds(store) == ["asked", "internal", "new", "released"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ls", "nowhere"), "has no store"),
        (("gc", "runs", "--to", "many"), "--to: got 'many'"),
        (("gc", "runs", "--to", "20,5G"), "--to: got '20,5G'; expected a size"),
        (("gc", "runs", "--to", "\u06635G"), "--to: got '\u06635G'; expected a size"),
        (("gc", "runs", "--to", "1.5.5G"), "--to: got '1.5.5G'; expected a size"),
        (("ls", "a-file"), "ROOT: got 'a-file'"),
        (("verify", "https://x/y"), "ROOT: got 'https://x/y'"),
    ],
)
def test_what_is_wrong_is_one_line(
    privimage: Command, root: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(root.parent)
    Path("a-file").touch()
    code, _, err = privimage("cache", *words)
    assert code == 2 and says in err and err.count("\n") == 1
