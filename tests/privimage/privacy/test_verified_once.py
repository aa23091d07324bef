"""What a charge costs: lines that were verified before are compared, not parsed. None that was changed is believed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from privimage.errors import InputError
from privimage.privacy import book, chain, file_chain
from privimage.privacy.accounting.costs import AnyOf
from privimage.privacy.budget import Event
from privimage.privacy.entries import ENTRY, Line
from privimage.privacy.file_chain import FileChain, Prefix
from privimage.privacy.ledger import Ledger

SGD = Event(purpose="dp-sgd", split="train", sigma=2, q=0.25, steps=10)
MANY = 40


def charge(path: Path, number: int) -> None:
    """As a trial does it: with a ledger of its own, which is asked before, and by every stage after."""
    ledger = Ledger(path, under="bill")
    assert not ledger.charged(f"id-{number}")
    assert ledger.charge(id=f"id-{number}", what="training", events=(SGD,))
    assert ledger.holds(ledger.receipt(id=f"id-{number}", what="training", events=(SGD,)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with a bill and some charges, made by this process."""
    file = tmp_path / "x.jsonl"
    Ledger(file).reserve(id="bill", what="sweep", events=(AnyOf(events=(SGD,), times=10 * MANY),))
    for number in range(10):
        charge(file, number)
    return file


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many lines were verified and how many parsed since this was asked for."""
    done = {"verified": 0, "parsed": 0}
    follows, entry = chain._follows, book.Book._entry

    def counted_follows(line: chain.RawLine, number: int, previous: str) -> bool:
        done["verified"] += 1
        return follows(line, number, previous)

    def counted_entry(self: book.Book, number: int, line: chain.RawLine) -> Line:
        done["parsed"] += 1
        return entry(self, number, line)

    monkeypatch.setattr(chain, "_follows", counted_follows)
    monkeypatch.setattr(book.Book, "_entry", counted_entry)
    return done


def test_a_charge_parses_what_was_added_and_nothing_twice(path: Path, work: dict[str, int]) -> None:
    for number in range(10, 10 + MANY):
        charge(path, number)
    assert work == {"verified": MANY, "parsed": MANY}, "one line a charge, however long the ledger is"


def test_lines_of_another_process_are_verified(path: Path, work: dict[str, int], tmp_path: Path) -> None:
    known = dict(file_chain._VERIFIED)
    charge(path, 10)
    file_chain._VERIFIED.clear()
    file_chain._VERIFIED.update(known)  # as if another process had written it
    Ledger(path).lines()
    assert work["verified"] == 2
    path.write_bytes(path.read_bytes().replace(b'"id":"id-10"', b'"id":"id-99"'))
    file_chain._VERIFIED.clear()
    file_chain._VERIFIED.update(known)
    with pytest.raises(InputError, match="line 12 breaks the hash chain"):
        Ledger(path).charge(id="another", what="training", events=(SGD,))


def quieter(raw: bytes) -> bytes:
    """An early charge that costs less than it did: as many bytes as before."""
    return raw.replace(b'"sigma":2.0', b'"sigma":9.0', 2)


def shorter(raw: bytes) -> bytes:
    """Without the last two lines."""
    return b"".join(raw.splitlines(keepends=True)[:-2])


def without_one(raw: bytes) -> bytes:
    """Without an early line."""
    found = raw.splitlines(keepends=True)
    return b"".join(found[:3] + found[4:])


@pytest.mark.parametrize("change", [quieter, shorter, without_one])
def test_an_earlier_line_that_is_changed_between_two_charges_is_refused(
    path: Path, change: Callable[[bytes], bytes]
) -> None:
    before, raw = path.stat(), path.read_bytes()
    path.write_bytes(change(raw))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the time of a file proves nothing
    assert path.stat().st_ino == before.st_ino and path.read_bytes() != raw
    for ask in (
        lambda: Ledger(path, under="bill").charge(id="next", what="training", events=(SGD,)),
        lambda: Ledger(path).charged("id-1"),
        lambda: Ledger(path).verify(),
    ):
        with pytest.raises(InputError, match="line "):
            ask()
    path.write_bytes(raw)
    charge(path, 10)  # restored from a backup, it goes on
    assert [found.id for found in Ledger(path).charges()] == [f"id-{i}" for i in range(11)]


def test_a_look_that_believes_what_it_knows_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(self: FileChain, whole: bytes) -> tuple[chain.RawLine, ...]:
        known = file_chain._VERIFIED.get(self._real, Prefix())
        return chain.verified(whole[len(known.raw) :].split(b"\n")[:-1], name="", after=known.lines)

    monkeypatch.setattr(FileChain, "_verified", trusting)
    path.write_bytes(quieter(path.read_bytes()))
    assert Ledger(path).charged("id-1"), "the fault is planted: nothing is refused"


def test_a_ledger_that_is_another_one_is_parsed_anew(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "x.jsonl"
    for number in range(14):
        Ledger(other).charge(id=f"other-{number}", what="training", events=(SGD,))
    for file in (path, path.with_suffix(".head")):
        file.write_bytes((other.parent / file.name).read_bytes())
    assert [found.id for found in Ledger(path).charges()] == [f"other-{i}" for i in range(14)]
    assert all(
        ENTRY.validate_python(line) == found
        for line, found in zip(FileChain(path).read().lines, Ledger(path).lines(), strict=True)
    )
