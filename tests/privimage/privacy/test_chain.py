"""The file of a ledger: whatever is cut, flipped, lost or killed, nothing that was acted upon is forgotten."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from privimage import disk
from privimage.errors import InputError
from privimage.privacy import chain, file_chain
from privimage.privacy.budget import Event
from privimage.privacy.file_chain import FileChain
from privimage.privacy.ledger import Ledger

QUERY = Event(purpose="query", split="train", sigma=5)
IDS = ("a", "b", "c", "d")
Patch = pytest.MonkeyPatch


def fill(ledger: Ledger, ids: tuple[str, ...] = IDS) -> None:
    for id in ids:
        ledger.charge(id=id, what=f"access {id}, 'é'", events=(QUERY,))


with tempfile.TemporaryDirectory() as _folder:
    _ledger = Ledger(Path(_folder) / "x.jsonl")
    HEADS: list[bytes | None] = [None]  # after so many lines
    for _id in IDS:
        fill(_ledger, (_id,))
        HEADS.append(_ledger.chain.head.read_bytes())
    RAW = _ledger.path.read_bytes()
    CHARGES = _ledger.charges()
LINES = RAW.splitlines(keepends=True)


@pytest.fixture(params=["a process that reads it anew", "a process that has verified it"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., chain.Found]:
    """Reads a ledger of these bytes and this head; the charges that it gives are the first ones of the real ledger."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(RAW)
    assert Ledger(path).charges() == CHARGES
    verified = file_chain._VERIFIED[path.resolve()]

    def answer(raw: bytes, head: bytes | None = HEADS[-1]) -> chain.Found:
        path.write_bytes(raw)
        path.with_suffix(".head").unlink(missing_ok=True)
        if head is not None:
            path.with_suffix(".head").write_bytes(head)
        file_chain._VERIFIED.clear()
        if request.param == "a process that has verified it":
            file_chain._VERIFIED[path.resolve()] = verified
        charges = Ledger(path).charges()
        assert charges == CHARGES[: len(charges)]
        assert path.read_bytes() == raw, "reading writes nothing"
        return Ledger(path).chain.read()

    return answer


def refused(read: Callable[..., chain.Found], raw: bytes, head: bytes | None = HEADS[-1]) -> str:
    with pytest.raises(InputError) as caught:
        read(raw, head)
    assert "x.jsonl" in str(caught.value) or "x.head" in str(caught.value)
    return str(caught.value)


def test_a_cut_at_any_byte_is_seen_by_the_head(read: Callable[..., chain.Found]) -> None:
    for cut in range(len(RAW)):
        assert f"ends before line {len(IDS)}" in refused(read, RAW[:cut])
    assert read(RAW).head == "agrees"


def test_a_cut_that_loses_only_what_the_head_does_not_know_is_a_crash(read: Callable[..., chain.Found]) -> None:
    known = len(b"".join(LINES[:-1]))
    for cut in range(len(RAW)):
        if cut < known:
            assert f"ends before line {len(IDS) - 1}" in refused(read, RAW[:cut], HEADS[-2])
        else:
            assert len(read(RAW[:cut], HEADS[-2]).lines) == len(IDS) - 1
    assert read(RAW, HEADS[-2]).head == "lags"


def test_without_a_head_a_cut_cannot_be_excluded(read: Callable[..., chain.Found]) -> None:
    for cut in range(len(LINES[0]), len(RAW) + 1):
        assert read(RAW[:cut], None).head == "missing"
    assert read(b"", None).head == "agrees"


@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_any_flipped_byte_is_harmless_or_refused(read: Callable[..., chain.Found], mask: int) -> None:
    good = read(RAW)
    for at in range(len(RAW)):
        flipped = RAW[:at] + bytes([RAW[at] ^ mask]) + RAW[at + 1 :]
        try:
            assert read(flipped) == good  # 1e-05 and 1E-05 are the same
        except InputError as error:
            assert "line " in str(error)
    head = HEADS[-1]
    assert head is not None
    for at in range(len(head)):
        try:
            assert read(RAW, head[:at] + bytes([head[at] ^ mask]) + head[at + 1 :]) == good
        except InputError as error:
            assert "x.head" in str(error)


def test_lost_swapped_repeated_and_foreign_lines_are_named(read: Callable[..., chain.Found]) -> None:
    for i in range(len(LINES)):
        assert "line " in refused(read, b"".join(LINES[:i] + LINES[i + 1 :]))
        assert "line " in refused(read, b"".join(LINES[: i + 1] + LINES[i:]))
        assert "line " in refused(read, b"".join([*LINES[:i], b"\n", *LINES[i:]]))
        assert "line " in refused(read, b"".join([*LINES[:i], b"[1]\n", *LINES[i:]]))
        for j in range(i):
            swapped = list(LINES)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            assert f"line {j + 1} " in refused(read, b"".join(swapped))


def test_a_head_of_another_time_or_ledger_is_refused(read: Callable[..., chain.Found], tmp_path: Path) -> None:
    assert "knows of 2 lines only" in refused(read, RAW, HEADS[2])
    assert "damaged" in refused(read, RAW, b'{"lines":0,"hash":""}') and "damaged" in refused(read, RAW, b"")
    other = Ledger(tmp_path / "deep" / "other.jsonl")
    fill(other)
    head = other.chain.head.read_bytes()
    assert "not the one that x.head knows of" in refused(read, RAW, head)
    assert "ends before line 4" in refused(read, b"", head)


def test_a_rewritten_ledger_with_a_chain_of_its_own_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    fill(ledger)
    forged = Ledger(tmp_path / "y.jsonl")
    for id in IDS:
        forged.charge(id=id, what="x", events=(Event(purpose="query", split="train", sigma=50),))
    ledger.path.write_bytes(forged.path.read_bytes())
    with pytest.raises(InputError, match="line 4 is not the one"):
        ledger.charges()
    ledger.path.unlink()
    for act in (ledger.charges, lambda: fill(ledger, ("new",))):
        with pytest.raises(InputError, match="ends before line 4"):
            act()


def test_the_next_charge_puts_a_lagging_or_missing_head_right(tmp_path: Path) -> None:
    for head, before in ((HEADS[-2], "lags"), (None, "missing")):
        ledger = Ledger(tmp_path / f"{before}.jsonl")
        ledger.path.write_bytes(RAW)
        if head is not None:
            ledger.chain.head.write_bytes(head)
        assert ledger.verify() == before
        fill(ledger, IDS[-1:])  # charged before: no line is written, but it may be acted upon now
        assert ledger.path.read_bytes() == RAW and ledger.verify() == "agrees"
        fill(ledger, ("new",))
        assert ledger.verify() == "agrees" and len(ledger.charges()) == len(IDS) + 1


def plain_hash(line: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(line, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def test_a_line_of_a_version_to_come_is_named(tmp_path: Path) -> None:
    found = FileChain(tmp_path / "x.jsonl")
    found.add(lambda state: state.sealed({"kind": "refund", "id": "a"}))
    with pytest.raises(InputError, match="line 1 is none that this version"):
        Ledger(found.path).charges()


# What a machine can do to `charge` at each of its calls of the operating system


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


def test_without_a_head_the_cut_is_not_seen(
    tmp_path: Path, monkeypatch: Patch, read: Callable[..., chain.Found]
) -> None:
    monkeypatch.setattr(FileChain, "_write_draft", lambda self, head: None)
    monkeypatch.setattr(FileChain, "_replace_head", lambda self: None)
    ledger = Ledger(tmp_path / "headless.jsonl")
    fill(ledger)
    head = ledger.chain.head.read_bytes() if ledger.chain.head.exists() else None
    with pytest.raises(pytest.fail.Exception):
        refused(read, b"".join(LINES[:-1]), head)


def test_a_hash_that_leaves_a_field_out_is_seen(monkeypatch: Patch, read: Callable[..., chain.Found]) -> None:
    real = chain.digest
    monkeypatch.setattr(chain, "digest", lambda line: real({k: v for k, v in line.items() if k != "events"}))
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "x.jsonl")
        fill(ledger)
        ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"sigma":5.0', b'"sigma":9.0', 1))
        charges = Ledger(ledger.path).charges()
        assert charges[0].events[0] == Event(purpose="query", split="train", sigma=9), "the fault is planted"
    monkeypatch.undo()
    assert "line 1 " in refused(read, RAW.replace(b'"sigma":5.0', b'"sigma":9.0', 1))
