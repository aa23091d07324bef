"""The ledger: charged once, chained, robust to crashes and to two processes at once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage.errors import InputError, Violation
from privimage.privacy import statement
from privimage.privacy.accounting import epsilon, epsilon_rdp
from privimage.privacy.accounting.costs import AnyOf, BestOf, Cost
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Event
from privimage.privacy.chain import GENESIS
from privimage.privacy.entries import Charge
from privimage.privacy.ledger import Ledger
from privimage.privacy.looks import Look
from privimage.record import Paid

QUERY = Event(purpose="query", split="train", sigma=5)
SGD = Event(purpose="dp-sgd", split="train", sigma=2, q=0.25, steps=10)
SCORE = Event(purpose="score", split="validation", sigma=9)
FREE = Event(purpose="training", split="train", sigma=0)


def write(path: Path) -> tuple[list[Charge], bytes]:
    ledger = Ledger(path)
    for i, events in enumerate([(QUERY,), (SGD, QUERY), (SGD,), (SCORE,)]):
        assert ledger.charge(id=f"id-{i}", what=f"line {i}, 'quoted' é", events=events)
    return ledger.charges(), path.read_bytes()


with tempfile.TemporaryDirectory() as _folder:
    CHARGES, RAW = write(Path(_folder) / "x.jsonl")


def read(raw: bytes) -> list[Charge]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        path.write_bytes(raw)
        return Ledger(path).charges()


def a_prefix_or_an_error_that_names_the_line(raw: bytes) -> None:
    try:
        charges = read(raw)
    except InputError as error:
        assert "line " in str(error) and "x.jsonl" in str(error)
    else:
        assert charges == CHARGES[: len(charges)]


def test_a_set_is_split_in_one_way_for_its_lifetime(tmp_path: Path) -> None:
    """Splits are charged in parallel: an image that is validation here and training there would pay for one only."""
    path = tmp_path / "x.jsonl"
    first, other, silent = (Ledger(path, division=name) for name in ("seed 0", "seed 1", None))
    assert first.charge(id="a", what="score", events=[SGD])
    before = path.read_bytes()
    for refused in (
        lambda: other.check(id="r", what="sweep", events=[SGD]),
        lambda: other.charge(id="b", what="sgd", events=[SGD]),
        lambda: other.reserve(id="r", what="sweep", events=[SGD]),
    ):
        with pytest.raises(InputError, match=r"split as 'seed 0' .* got 'seed 1'; split it as before"):
            refused()
    assert path.read_bytes() == before
    assert first.charge(id="b", what="sgd", events=[SGD]) and not silent.charge(id="b", what="sgd", events=[SGD])
    assert silent.charge(id="c", what="of a set without splits", events=[SGD])
    with pytest.raises(InputError, match="split in a way that is not written down"):
        first.check(id="r", what="sweep", events=[SGD])


def test_the_same_charge_again_is_free(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "deep" / "x.jsonl")
    assert ledger.charge(id="a", what="one", events=[SGD]) and ledger.charged("a") and not ledger.charged("b")
    before = ledger.path.read_bytes()
    assert not ledger.charge(id="a", what="other words", events=(SGD,))
    assert ledger.path.read_bytes() == before and len(ledger.charges()) == 1


def test_other_events_under_the_same_id_are_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    ledger.charge(id="a", what="one", events=(SGD,))
    for other in ((QUERY,), (SGD, SGD), ()):
        with pytest.raises(InputError, match="exists with other events"):
            ledger.charge(id="a", what="one", events=other)
    assert len(ledger.charges()) == 1


def test_lines_are_numbered_and_chained() -> None:
    assert [charge.number for charge in CHARGES] == [0, 1, 2, 3]
    assert [charge.previous for charge in CHARGES] == [GENESIS, *(charge.hash for charge in CHARGES[:-1])]


def test_a_missing_ledger_is_empty(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "none.jsonl")
    assert ledger.charges() == [] and ledger.epsilon(1e-5) == 0.0 and not ledger.path.exists()


def test_epsilon_covers_every_private_charge() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        path.write_bytes(RAW)
        assert Ledger(path).epsilon(1e-5) == epsilon([QUERY, SGD, QUERY, SGD, SCORE], 1e-5)


def test_every_kind_of_cost_is_charged_and_read_back(tmp_path: Path) -> None:
    score = Event(purpose="score", split="validation", sigma=9)
    asked = Event(purpose="dp-sgd", split="train", sigma=3, q=0.1, steps=5, shared="00ff")
    best = BestOf(law=Law(mean=10), events=(SGD, asked), score=score)
    costs: tuple[Cost, ...] = (QUERY, AnyOf(events=(SGD, QUERY), times=3), best, asked)
    assert best.law.gamma < 1  # computed and kept in the model: not part of what is charged
    ledger = Ledger(tmp_path / "x.jsonl")
    assert ledger.charge(id="a", what="all", events=costs)
    (charge,) = Ledger(ledger.path).charges()
    assert charge.events == costs and not ledger.charge(id="a", what="all", events=list(costs))
    assert Paid.model_validate_json(Paid(id="a", what="all", events=costs).model_dump_json()).events == costs
    others = (AnyOf(events=(SGD, QUERY), times=2), BestOf(law=Law(mean=9), events=best.events, score=score))
    for other in others:
        with pytest.raises(InputError, match="exists with other events"):
            ledger.charge(id="a", what="all", events=(QUERY, other, best, asked))
    text = statement.rows(ledger.lines())[0][3]
    assert "best of K ~ logarithmic law with mean 10: any of (dp-sgd" in text and "score sigma=9" in text


def test_the_total_by_rdp_covers_the_same_charges(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    best = BestOf(law=Law(mean=10), events=(SGD,), score=Event(purpose="score", split="validation", sigma=9))
    for i, events in enumerate([(QUERY,), (best, SGD)]):
        ledger.charge(id=str(i), what="x", events=events)
    assert ledger.epsilon(1e-5) == epsilon([QUERY, best, SGD], 1e-5)
    assert ledger.epsilon(1e-5) <= ledger.epsilon_filter(1e-5) == epsilon_rdp([QUERY, best, SGD], 1e-5) < 100


def test_rows_show_what_was_paid_and_what_was_not_private(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl", under="sweep")
    ledger.look(Look(split="test", what="fid[x]"))
    with pytest.raises(Violation, match="is a look, not a charge"):
        ledger.charge(id="f", what="real", events=(SGD, FREE))
    rows = [*statement.rows(tuple(CHARGES)), *statement.rows(ledger.lines())]
    assert rows[1][0] == "2" and rows[1][2:] == ("line 1, 'quoted' é", "dp-sgd sigma=2 q=0.25 steps=10; query sigma=5")
    assert rows[4][2:] == ("LOOK fid[x] (under sweep)", "NOT PRIVATE: reads the test split without noise")


@given(st.integers(0, len(RAW) - 1), st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_is_seen(at: int, byte: int) -> None:
    a_prefix_or_an_error_that_names_the_line(RAW[:at] + bytes([byte]) + RAW[at + 1 :])


@given(st.integers(0, len(RAW)), st.integers(0, len(RAW)))
@settings(max_examples=40, deadline=None)
def test_a_cut_is_seen(start: int, stop: int) -> None:
    a_prefix_or_an_error_that_names_the_line(RAW[: min(start, stop)] + RAW[max(start, stop) :])


@pytest.mark.parametrize("line", range(4))
@pytest.mark.parametrize(("old", "new"), [(b'"sigma":', b'"sigma":1'), (b"line ", b"Line "), (b'"at":"2', b'"at":"3')])
def test_a_changed_field_of_any_line_names_that_line(line: int, old: bytes, new: bytes) -> None:
    lines = RAW.splitlines(keepends=True)
    lines[line] = lines[line].replace(old, new, 1)
    with pytest.raises(InputError, match=f"line {line + 1} "):
        read(b"".join(lines))


def test_swapped_and_repeated_lines_are_seen() -> None:
    lines = RAW.splitlines(keepends=True)
    for wrong in ([lines[1], lines[0]], [lines[0], lines[0]], lines[1:], [lines[0], *lines[2:]]):
        with pytest.raises(InputError, match="line "):
            read(b"".join(wrong))


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_last_line_is_dropped_and_charged_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(RAW[:-cut])
    ledger = Ledger(path)
    assert ledger.charges() == CHARGES[:3]
    assert ledger.charge(id="id-3", what="again", events=(SCORE,))
    assert [charge.id for charge in ledger.charges()] == [f"id-{i}" for i in range(4)]


def test_a_damaged_ledger_takes_no_charge(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(RAW.replace(b'"sigma":5.0', b'"sigma":9.0', 1))
    with pytest.raises(InputError, match="line 1 breaks the hash chain"):
        Ledger(path).charge(id="new", what="new", events=(QUERY,))


def test_two_processes_at_once_lose_nothing_and_pay_nothing_twice(pair: dict[str, Any]) -> None:
    charges = Ledger(pair["folder"] / "ledger.jsonl").charges()  # verifies the chain
    ids = [charge.id for charge in charges]
    assert len(ids) == len(set(ids)) == 45
    assert sum(report["written"] for report in pair["reports"]) == 45
    assert {f"own-{rank}-{i}" for rank in (0, 1) for i in range(15)} | {f"both-{i}" for i in range(15)} == set(ids)
