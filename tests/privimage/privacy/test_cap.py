"""The cap of a set and reservations under it: what is admitted, what is refused, and that a refusal writes nothing."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from capped_ledger import BUDGET, CAP, SGD, capped, part
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage.errors import BudgetExceeded, InputError
from privimage.privacy import cap as caps
from privimage.privacy import statement, tally
from privimage.privacy.accounting import rdp
from privimage.privacy.accounting.costs import AnyOf, BestOf
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Budget, Event
from privimage.privacy.cap import Cap
from privimage.privacy.entries import Reserve
from privimage.privacy.file_chain import FileChain
from privimage.privacy.ledger import Ledger
from privimage.privacy.looks import Look, Seen

Patch = pytest.MonkeyPatch


def is_refused(ledger: Ledger, act: Callable[[], object], *says: str) -> None:
    before = ledger.path.read_bytes(), ledger.chain.head.read_bytes()
    with pytest.raises(BudgetExceeded) as caught:
        act()
    assert (ledger.path.read_bytes(), ledger.chain.head.read_bytes()) == before, "a refusal writes nothing"
    assert "\n" not in str(caught.value)
    for words in (str(ledger.path), *says):
        assert words in str(caught.value)


@given(st.floats(0.05, 100), st.floats(1e-9, 1e-2))
@settings(max_examples=60, deadline=None)
def test_the_filter_of_a_budget_is_exact_and_best_for_gaussian_noise(target: float, delta: float) -> None:
    cap = Cap.of(Budget(epsilon=target, delta=delta))
    assert target - 1e-6 <= cap.epsilon(np.array([cap.rho, 0])) <= target
    for order in rdp.ORDERS:  # what another order admits of Gaussian accesses of divergence alpha: never more
        rho = target + (math.log(delta) + math.log(order)) / (order - 1) - math.log1p(-1 / order)
        assert rho / order <= cap.rho * (1 + 2 * caps.SLACK) / cap.order


def test_a_budget_that_no_order_can_keep_has_no_cap() -> None:
    with pytest.raises(InputError, match="admits no access at all"):
        Cap.of(Budget(epsilon=1e-4, delta=1e-12))


@pytest.mark.parametrize(("order", "rho"), [(2.45, 1.0), (CAP.order, CAP.rho * 1.001), (1.5, CAP.rho)])
def test_a_filter_that_admits_more_than_its_budget_cannot_be_read(order: float, rho: float) -> None:
    with pytest.raises(ValueError, match=r"is more than|order 2\.45 is none"):
        Cap(budget=BUDGET, order=order, rho=rho)


def test_a_cap_is_set_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    assert ledger.cap() is None and ledger.spending() is None
    assert ledger.set_cap(BUDGET) and ledger.cap() == CAP
    before = ledger.path.read_bytes()
    assert not ledger.set_cap(BUDGET) and ledger.path.read_bytes() == before
    for other in (Budget(epsilon=30, delta=1e-5), Budget(epsilon=20, delta=1e-6)):
        with pytest.raises(InputError, match="for the lifetime of the set"):
            ledger.set_cap(other)
    assert ledger.path.read_bytes() == before and ledger.verify() == "agrees"


def test_a_cap_below_what_is_spent_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    for i in range(2):
        ledger.charge(id=f"q{i}", what="q", events=(part(0.3),))
    is_refused(ledger, lambda: ledger.set_cap(Budget(epsilon=10, delta=1e-5)), "is refused", "is spent already")
    assert ledger.set_cap(BUDGET) and ledger.cap() == CAP
    is_refused(ledger, lambda: ledger.charge(id="q2", what="q", events=(part(0.41),)))
    assert ledger.charge(id="q3", what="q", events=(part(0.39),))


# What holds of a capped ledger; each is checked again below with a fault planted


def charges_keep_within_the_cap(folder: Path) -> None:
    ledger = capped(folder)
    for i in range(10):
        ledger.charge(id=f"q{i}", what="q", events=(part(0.1),))
    is_refused(
        ledger, lambda: ledger.charge(id="q10", what="one more", events=(part(1e-6),)), "'one more'",
        "epsilon 20, delta 1e-05", "100.0% of the cap", "is spent",
    )  # fmt: skip
    assert not ledger.charge(id="q3", what="q", events=(part(0.1),)), "what was charged stays charged"
    assert ledger.look(Look(split="test", what="fid")) == Seen(split="test"), "listed, not covered"
    spending = ledger.spending()
    assert spending is not None and math.isclose(CAP.share(spending.charged), 1)
    assert ledger.epsilon(1e-5) < ledger.epsilon_filter(1e-5) <= 20


def splits_are_added_up_apart(folder: Path) -> None:
    ledger = capped(folder)
    assert ledger.charge(id="q", what="q", events=(part(0.9), part(0.7, "score")))
    assert ledger.charge(id="s", what="s", events=(part(0.2, "score"),)), "the validation split has room"
    is_refused(ledger, lambda: ledger.charge(id="r", what="r", events=(part(0.11),)))
    is_refused(ledger, lambda: ledger.charge(id="t", what="t", events=(part(0.11, "score"),)))
    assert ledger.charge(id="u", what="u", events=(part(0.09), part(0.09, "score")))


def a_reservation_counts_in_full_until_it_is_closed(folder: Path) -> None:
    ledger = capped(folder)
    assert ledger.reserve(id="sweep", what="sweep", events=(AnyOf(events=(part(0.1), part(0.05)), times=6),))
    is_refused(ledger, lambda: ledger.charge(id="x", what="x", events=(part(0.5),)), "60.0% of the cap", "50.0%")
    is_refused(ledger, lambda: ledger.reserve(id="y", what="y", events=(part(0.41),)))
    for i in range(2):  # counts inside the reservation, not beside it
        assert ledger.charge(id=f"t{i}", what="trial", events=(part(0.1),), under="sweep")
    assert ledger.charge(id="z", what="z", events=(part(0.35),))
    is_refused(ledger, lambda: ledger.charge(id="x", what="x", events=(part(0.1),)))
    assert ledger.close("sweep")
    assert ledger.charge(id="x", what="x", events=(part(0.44),)), "what was not used is free again"
    is_refused(ledger, lambda: ledger.charge(id="w", what="w", events=(part(0.02),)))
    assert ledger.verify() == "agrees"


def of_two_reservations_at_once_one_is_admitted(folder: Path) -> None:
    capped(folder)
    both = threading.Barrier(2)
    answers: list[object] = []

    def ask(number: int) -> None:
        try:
            answers.append(Ledger(folder / "x.jsonl").reserve(id=str(number), what="sweep", events=(part(0.6),)))
        except InputError as error:
            answers.append(type(error))

    with pytest.MonkeyPatch.context() as patch:
        real = FileChain._append

        def append(self: FileChain, *arguments: Any) -> None:
            with suppress(threading.BrokenBarrierError):
                both.wait(0.5)  # until both have found room, unless one has to wait for the other
            real(self, *arguments)

        patch.setattr(FileChain, "_append", append)
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers, key=str) == [BudgetExceeded, True], "one starts, the other is told why it does not"


def no_cap_is_looked_at(patch: Patch) -> None:
    patch.setattr(Cap, "admits", lambda self, total: True)


def a_cap_for_every_charge(patch: Patch) -> None:
    real = tally.spending
    patch.setattr(tally, "spending", lambda lines, cap: real(lines[-1:], cap))


def only_the_last_split(patch: Patch) -> None:
    patch.setattr(Cap, "admits", lambda self, total: total[1] <= self.rho)


def splits_are_mixed(patch: Patch) -> None:
    real = Cap.price
    patch.setattr(Cap, "price", lambda self, costs: np.full(2, real(self, costs).sum()))


def reservations_are_not_counted(patch: Patch) -> None:
    patch.setattr(tally, "open_of", lambda lines: {})


def reservations_are_never_closed(patch: Patch) -> None:
    patch.setattr(tally, "open_of", lambda lines: {line.id: line for line in lines if isinstance(line, Reserve)})


def charges_count_beside_their_reservation(patch: Patch) -> None:
    real = Ledger.charge
    patch.setattr(Ledger, "charge", lambda self, *, under=None, **rest: real(self, **rest))


def no_lock(patch: Patch) -> None:
    class Open:
        def __init__(self, path: str) -> None:
            """No lock at all."""

        def acquire(self) -> Any:
            return nullcontext()

    patch.setattr("privimage.privacy.file_chain.FileLock", Open)


RULES = (
    charges_keep_within_the_cap,
    splits_are_added_up_apart,
    a_reservation_counts_in_full_until_it_is_closed,
    of_two_reservations_at_once_one_is_admitted,
)
FAULTS = [
    (no_cap_is_looked_at, charges_keep_within_the_cap),
    (a_cap_for_every_charge, charges_keep_within_the_cap),
    (only_the_last_split, charges_keep_within_the_cap),
    (only_the_last_split, splits_are_added_up_apart),
    (splits_are_mixed, splits_are_added_up_apart),
    (reservations_are_not_counted, a_reservation_counts_in_full_until_it_is_closed),
    (reservations_are_never_closed, a_reservation_counts_in_full_until_it_is_closed),
    (charges_count_beside_their_reservation, a_reservation_counts_in_full_until_it_is_closed),
    (reservations_are_not_counted, of_two_reservations_at_once_one_is_admitted),
    (no_lock, of_two_reservations_at_once_one_is_admitted),
]


@pytest.mark.parametrize("rule", RULES)
def test_it_holds(rule: Callable[[Path], None], tmp_path: Path) -> None:
    rule(tmp_path)


@pytest.mark.parametrize(("fault", "rule"), FAULTS, ids=[f"{fault.__name__}-{rule.__name__}" for fault, rule in FAULTS])
def test_the_fault_is_seen(
    fault: Callable[[Patch], None], rule: Callable[[Path], None], tmp_path: Path, monkeypatch: Patch
) -> None:
    fault(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, BudgetExceeded)):
        rule(tmp_path)


def test_every_rule_has_a_fault() -> None:
    assert {rule for _, rule in FAULTS} == set(RULES)


# More on reservations


def test_a_bill_is_reserved_without_a_cap_too(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    assert ledger.reserve(id="s", what="s", events=(part(0.6),))
    assert ledger.charge(id="t", what="t", events=(part(0.2),), under="s")
    assert ledger.set_cap(BUDGET)
    spending = ledger.spending()
    assert spending is not None and math.isclose(CAP.share(spending.counted), 0.6)
    assert ledger.charge(id="u", what="u", events=(part(0.39),))
    assert ledger.close("s") and ledger.charge(id="v", what="v", events=(part(0.4),)), "t alone counts"


def test_a_reservation_is_idempotent_grows_and_shrinks(tmp_path: Path) -> None:
    ledger = capped(tmp_path)
    assert ledger.reserve(id="s", what="s", events=(part(0.5),))
    before = ledger.path.read_bytes()
    assert not ledger.reserve(id="s", what="s", events=[part(0.5)]) and ledger.path.read_bytes() == before
    is_refused(ledger, lambda: ledger.reserve(id="s", what="more", events=(part(1.1),)), "60.0% of the cap")
    assert ledger.reserve(id="s", what="more", events=(part(0.9),))
    is_refused(ledger, lambda: ledger.reserve(id="o", what="o", events=(part(0.2),)))
    assert ledger.reserve(id="s", what="less", events=(part(0.7),))
    assert ledger.reserve(id="o", what="o", events=(part(0.2),))
    assert not ledger.settled(id="s", events=(part(0.7),)), "open: not done"
    assert ledger.close("s") and not ledger.close("s") and not ledger.close("never")
    assert ledger.settled(id="s", events=[part(0.7)]) and not ledger.settled(id="s", events=(part(0.8),))
    assert not ledger.settled(id="never", events=()) and [line.id for line in ledger.reservations()] == ["o"]
    assert ledger.reserve(id="s", what="again", events=(part(0.8),)) and ledger.verify() == "agrees"


def test_a_sweep_can_use_its_reservation_to_the_last_trial(tmp_path: Path) -> None:
    ledger = capped(tmp_path)
    trial = part(1 / 7)
    assert ledger.reserve(id="s", what="s", events=(AnyOf(events=(trial,), times=7),))
    for i in range(7):  # sums in another order differ in their last digits
        assert ledger.charge(id=str(i), what="trial", events=(trial,), under="s")


def test_a_private_selection_is_charged_at_its_own_bound(tmp_path: Path) -> None:
    ledger = capped(tmp_path)
    best = BestOf(law=Law(mean=10), events=(SGD,), score=Event(purpose="score", split="validation", sigma=9))
    alone, selected = CAP.price([SGD]), CAP.price([best])
    assert alone[0] < selected[0] < 10 * alone[0] and 0 < selected[1]
    assert ledger.charge(id="b", what="b", events=(best,))
    spending = ledger.spending()
    assert spending is not None and np.array_equal(spending.charged, selected)


def test_two_processes_set_one_cap_and_hold_one_reservation(pair: dict[str, Any]) -> None:
    ledger = Ledger(pair["folder"] / "capped.jsonl")
    set_by, held_by = zip(*(report["capped"] for report in pair["reports"]), strict=True)
    assert sum(set_by) == sum(held_by) == 1
    assert [type(line).__name__ for line in ledger.lines()] == ["CapLine", "Reserve"] and ledger.verify() == "agrees"


def test_a_forged_overspending_does_not_verify(tmp_path: Path, monkeypatch: Patch) -> None:
    ledger = capped(tmp_path)
    with monkeypatch.context() as patch:
        no_cap_is_looked_at(patch)
        ledger.charge(id="a", what="a", events=(part(1.5),))
    with pytest.raises(BudgetExceeded, match=r"150\.0% of the cap"):
        ledger.verify()


def test_the_statement_says_what_is_left(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    ledger.charge(id="q", what="query [of the set]", events=(part(0.2),))
    assert any("No cap is set" in s for s in statement.sentences(ledger))
    ledger.set_cap(BUDGET)
    ledger.reserve(id="s", what="sweep", events=(part(0.3),))
    ledger.look(Look(split="train", what="row real"))
    ledger.reserve(id="t", what="sweep", events=(part(0.1),))
    ledger.close("t")
    text = " ".join(statement.sentences(ledger))
    assert "is spent of the cap's 20" in text and "With what is held for 'sweep'" in text
    assert "It admits one more access of epsilon" in text
    assert "20.0% of it is spent, 30.0% more is reserved, 50.0% is left" in " ".join(statement.details(ledger))
    assert "Looks without noise: 1 (1 train split), not covered by any epsilon." in text
    assert "after 1 charges" in text
    for delta in (1e-5, 1e-3):
        value, _ = statement.total(ledger.lines(), delta)
        assert f"Epsilon {statement.epsilon(value)} at delta {delta:g}" in " ".join(
            statement.sentences(ledger, delta=delta)
        )
    whats = [row[2] for row in statement.rows(ledger.lines())]
    assert whats[0] == "query [of the set]" and whats[1] == "CAP (epsilon 20, delta 1e-05)"
    assert whats[2] == "RESERVED s: sweep" and whats[-1] == "CLOSED t"


def test_divergences_that_overflow_are_infinite_and_spoil_no_others() -> None:
    values = rdp.divergences([Event(purpose="dp-sgd", split="train", sigma=1e-151, q=0.25)], "train")
    assert np.isinf(values).any() and np.isfinite(values).any() and not np.isnan(values).any()
    assert np.isfinite(rdp.divergences([SGD], "train")).all()
    best = BestOf(law=Law(mean=10), events=(SGD,), score=Event(purpose="score", split="validation", sigma=9))
    assert rdp.divergences([best], "train").min() < 10
