"""The bill is a wall: whatever a sweep asks, in whatever order, it is never charged more than its bill says."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage.errors import BudgetExceeded, InputError
from privimage.privacy import noise as noises
from privimage.privacy import tally, wall
from privimage.privacy.accounting import epsilon
from privimage.privacy.accounting.costs import AnyOf, BestOf, Cost
from privimage.privacy.accounting.law import Law
from privimage.privacy.bill import Search, price_trials
from privimage.privacy.budget import Access, Budget, Event
from privimage.privacy.ledger import Ledger
from privimage.privacy.noise import Noise

Patch = pytest.MonkeyPatch
SGD = tuple(Event(purpose="dp-sgd", split="train", sigma=sigma, q=0.5, steps=2) for sigma in (2.0, 4.0, 8.0))
STATED = Budget(epsilon=8, delta=1e-5)
ACCESS = Access(purpose="dp-sgd", q=0.2, steps=2)
OTHER = ACCESS.model_copy(update={"steps": 3})
QUERY, SCORE = Event(purpose="query", split="train", sigma=6), Event(purpose="score", split="validation", sigma=9)
BEST = BestOf(law=Law(mean=3), events=SGD[:1], score=SCORE)

ANY = st.lists(st.sampled_from(SGD), min_size=1, max_size=2, unique=True).map(tuple)
BILLS = st.lists(
    st.one_of(st.sampled_from([*SGD, QUERY, BEST]), st.builds(AnyOf, events=ANY, times=st.integers(1, 3))), max_size=4
)
ASKED = st.lists(st.sampled_from([*SGD, QUERY, QUERY.scaled(2), QUERY.scaled(0.5), SCORE, BEST]), max_size=8)


def accepted(folder: str, bill: Sequence[Cost], asked: Sequence[Cost]) -> list[Cost]:
    """What a ledger admits of these accesses, in this order, under this bill."""
    ledger = Ledger(Path(folder) / "x.jsonl", under="sweep")
    ledger.reserve(id="sweep", what="a sweep", events=bill)
    for number, cost in enumerate(asked):
        with suppress(BudgetExceeded):
            ledger.charge(id=str(number), what="x", events=(cost,))
    assert ledger.verify() == "agrees"
    return [cost for charge in ledger.charges() for cost in charge.events]


def by_trying_all(bill: Sequence[Cost], charged: Sequence[Cost]) -> bool:
    """An oracle: every way to give each charge a place of its own."""
    slots = [line.events if isinstance(line, AnyOf) else (line,) for line in bill for _ in range(wall.places([line]))]
    return len(charged) <= len(slots) and any(
        all(any(wall.dominates(one, cost) for one in slot) for slot, cost in zip(order, charged, strict=True))
        for order in itertools.permutations(slots, len(charged))
    )


def check_never_beyond_the_bill(bill: Sequence[Cost], asked: Sequence[Cost]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        charged = accepted(folder, bill, asked)
    assert epsilon(charged, 1e-5) <= epsilon(bill, 1e-5) + 1e-9, (bill, charged)


@given(BILLS, ASKED)
@settings(max_examples=25, deadline=None)
def test_what_is_admitted_never_costs_more_than_the_bill(bill: list[Cost], asked: list[Cost]) -> None:
    check_never_beyond_the_bill(bill, asked)


@given(BILLS, ASKED.map(lambda asked: asked[:5]))
@settings(max_examples=60, deadline=None)
def test_places_are_found_exactly_and_in_any_order(bill: list[Cost], asked: list[Cost]) -> None:
    bill = bill[:3] if sum(wall.places([line]) for line in bill) > 6 else bill
    expected = by_trying_all(bill, asked)
    for order in (asked, asked[::-1], random.sample(asked, len(asked))):
        assert wall.admits(bill, order) == expected
        assert wall.admits(bill[::-1], order) == expected


# The same with a fault planted

LOUD, QUIET = SGD[0], SGD[1]
CASES: tuple[tuple[Sequence[Cost], Sequence[Cost]], ...] = (
    ((AnyOf(events=(LOUD,), times=2),), [LOUD] * 3),
    ((QUIET, QUERY), [LOUD, QUERY]),
    ((BEST,), [BEST, LOUD]),
)


def everything_fits(patch: Patch) -> None:
    patch.setattr(wall, "admits", lambda bill, charged: True)


def each_charge_is_compared_alone(patch: Patch) -> None:
    real = wall.admits
    patch.setattr(wall, "admits", lambda bill, charged: all(real(bill, [cost]) for cost in charged))


def what_was_charged_before_is_forgotten(patch: Patch) -> None:
    patch.setattr(tally, "charged_under", lambda lines, id: [])


def noise_is_not_compared(patch: Patch) -> None:
    patch.setattr(wall, "dominates", lambda a, b: getattr(a, "purpose", None) == getattr(b, "purpose", ""))
    wall._who_admits.cache_clear()


FAULTS = (everything_fits, each_charge_is_compared_alone, what_was_charged_before_is_forgotten, noise_is_not_compared)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_is_seen(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    fault(monkeypatch)
    seen = []
    for bill, asked in CASES:
        try:
            check_never_beyond_the_bill(bill, asked)
        except (AssertionError, BudgetExceeded):
            seen.append(bill)
    wall._who_admits.cache_clear()
    assert seen


def test_a_greedy_assignment_would_refuse_what_fits() -> None:
    bill = (AnyOf(events=(LOUD, QUIET), times=1), LOUD.scaled(2))
    assert wall.admits(bill, [QUIET, LOUD]) and wall.admits(bill, [LOUD, QUIET])


# What a ledger says


def bench(folder: Path, *bill: Cost) -> Ledger:
    ledger = Ledger(folder / "x.jsonl", under="sweep-of-a-name")
    assert ledger.reserve(id="sweep-of-a-name", what="sweep demo", events=bill)
    return ledger


def is_refused(ledger: Ledger, cost: Cost, *says: str) -> None:
    before = ledger.path.read_bytes()
    with pytest.raises(BudgetExceeded) as caught:
        ledger.charge(id=f"new-{cost}", what="DP-SGD, sigma 2", events=(cost,))
    assert ledger.path.read_bytes() == before and "\n" not in str(caught.value)
    for words in ("'DP-SGD, sigma 2' is refused", *says):
        assert words in str(caught.value)


def test_a_search_whose_memory_is_gone_is_stopped_at_its_bill(tmp_path: Path) -> None:
    """Optuna's journal was deleted after 4 of 4 trainings: two more were charged beyond the bill."""
    ledger = bench(tmp_path, QUERY, AnyOf(events=(LOUD,), times=4))
    for number in range(4):
        assert ledger.charge(id=str(number), what="DP-SGD", events=(LOUD,))
    is_refused(ledger, LOUD, "sweep demo", "sweep-of-a-n", "counts 5 accesses, 4 are charged", "another name")
    assert not ledger.charge(id="3", what="DP-SGD", events=(LOUD,)), "what was charged stays free"
    assert ledger.charge(id="q", what="query", events=(QUERY,)), "and what is left of the bill can be asked"


def test_only_an_open_bill_admits(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl", under="sweep-of-a-name")
    with pytest.raises(BudgetExceeded, match="no bill sweep-of-a-n was ever opened"):
        ledger.charge(id="a", what="x", events=(LOUD,))
    ledger = bench(tmp_path, LOUD, QUIET)
    assert ledger.charge(id="a", what="x", events=(LOUD,)) and ledger.close("sweep-of-a-name")
    is_refused(ledger, QUIET, "closed and admits nothing new")
    assert Ledger(ledger.path).charge(id="b", what="a charge of no sweep", events=(LOUD,))


def test_a_bill_may_grow_and_never_below_what_was_charged(tmp_path: Path) -> None:
    ledger = bench(tmp_path, AnyOf(events=(LOUD,), times=2))
    for number in range(2):
        ledger.charge(id=str(number), what="DP-SGD", events=(LOUD,))
    is_refused(ledger, LOUD)
    with pytest.raises(InputError, match="would count less than was charged"):
        ledger.reserve(id="sweep-of-a-name", what="sweep demo", events=(LOUD,))
    assert ledger.reserve(id="sweep-of-a-name", what="sweep demo", events=(AnyOf(events=(LOUD,), times=3),))
    assert ledger.charge(id="2", what="DP-SGD", events=(LOUD,))
    is_refused(ledger, LOUD)


def test_a_forged_charge_beyond_a_bill_does_not_verify(tmp_path: Path, monkeypatch: Patch) -> None:
    ledger = bench(tmp_path, LOUD)
    with monkeypatch.context() as patch:
        everything_fits(patch)
        for number in range(2):
            ledger.charge(id=str(number), what="DP-SGD", events=(LOUD,))
    with pytest.raises(BudgetExceeded, match="more is charged under 'sweep demo'"):
        ledger.verify()


def test_no_trial_takes_less_noise_than_its_bill_counts(monkeypatch: Patch) -> None:
    """What another query leaves for training differs by less than the accountant resolves, in either direction."""
    most, less = Event(purpose="query", split="train", sigma=484.0), Event(purpose="query", split="train", sigma=480.0)
    study = price_trials(STATED, Search(trainings=(ACCESS,), trials=3, shared=(most,)))
    (counted,) = study.trainings
    wavers = lambda **asked: noises_real(**asked).scaled(1 - 1e-5)  # noqa: E731
    noises_real = noises.calibrate
    monkeypatch.setattr(noises, "calibrate", wavers)
    assert wall.dominates(counted, study.noise.solve(STATED, ACCESS, others=(less,)))
    assert not wall.dominates(counted, Noise().solve(STATED, ACCESS, others=(less,))), "the fault is there to see"
    other = study.noise.solve(STATED, OTHER, others=(less,))
    assert other == Noise().solve(STATED, OTHER, others=(less,)), "of other trainings it says nothing"
