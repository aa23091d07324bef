"""Guards of privacy are raises: they hold under `python -O`, which drops every assert."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
PACKAGES = ("privimage", "cluster", "sweeps", "analysis")
SOURCES = [path for package in PACKAGES for path in (HERE / package).rglob("*.py")]

SEEN = """
import sys
from pathlib import Path
from privimage import covered, ledger as ledgers
from privimage.budget import BestOf, Event
from privimage.errors import PrivImageError
from privimage.tuning.law import Law

FAULT

training, score = Event(purpose="dp-sgd", sigma=2, q=0.1, steps=5), Event(purpose="score", sigma=9)
cost = BestOf(law=Law(mean=3), events=(training,), score=score)


def selection(name):
    folder = Path(sys.argv[1]) / name
    outer = ledgers.Ledger(folder / "ledger.jsonl")
    return outer, covered.CoveredLedger(outer, inner=folder / "inner.jsonl", selection="s", cost=cost)


def charge(trial, what, *events):
    try:
        trial.charge(id=what, what=what, events=events)
    except PrivImageError as error:
        print(f"{type(error).__name__} {error}")
    else:
        print("charged", what)


_, trial = selection("not paid")
trial.open(trials=1)
charge(trial, "before it was paid", training)
outer, trial = selection("paid")
trial.open(trials=1)
outer.charge(id="s", what="a selection", events=(cost,))
charge(trial, "what was paid", training)
charge(trial, "ten times as dear", training.scaled(0.1))
charge(trial, "one more than was drawn", training)
charge(trial, "a score", score)
charge(trial, "with the query", score, Event(purpose="query", sigma=9))
outer, trial = selection("never opened")
outer.charge(id="s", what="a selection", events=(cost,))
charge(trial, "without its bill", training)
"""
PAID, CHARGED = {"what was paid", "a score"}, "charged "


def run(folder: Path, *, fault: str = "") -> list[str]:
    """What was said of every charge, under -O."""
    command = [sys.executable, "-O", "-c", SEEN.replace("FAULT", fault), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def charged(lines: list[str]) -> set[str]:
    return {line.removeprefix(CHARGED) for line in lines if line.startswith(CHARGED)}


def test_without_asserts_a_trial_is_not_charged_what_its_selection_never_paid(tmp_path: Path) -> None:
    lines = run(tmp_path)
    assert charged(lines) == PAID
    before, dear, more, query, unopened = [line for line in lines if not line.startswith(CHARGED)]
    assert before.startswith("LostAnswer") and "the selection s is not charged" in before
    for refusal, what in ((dear, "ten times as dear"), (more, "one more than was drawn"), (query, "with the query")):
        assert refusal.startswith("BudgetExceeded") and f"'{what}' is refused" in refusal
    assert unopened.startswith("BudgetExceeded") and "no bill s was ever opened here" in unopened


UNPAID, BILL = "self.outer.charged(self._selection)", "bill is not None and tally.fits(lines, bill, events)"
GUARDS = {  # the method that holds a guard, from where to where it stands, the same as an assert, and what passes then
    "CoveredLedger.charge": (f"if not {UNPAID}", "return self._inner", UNPAID, {"before it was paid"}),
    "Ledger._check_bill": (
        "if bill is None or not tally.fits", "\n    def _check_division", BILL,
        {"ten times as dear", "one more than was drawn", "with the query", "without its bill"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_is_an_assert_would_let_it_pass(guard: str, tmp_path: Path) -> None:
    """The planted fault: the same check as an assert, under -O."""
    (owner, method), (start, end, check, passed) = guard.split("."), GUARDS[guard]
    module = {"CoveredLedger": "covered", "Ledger": "ledger"}[owner]
    source = (HERE / "privimage" / f"{module}.py").read_text()
    at = source.index(start)
    planted = source[:at] + f"assert {check}\n        " + source[source.index(end, at) :]
    name = {"covered": "covered", "ledger": "ledgers"}[module]
    fault = (
        f"faulty = dict(vars({name}))\nexec(compile({planted!r}, 'planted', 'exec'), faulty)\n"
        f"{name}.{owner}.{method} = faulty['{owner}'].{method}"
    )
    assert charged(run(tmp_path, fault=fault)) == PAID | passed


def test_no_assert_stands_in_the_packages() -> None:
    for path in SOURCES:
        found = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
        assert not found, f"{path}: assert at line {found}"
