"""The commands on a ledger, as a data officer uses them: one line for what cannot be, exit code 2."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from privimage.errors import InputError
from privimage.privacy import statement
from privimage.privacy.accounting.costs import BestOf
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Event
from privimage.privacy.ledger import Ledger
from privimage.privacy.looks import Look

Answer = tuple[int, str, str]
Command = Callable[..., Answer]
QUERY = Event(purpose="query", split="train", sigma=5)
SGD = Event(purpose="dp-sgd", split="train", sigma=2, q=0.25, steps=16)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    found = Ledger(tmp_path / "runs" / "ledgers" / "digits-v1.jsonl")
    found.charge(id="q", what="semantic query [/b] of digits", events=(QUERY,))
    score = Event(purpose="score", split="validation", sigma=30)
    found.charge(id="s", what="selection", events=(BestOf(law=Law(mean=10), events=(SGD,), score=score),))
    found.look(Look(split="train", what="row real"))
    return found


def in_one_line(answer: Answer, *says: str) -> None:
    code, out, err = answer
    assert code == 2 and out == "" and err.startswith("privimage: ") and err.count("\n") == 1, answer
    for words in says:
        assert words in err


def test_show_says_everything_in_plain_words(privimage: Command, ledger: Ledger) -> None:
    code, out, _ = privimage("ledger", "show", ledger.path)
    assert code == 0 and "semantic query [/b] of digits" in out and "NOT PRIVATE" in out
    assert "best of K ~ logarithmic law with mean 10" in out.replace("\n", " ")
    value, why = statement.total(ledger.lines(), 1e-5)
    assert f"Epsilon {statement.epsilon(value)} at delta 1e-05 is spent: {why}." in out
    assert out.count("psilon") == 2, "one epsilon, and that the looks have none"
    assert (
        f"epsilon {statement.epsilon(ledger.epsilon(1e-5))}" in privimage("ledger", "show", ledger.path, "--details")[1]
    )
    assert "No cap is set" in out and "Looks without noise: 1 (1 train split), not covered by any epsilon." in out
    _, out, _ = privimage("ledger", "show", ledger.path, "--delta", "1e-6")
    assert f"Epsilon {statement.epsilon(statement.total(ledger.lines(), 1e-6)[0])} at delta 1e-06" in out
    in_one_line(privimage("ledger", "show", ledger.path, "--delta", "2"), "--delta", "got 2")


def test_a_cap_is_set_shown_and_kept(privimage: Command, ledger: Ledger) -> None:
    cap = ("ledger", "cap", ledger.path, "--epsilon", "20", "--delta", "1e-6")
    assert "(epsilon 20, delta 1e-06) is set" in privimage(*cap)[1]
    before = ledger.path.read_bytes()
    assert "was set before" in privimage(*cap)[1] and ledger.path.read_bytes() == before
    in_one_line(privimage(*cap[:-1], "1e-5"), "epsilon 20, delta 1e-06", "for the lifetime of the set")
    ledger.reserve(id="sweep-1", what="sweep demo", events=(SGD,))
    _, out, _ = privimage("ledger", "show", ledger.path)
    assert "CAP (epsilon 20, delta 1e-06)" in out and "RESERVED sweep-1" in out and "held for 'sweep demo'" in out
    value, _ = statement.total(ledger.lines(), 1e-6)
    assert f"Epsilon {statement.epsilon(value)} at delta 1e-06 is spent of the cap's 20" in out, "the delta of the cap"
    _, out, _ = privimage("ledger", "verify", ledger.path)
    assert "5 lines, 2 of them charges; chain intact, and the head knows of all" in out and "is kept" in out


def test_looks_can_be_refused_for_ever(privimage: Command, ledger: Ledger) -> None:
    cap = ("ledger", "cap", ledger.path, "--epsilon", "40", "--delta", "1e-5")
    assert privimage(*cap)[0] == 0
    assert "are refused from now on" in privimage(*cap, "--no-diagnostics")[1]
    assert "were refused before" in privimage(*cap, "--no-diagnostics")[1]
    assert "No further look without noise is admitted." in privimage("ledger", "show", ledger.path)[1]
    before = ledger.path.read_bytes()
    for look in (Look(split="train", what="row real"), Look(split="test", what="fid[inception]")):
        with pytest.raises(InputError, match=r"without noise.*--no-diagnostics.*dp-accuracy.*drop the rows"):
            ledger.look(look)
    assert ledger.path.read_bytes() == before, "also what was looked at before"


def test_a_cap_before_the_first_run_makes_the_ledger(privimage: Command, tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledgers" / "x.jsonl"
    assert privimage("ledger", "cap", path, "--epsilon", "1", "--delta", "1e-5")[0] == 0
    assert Ledger(path).verify() == "agrees" and Ledger(path).charges() == []
    other = path.with_name("y.jsonl")
    said = privimage("ledger", "cap", other, "--epsilon", "1", "--delta", "1e-5")[1]
    assert "a new ledger; nothing was ever asked of a set with this id (there are x)" in said, "a misspelt id is seen"


@pytest.mark.parametrize(
    ("epsilon", "delta", "says"),
    [
        ("0", "1e-5", "cap.epsilon: got 0"),
        ("-1", "1e-5", "cap.epsilon"),
        ("nan", "1e-5", "cap.epsilon"),
        ("1", "1", "cap.delta: got 1"),
        ("0.0001", "1e-12", "admits no access at all"),
    ],
)
def test_a_cap_that_cannot_be(privimage: Command, tmp_path: Path, epsilon: str, delta: str, says: str) -> None:
    path = tmp_path / "x.jsonl"
    in_one_line(privimage("ledger", "cap", path, f"--epsilon={epsilon}", "--delta", delta), says)
    assert not path.exists()


def test_a_cap_below_what_is_spent_writes_nothing(privimage: Command, ledger: Ledger) -> None:
    before = ledger.path.read_bytes()
    in_one_line(
        privimage("ledger", "cap", ledger.path, "--epsilon", "1", "--delta", "1e-5"), str(ledger.path), "is spent"
    )
    assert ledger.path.read_bytes() == before


def test_verify_names_what_is_wrong(privimage: Command, ledger: Ledger) -> None:
    whole, head = ledger.path.read_bytes(), ledger.chain.head.read_bytes()
    lines = whole.splitlines(keepends=True)
    for raw, says in (
        (b"".join(lines[:2]), "ends before line 3"),
        (whole[:-30], "ends before line 3"),
        (whole.replace(b'"sigma":5.0', b'"sigma":50.0'), "line 1 breaks the hash chain"),
        (b"".join([lines[0], lines[2]]), "line 2 breaks the hash chain"),
    ):
        ledger.path.write_bytes(raw)
        for verb in ("verify", "show"):
            in_one_line(privimage("ledger", verb, ledger.path), says)
        in_one_line(privimage("ledger", "cap", ledger.path, "--epsilon", "20", "--delta", "1e-5"), says)
        assert ledger.path.read_bytes() == raw
    ledger.path.write_bytes(whole)
    ledger.chain.head.unlink()
    code, out, _ = privimage("ledger", "verify", ledger.path)
    assert code == 0 and "no head: truncation cannot be excluded" in out and not ledger.chain.head.exists()
    ledger.chain.head.write_bytes(head)
    assert "no cap is set" in privimage("ledger", "verify", ledger.path)[1]


def test_a_wiped_ledger_is_not_called_intact(privimage: Command, ledger: Ledger) -> None:
    ledger.chain.head.unlink()
    for raw in (b"", b'{"number":0'):
        ledger.path.write_bytes(raw)
        in_one_line(privimage("ledger", "verify", ledger.path), str(ledger.path), "nothing can be verified", "backup")
    copy = ledger.path.rename(ledger.path.with_suffix(".txt"))
    for verb in ("verify", "show"):
        in_one_line(privimage("ledger", verb, copy), "expected the ledger of a set")
    ledger.charge(id="q", what="a first charge makes the file", events=(QUERY,))
    assert privimage("ledger", "verify", ledger.path)[0] == 0


def test_a_ledger_that_is_none(privimage: Command, tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text("hello\n")
    in_one_line(privimage("ledger", "show", tmp_path / "text.jsonl"), "line 1 is not JSON")
    (tmp_path / "text.jsonl").write_text("[" * 200_000 + "\n")
    in_one_line(privimage("ledger", "show", tmp_path / "text.jsonl"), "line 1 is not JSON")
    in_one_line(privimage("ledger", "verify", tmp_path), "no such ledger")
    in_one_line(privimage("ledger", "cap", tmp_path, "--epsilon", "1", "--delta", "1e-5"), "expected the ledger")
    (tmp_path / "dir.jsonl").mkdir()
    in_one_line(privimage("ledger", "cap", tmp_path / "dir.jsonl", "--epsilon", "1", "--delta", "1e-5"), "directory")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_disk_that_takes_nothing(privimage: Command, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    (tmp_path / "x.head.draft").symlink_to("/dev/full")
    in_one_line(privimage("ledger", "cap", path, "--epsilon", "1", "--delta", "1e-5"), "cannot be written")
    assert not path.exists()


def test_help_has_examples(privimage: Command) -> None:
    for verb in ("show", "verify", "cap"):
        code, out, _ = privimage("ledger", verb, "--help")
        assert code == 0 and f"Example: privimage ledger {verb} runs/ledgers/digits-v1.jsonl" in " ".join(out.split())


def test_an_abandoned_reservation_can_be_closed(privimage: Command, ledger: Ledger) -> None:
    assert privimage("ledger", "cap", ledger.path, "--epsilon", "40", "--delta", "1e-5")[0] == 0
    ledger.reserve(id="abandoned", what="a sweep", events=(SGD,))
    in_one_line(privimage("ledger", "close", ledger.path, "x"), "got 'x'", "open: abandoned")
    code, out, _ = privimage("ledger", "close", ledger.path, "aban")
    assert code == 0 and "abandoned is closed" in out and ledger.reservations() == []
    in_one_line(privimage("ledger", "close", ledger.path, "aban"), "open: none")
