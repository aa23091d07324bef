"""The file of a ledger: whatever is cut, flipped, lost or swapped in it is harmless or refused."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chains import IDS, fill
from quick import first

from privimage.errors import InputError
from privimage.privacy import chain, file_chain
from privimage.privacy.budget import Event
from privimage.privacy.file_chain import FileChain
from privimage.privacy.ledger import Ledger

Patch = pytest.MonkeyPatch

with tempfile.TemporaryDirectory() as _folder:
    _ledger = Ledger(Path(_folder) / "x.jsonl")
    HEADS: list[bytes | None] = [None]  # after so many lines
    for _id in IDS:
        fill(_ledger, (_id,))
        HEADS.append(_ledger.chain.head.read_bytes())
    RAW = _ledger.path.read_bytes()
    CHARGES = _ledger.charges()
LINES = RAW.splitlines(keepends=True)


@pytest.fixture(params=first(["a process that has verified it", "a process that reads it anew"]))
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


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_without_a_head_a_cut_cannot_be_excluded(read: Callable[..., chain.Found]) -> None:
    for cut in range(len(LINES[0]), len(RAW) + 1):
        assert read(RAW[:cut], None).head == "missing"
    assert read(b"", None).head == "agrees"


@pytest.mark.parametrize("mask", first([0x20, 0x01, 0xFF]))
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


# Faults


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
