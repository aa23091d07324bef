"""Any file of a store damaged in any way: no paid answer is lost by us, asked again, or silently another one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage import disk
from privimage.errors import Damaged, InputError, LostAnswer
from privimage.privacy.budget import Event
from privimage.privacy.ledger import Ledger
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.stores.store import Artefact, Built
from privimage.workers import Workers

EVENT = Event(purpose="query", split="train", sigma=5)
PRIVATE, PUBLIC = "histogram", "pretrained"


class Lab:
    """One paid answer and one that follows from it, and how often each was computed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = {PRIVATE: 0, PUBLIC: 0}

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.root / "ledger.jsonl")

    def built(self, kind: str) -> Built:
        self.calls[kind] += 1
        value = {PRIVATE: 7.0, PUBLIC: 8.0}[kind]
        return Built(arrays={"a": np.full(3, value)}, privacy="released", events=(EVENT,))

    def ask(self, kind: str, x: int = 0) -> Artefact:
        store = FileStore(self.root)
        stages = Stages(workers=Workers.alone(), store=store, cache=store, ledger=self.ledger)
        if kind == PRIVATE:
            return stages.private(
                kind, {"x": x}, what="query", events=(EVENT,), build=lambda entropy, progress: self.built(kind)
            )
        stages.private(PRIVATE, {"x": x}, what="query", events=(EVENT,), build=lambda *_: self.built(PRIVATE))
        return stages.public(kind, {"x": x}, lambda progress: self.built(kind))

    def files(self) -> list[Path]:
        return sorted(path for path in (self.root / "artefacts").rglob("*") if path.is_file())

    def all_bytes(self) -> list[bytes]:
        return sorted(path.read_bytes() for path in self.root.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    Lab(root).ask(PUBLIC)
    return root


@contextlib.contextmanager
def copied(whole: Path) -> Iterator[Lab]:
    root = whole.with_name(f"{whole.name}-copy")
    shutil.copytree(whole, root)
    try:
        yield Lab(root)
    finally:
        shutil.rmtree(root)


def truncate(path: Path, at: float) -> None:
    path.write_bytes(path.read_bytes()[: int(at * path.stat().st_size)])


def flip(path: Path, at: float) -> None:
    raw = bytearray(path.read_bytes())
    place = int(at * len(raw) * 8)
    raw[place // 8] ^= 1 << place % 8
    path.write_bytes(raw)


def nul(path: Path, at: float) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(at * len(raw))] + bytes(len(raw) - int(at * len(raw))))


def grow(path: Path, at: float) -> None:
    path.write_bytes(path.read_bytes() + b"{}")


def remove(path: Path, at: float) -> None:
    path.unlink()


def become_a_folder(path: Path, at: float) -> None:
    path.unlink()
    path.mkdir()


def lead_nowhere(path: Path, at: float) -> None:
    path.unlink()
    path.symlink_to("nowhere")


HARM = (truncate, flip, nul, grow, remove, become_a_folder, lead_nowhere)


@pytest.mark.thorough
@given(which=st.integers(0, 3), harm=st.sampled_from(HARM), at=st.floats(0, 1, exclude_max=True))
@settings(max_examples=150, deadline=None)
def test_any_damage_to_any_file(whole: Path, which: int, harm: Callable[[Path, float], None], at: float) -> None:
    with copied(whole) as lab:
        path = lab.files()[which]
        harm(path, at)
        left = [file.read_bytes() for file in lab.files()]
        for kind, value in ((PRIVATE, 7.0), (PUBLIC, 8.0)):
            try:
                answer = lab.ask(kind)
            except (LostAnswer, InputError) as error:
                assert PRIVATE in str(error) and "\n" not in str(error) and "remove" not in str(error)
                assert path.parents[1].name == PRIVATE
            else:
                assert (answer.arrays["a"] == value).all(), "never another answer"
                assert answer.manifest.kind == kind
        assert lab.calls[PRIVATE] == 0 and len(lab.ledger.charges()) == 1, "never asked again"
        kept = lab.all_bytes()
        assert all(raw in kept for raw in left), "nothing that was found is gone"


def test_a_folder_whose_manifest_is_missing_keeps_its_arrays(whole: Path) -> None:
    with copied(whole) as lab:
        (folder,) = (lab.root / "artefacts" / PRIVATE).iterdir()
        (folder / "manifest.json").unlink()
        with pytest.raises(LostAnswer, match="restore it from a backup"):
            lab.ask(PRIVATE)
        assert (folder / "arrays.safetensors").stat().st_size > 0


@pytest.mark.parametrize("taken", ["folder", "arrays", "manifest"])
def test_the_answer_of_another_trial_in_its_place_is_refused(tmp_path: Path, taken: str) -> None:
    lab = Lab(tmp_path)
    mine, other = (FileStore(tmp_path).folder(PRIVATE, lab.ask(PRIVATE, x).manifest.key) for x in (0, 1))
    if taken == "folder":
        shutil.rmtree(mine)
        shutil.copytree(other, mine)
    elif taken == "arrays":
        raw = bytearray((other / "arrays.safetensors").read_bytes())
        raw[-1] ^= 1
        (mine / "arrays.safetensors").write_bytes(raw)
    else:
        shutil.copy(other / "manifest.json", mine)
    with pytest.raises(LostAnswer):
        lab.ask(PRIVATE, 0)
    assert lab.calls[PRIVATE] == 2 and lab.ask(PRIVATE, 1).manifest.key == other.name


def test_what_is_damaged_and_free_is_set_aside_and_made_again(whole: Path) -> None:
    with copied(whole) as lab:
        (folder,) = (lab.root / "artefacts" / PUBLIC).iterdir()
        flip(folder / "arrays.safetensors", 0.99)
        damaged = (folder / "arrays.safetensors").read_bytes()
        with pytest.raises(Damaged):
            FileStore(lab.root).get(PUBLIC, folder.name)
        lab.ask(PUBLIC)
        assert lab.calls == {PRIVATE: 0, PUBLIC: 1} and damaged in lab.all_bytes()


# ---- entropy


@given(harm=st.sampled_from(HARM[:5]), at=st.floats(0, 1, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_entropy_that_is_damaged_is_never_taken_for_other_entropy(
    tmp_path_factory: pytest.TempPathFactory, harm: Callable[[Path, float], None], at: float
) -> None:
    store = FileStore(tmp_path_factory.mktemp("entropy"))
    drawn = store.entropy("name")
    harm(store.root / "internal" / "name.seed", at)
    assert not store.has_entropy("name") or store.entropy("name") == drawn


def test_a_charged_access_with_damaged_entropy_is_lost(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.built = lambda kind: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        lab.ask(PRIVATE)
    (seed,) = (tmp_path / "internal").iterdir()
    flip(seed, 0.3)
    with pytest.raises(LostAnswer):
        lab.ask(PRIVATE)


# ---- a full disk, a store that may only be read


def full_disk(path: Path, raw: bytes) -> None:
    path.write_bytes(raw[: len(raw) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@pytest.mark.parametrize("write", range(3))  # entropy, arrays, manifest
def test_a_full_disk_at_every_write_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int) -> None:
    lab, real, seen = Lab(tmp_path), disk.write, []

    def failing(path: Path, raw: bytes) -> None:
        seen.append(path)
        (full_disk if len(seen) - 1 == write else real)(path, raw)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", failing)
        with pytest.raises(InputError, match="No space left on device"):
            lab.ask(PRIVATE)
    assert not list(tmp_path.rglob(".draft-*"))
    assert (lab.ask(PRIVATE).arrays["a"] == 7).all() and len(lab.ledger.charges()) == 1


def test_a_store_that_may_only_be_read_gives_what_it_has(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with copied(whole) as lab:
        lab.ask(PUBLIC)
        real = os.open

        def read_only(path: object, flags: int, *rest: int, **named: object) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(path).startswith(str(lab.root)):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real(path, flags, *rest, **named)  # type: ignore[arg-type]

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr(os, "open", read_only)
        for name in ("mkdir", "unlink", "rename", "replace", "link"):
            monkeypatch.setattr(os, name, refuse)
        assert (lab.ask(PUBLIC).arrays["a"] == 8).all()
        with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"):
            lab.ask(PRIVATE, x=1)
        monkeypatch.undo()
        assert lab.calls == {PRIVATE: 0, PUBLIC: 0}


# ---- drafts of killed writers


def test_drafts_of_killed_writers_go_and_those_in_use_stay(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put("kind", "dead", Built(arrays={"a": np.ones(1)}, privacy="public"))
    for key in ("dead", "alive"):
        (tmp_path / "artefacts" / "kind" / f".draft-{key}-x1").mkdir()
    for name, age in ((".seed.a1", 7200), (".seed.b2", 1)):
        path = tmp_path / "internal" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    (tmp_path / "locks" / "kind-old.lock").touch()
    with disk.exclusive(tmp_path / "locks" / "kind-alive.lock"):
        assert store.tidy() == 2
        assert (tmp_path / "artefacts" / "kind" / ".draft-alive-x1").exists()
    assert store.tidy() == 1 and store.get("kind", "dead") is not None
    assert [path.name for path in (tmp_path / "internal").iterdir()] == [".seed.b2"]
    assert not list((tmp_path / "locks").iterdir())


def test_what_an_answer_was_begun_with_goes_once_it_is_stored_and_not_before(tmp_path: Path) -> None:
    """Killed between the two, and never run again: its noise could be taken off for ever."""
    store = FileStore(tmp_path)
    store.put("kind", "stored", Built(arrays={"a": np.ones(1)}, privacy="released"))
    store.put("kind", "damaged", Built(arrays={"a": np.ones(1)}, privacy="released"))
    (store.folder("kind", "damaged") / "arrays.safetensors").write_bytes(b"")
    begun = {name: store.entropy(name) for name in ("kind-stored", "kind-begun", "kind-damaged", "trials-x")}
    store.tidy()
    assert not store.has_entropy("kind-stored")
    for name in ("kind-begun", "kind-damaged", "trials-x"):
        assert store.entropy(name) == begun[name]


def test_a_lock_leaves_no_file_and_is_held_by_one(tmp_path: Path) -> None:
    import threading

    path, inside, most = tmp_path / "x.lock", [0], [0]

    def work() -> None:
        for _ in range(200):
            with disk.exclusive(path):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and not path.exists()
    with disk.exclusive(path), disk.exclusive(path, wait=False) as second:
        assert not second
