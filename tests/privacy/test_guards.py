"""Guards of privacy are raises: they hold under `python -O`, which drops every assert."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
PACKAGES = ("privimage", "cluster", "sweeps", "analysis")
SOURCES = [path for package in PACKAGES for path in (HERE / package).rglob("*.py")]

UNPAID, BILL = "self.outer.charged(self._selection)", "bill is not None and tally.fits(lines, bill, events)"
GUARDS = {  # the method that holds a guard, from where to where it stands, the same as an assert, and what passes then
    ("covered", "CoveredLedger.charge"): (f"if not {UNPAID}", "return self._inner", UNPAID, {"before it was paid"}),
    ("ledger", "Ledger._check_bill"): (
        "if bill is None or not tally.fits", "\n    def _check_division", BILL,
        {"ten times as dear", "one more than was drawn", "with the query", "without its bill"},
    ),
}  # fmt: skip

SEEN = """
import json, sys
from pathlib import Path
from privimage.errors import PrivImageError
from privimage.privacy import covered, ledger
from privimage.privacy.accounting.costs import BestOf
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Event

training = Event(purpose="dp-sgd", split="train", sigma=2, q=0.1, steps=5)
score = Event(purpose="score", split="validation", sigma=9)
cost = BestOf(law=Law(mean=3), events=(training,), score=score)
here = Path(sys.argv[1])


def selection(name):
    outer = ledger.Ledger(here / name / "ledger.jsonl")
    return outer, covered.CoveredLedger(outer, inner=here / name / "inner.jsonl", selection="s", cost=cost)


def charge(trial, what, *events):
    try:
        trial.charge(id=what, what=what, events=events)
    except PrivImageError as error:
        return f"{type(error).__name__} {error}"
    return f"charged {what}"


def seen(name):
    _, trial = selection(f"{name}, not paid")
    trial.open(trials=1)
    said = [charge(trial, "before it was paid", training)]
    outer, trial = selection(f"{name}, paid")
    trial.open(trials=1)
    outer.charge(id="s", what="a selection", events=(cost,))
    said += [
        charge(trial, "what was paid", training),
        charge(trial, "ten times as dear", training.scaled(0.1)),
        charge(trial, "one more than was drawn", training),
        charge(trial, "a score", score),
        charge(trial, "with the query", score, Event(purpose="query", split="train", sigma=9, shared="q")),
    ]
    outer, trial = selection(f"{name}, never opened")
    outer.charge(id="s", what="a selection", events=(cost,))
    return [*said, charge(trial, "without its bill", training)]


found = {"as it is": seen("as it is")}
for name, (module, source) in json.loads(sys.argv[2]).items():
    owner, method = name.split(".")
    real = vars(sys.modules[f"privimage.privacy.{module}"])
    faulty = dict(real)
    exec(compile(source, "planted", "exec"), faulty)
    kept = getattr(real[owner], method)
    setattr(real[owner], method, getattr(faulty[owner], method))
    found[name] = seen(name)
    setattr(real[owner], method, kept)
print(json.dumps(found))
"""
PAID, CHARGED = {"what was paid", "a score"}, "charged "


def planted(module: str, start: str, end: str, check: str) -> str:
    """The source of the module with that guard as an assert."""
    source = (HERE / "privimage" / "privacy" / f"{module}.py").read_text()
    at = source.index(start)
    return source[:at] + f"assert {check}\n        " + source[source.index(end, at) :]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What was said of every charge under -O, as the code is and with every fault."""
    faults = {
        name: (module, planted(module, start, end, check)) for (module, name), (start, end, check, _) in GUARDS.items()
    }
    command = [sys.executable, "-O", "-c", SEEN, str(tmp_path_factory.mktemp("guards")), json.dumps(faults)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def charged(lines: list[str]) -> set[str]:
    return {line.removeprefix(CHARGED) for line in lines if line.startswith(CHARGED)}


def test_without_asserts_a_trial_is_not_charged_what_its_selection_never_paid(said: dict[str, list[str]]) -> None:
    lines = said["as it is"]
    assert charged(lines) == PAID
    before, dear, more, query, unopened = [line for line in lines if not line.startswith(CHARGED)]
    assert before.startswith("LostAnswer") and "the selection s is not charged" in before
    for refusal, what in ((dear, "ten times as dear"), (more, "one more than was drawn"), (query, "with the query")):
        assert refusal.startswith("BudgetExceeded") and f"'{what}' is refused" in refusal
    assert unopened.startswith("BudgetExceeded") and "no bill s was ever opened here" in unopened


@pytest.mark.parametrize(("module", "name"), GUARDS)
def test_a_guard_that_is_an_assert_would_let_it_pass(module: str, name: str, said: dict[str, list[str]]) -> None:
    """The planted fault: the same check as an assert, under -O."""
    assert charged(said[name]) == PAID | GUARDS[module, name][3]


def test_no_assert_stands_in_the_packages() -> None:
    for path in SOURCES:
        found = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
        assert not found, f"{path}: assert at line {found}"
