"""What a machine can do to `charge` at each of its calls of the operating system: nothing acted upon is forgotten."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chains import IDS, fill

from privimage import disk
from privimage.errors import InputError
from privimage.privacy import file_chain
from privimage.privacy.file_chain import FileChain
from privimage.privacy.ledger import Ledger

Patch = pytest.MonkeyPatch


class Killed(BaseException):
    """The process ends here: no handler runs."""


CALLS = ("open", "ftruncate", "write", "fsync", "replace")


def interrupted(patch: Patch, at: int, act: Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]) -> None:
    """Call number `at` to any of CALLS is done by `act(name, real, arguments)` instead, the others by the system."""
    count = 0

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            return act(name, real, arguments) if count == at + 1 else real(*arguments)

        return call

    fake = type("os", (), {"__getattr__": lambda self, name: getattr(os, name)})()
    for name in CALLS:
        setattr(fake, name, wrap(name, getattr(os, name)))
    for module in (file_chain, disk):  # of these modules only: the lock is the system's business
        patch.setattr(module, "os", fake)


def kill_before(name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    raise Killed


def kill_after(name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    if name == "write":
        arguments = (arguments[0], arguments[1][: len(arguments[1]) // 2])
    real(*arguments)
    raise Killed


def no_space(name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half_then_no_space(name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return kill_after_write_only(real, arguments) if name == "write" else no_space(name, real, arguments)


def kill_after_write_only(real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def moments(
    folder: Path, act: Callable[..., Any], error: type[BaseException], *, begun: int
) -> Iterator[tuple[Ledger, list[str]]]:
    """A ledger of `begun` charges in which the next was interrupted at every moment, and what was acted upon."""
    for at in range(200):
        ledger, acted = Ledger(folder / str(at) / "deep" / "x.jsonl"), list(IDS[:begun])
        fill(ledger, tuple(acted))
        with pytest.MonkeyPatch.context() as patch:
            interrupted(patch, at, act)
            try:
                fill(ledger, ("next",))
                acted.append("next")
            except error as caught:
                assert error is Killed or "cannot be written (No space left on device)" in str(caught)
        yield Ledger(ledger.path), acted
        if "next" in acted:
            assert at > 8, "nothing was interrupted"
            return
    raise AssertionError("never finished")


def counts_everything(ledger: Ledger, acted: list[str]) -> list[str]:
    ids = [charge.id for charge in ledger.charges()]
    assert ids[: len(acted)] == acted, "the ledger forgot what was acted upon"
    assert ids[len(acted) :] in ([], ["next"])
    return ids


def goes_on(ledger: Ledger, acted: list[str]) -> None:
    fill(ledger, ("next", "more"))
    done = [id for id in acted if id != "next"]
    assert [charge.id for charge in ledger.charges()] == [*done, "next", "more"] and ledger.verify() == "agrees"


@pytest.mark.parametrize("begun", [0, 1, 3])
@pytest.mark.parametrize("act", [kill_before, kill_after])
def test_killed_at_any_call_nothing_is_forgotten_or_charged_twice(
    tmp_path: Path, act: Callable[..., Any], begun: int
) -> None:
    for ledger, acted in moments(tmp_path, act, Killed, begun=begun):
        counts_everything(ledger, acted)
        goes_on(ledger, acted)


@pytest.mark.parametrize("begun", [0, 2])
@pytest.mark.parametrize("act", [no_space, half_then_no_space])
def test_a_full_disk_is_one_line_and_charges_nothing_half(tmp_path: Path, act: Callable[..., Any], begun: int) -> None:
    kept = 0
    for ledger, acted in moments(tmp_path, act, InputError, begun=begun):
        raw = ledger.path.read_bytes() if ledger.path.exists() else b""
        assert raw == b"" or raw.endswith(b"\n"), "a torn line was left"
        kept += counts_everything(ledger, acted) != acted
        goes_on(ledger, acted)
    assert kept <= 3, "only while the head is replaced does a refused charge stay"


def test_a_line_that_is_written_byte_by_byte_arrives_whole(tmp_path: Path, monkeypatch: Patch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, raw: real(handle, raw[:1]))
    ledger = Ledger(tmp_path / "x.jsonl")
    fill(ledger)
    assert [charge.id for charge in ledger.charges()] == list(IDS)


@pytest.mark.parametrize("room", [0, 20])
def test_a_real_limit_on_the_file(tmp_path: Path, room: int) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    fill(ledger)
    before = ledger.path.read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, old[1]))
        with pytest.raises(InputError, match="cannot be written") as caught:
            fill(ledger, ("next",))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in str(caught.value) and ledger.path.read_bytes() == before and ledger.verify() == "agrees"


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        fill(Ledger(tmp_path / "file" / "x.jsonl"))
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        Ledger(tmp_path / "x.jsonl").charges()


class Disk:
    """What a power cut leaves: of every file what it held when it was last synced, by the folder's synced entries."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content: dict[int, bytes] = {}  # inode -> bytes on disk
        self.entries: dict[Path, dict[str, int]] = {}  # folder -> name -> inode on disk

    def sync(self, handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.is_dir():
            self.entries[path] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            self.content[os.fstat(handle).st_ino] = path.read_bytes()

    def cut(self, to: Path, *, every_entry: bool) -> None:
        """Write to the folder `to` what is left; `every_entry`: names were on disk before anybody asked for it."""
        for folder in [self.root, *(p for p in self.root.rglob("*") if p.is_dir())]:
            now = {entry.name: entry.inode() for entry in os.scandir(folder)}
            known = now if every_entry else self.entries.get(folder, {})
            for name, inode in known.items():
                if not (folder / name).is_dir():
                    copy = to / folder.relative_to(self.root) / name
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_bytes(self.content.get(inode, b""))


@pytest.mark.parametrize("every_entry", [False, True])
def test_a_power_cut_at_any_call_forgets_nothing_that_was_acted_upon(tmp_path: Path, every_entry: bool) -> None:
    check_power_cuts(tmp_path, every_entry=every_entry)


def check_power_cuts(tmp_path: Path, *, every_entry: bool) -> None:
    for at in range(200):
        root, left = tmp_path / f"{at}", tmp_path / f"{at}-left"
        root.mkdir(parents=True)
        disk, acted = Disk(root), []
        real = file_chain.os.fsync
        with pytest.MonkeyPatch.context() as patch:
            interrupted(patch, at, kill_after)
            inner = file_chain.os.fsync

            def sync(handle: int, inner: Any = inner, disk: Disk = disk) -> None:
                inner(handle)
                disk.sync(handle)

            file_chain.os.fsync = sync  # type: ignore[assignment]
            try:
                for id in IDS[:3]:
                    fill(Ledger(root / "deep" / "x.jsonl"), (id,))
                    acted.append(id)
            except Killed:
                pass
            finished = len(acted) == 3
        assert os.fsync is real
        left.mkdir()
        disk.cut(left, every_entry=every_entry)
        ledger = Ledger(left / "deep" / "x.jsonl")
        ids = [charge.id for charge in ledger.charges()]
        assert ids[: len(acted)] == acted and len(ids) <= len(acted) + 1, (at, acted, ids)
        fill(ledger)
        assert [charge.id for charge in ledger.charges()] == list(IDS)
        shutil.rmtree(root)
        if finished:
            return
    raise AssertionError("never finished")


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from privimage.privacy.budget import Event
from privimage.privacy.ledger import Ledger
ledger, acted = Path(sys.argv[1]), Path(sys.argv[2])
for life in range(12):
    begun, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, b".")
        for i in range(1000):
            Ledger(ledger).charge(id=f"{life}-{i}", what="x", events=(Event(purpose="query", split="train", sigma=5),))
            with acted.open("a") as file:
                file.write(f"{life}-{i}\\n")
    os.read(begun, 1)
    time.sleep(random.uniform(0.0, 0.15))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_killed_for_real_again_and_again(tmp_path: Path) -> None:
    ledger, acted = Ledger(tmp_path / "deep" / "x.jsonl"), tmp_path / "acted"
    arguments = [sys.executable, "-c", KILLED, str(ledger.path), str(acted)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    ids = [charge.id for charge in ledger.charges()]
    known = acted.read_text().splitlines()
    assert len(known) > 8 and len(set(ids)) == len(ids)
    assert set(known) <= set(ids) and len(ids) <= len(known) + 12  # one a life may be charged and not acted upon
    assert ledger.verify() in ("agrees", "lags")


# Faults


def no_sync_of_the_line(patch: Patch) -> None:
    real = file_chain._write

    def write(path: Path, raw: bytes, *, at: int) -> None:
        if path.suffix == ".jsonl":
            with path.open("ab") as file:
                file.write(raw)
        else:
            real(path, raw, at=at)

    patch.setattr(file_chain, "_write", write)


def no_sync_of_the_folder(patch: Patch) -> None:
    patch.setattr(file_chain, "sync", lambda path: None)
    patch.setattr(disk, "sync", lambda path: None)


def the_head_comes_first(patch: Patch) -> None:
    real = FileChain._write_draft
    patch.setattr(
        FileChain, "_write_draft", lambda self, head: (real(self, head), self._replace_head(), real(self, head))
    )


@pytest.mark.parametrize("fault", [no_sync_of_the_line, no_sync_of_the_folder, the_head_comes_first])
def test_the_power_cut_sees_the_fault(tmp_path: Path, monkeypatch: Patch, fault: Callable[[Patch], None]) -> None:
    fault(monkeypatch)
    with pytest.raises((AssertionError, InputError)):
        for every_entry in (False, True):
            check_power_cuts(tmp_path / str(every_entry), every_entry=every_entry)
