"""Guards of privacy are raises: they hold under `python -O`, which drops every assert."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[2]
PACKAGES = ("privimage", "cluster", "sweeps", "analysis")
SOURCES = [path for package in PACKAGES for path in (HERE / package).rglob("*.py")]

SEEN = """
import sys
from pathlib import Path
from privimage import covered
from privimage.budget import BestOf, Event
from privimage.ledger import Ledger
from privimage.tuning.law import Law

training, score = Event(purpose="dp-sgd", sigma=2, q=0.1, steps=5), Event(purpose="score", sigma=9)
cost = BestOf(law=Law(mean=3), events=(training,), score=score)
ledger = Ledger(Path(sys.argv[1]) / "ledger.jsonl")
ledger.charge(id="s", what="a selection", events=(cost,))
trial = covered.CoveredLedger(ledger, inner=Path(sys.argv[1]) / "inner.jsonl", selection="s", cost=cost)
trial.charge(id="a", what="what was paid", events=(training,))
trial.charge(id="b", what="ten times as dear", events=(training.scaled(0.1),))
print("charged")
"""


def run(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-O", "-c", source, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_without_asserts_a_trial_is_not_charged_what_its_selection_never_paid(tmp_path: Path) -> None:
    done = run(SEEN, tmp_path)
    assert done.returncode == 1 and "charged" not in done.stdout
    assert "Violation: the selection s did not pay for ten times as dear" in done.stderr


def test_a_guard_that_is_an_assert_would_let_it_pass(tmp_path: Path) -> None:
    """The planted fault: the same check as an assert, under -O."""
    source = (HERE / "privimage" / "covered.py").read_text()
    start = source.index("        if not all(event in allowed")
    end = source.index("        self._inner.path.parent.mkdir")
    fault = source[:start] + "        assert all(event in allowed for event in events)\n" + source[end:]
    planted = f"from privimage import covered\nexec(compile({fault!r}, 'covered', 'exec'), vars(covered))\n"
    assert "charged" in run(planted + SEEN, tmp_path).stdout


def test_no_assert_stands_in_the_packages() -> None:
    for path in SOURCES:
        found = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
        assert not found, f"{path}: assert at line {found}"
