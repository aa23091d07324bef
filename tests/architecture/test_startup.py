"""What starts at once: verbs that read what was written load nothing that computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import privimage
from privimage import record as records
from privimage.paths import Root
from privimage.privacy.accounting.costs import BestOf
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Budget, Event
from privimage.privacy.ledger import Ledger
from privimage.record import Record, StageRecord
from privimage.schema import parse
from privimage.sweeps.price import bill_of, least_sigmas
from privimage.sweeps.sweep import Sweep

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "opacus", "ray", "optuna", "scipy.stats", "sklearn", "pandas", "matplotlib", "dp_accounting")
COMMAND = (
    "import sys\n"
    "from privimage.sweeps.cli import main\n"
    "try: main()\n"
    "except SystemExit as end: code = end.code\n"
    f"sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))\n"
    "sys.exit(code)\n"
)


def loaded(*words: object) -> tuple[list[str], str]:
    """(what of HEAVY that command loaded, what it printed), in a process of its own."""
    command = [sys.executable, "-c", COMMAND, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stderr.split(), done.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A run with its bill and a record, and the ledger of its set: with a cap, an access and a selection."""
    root = Root(path=tmp_path_factory.mktemp("runs"))
    values = {
        "name": "small",
        "data": {"sensitive": {"name": "digits", "id": "digits-v1"}, "public": {"name": "glyphs"}},
        "budgets": [{"epsilon": 10, "delta": 1e-5}],
        "objectives": {"accuracy[lr]": "max"},
    }
    sweep, folder = parse(Sweep, values), root.run("small")
    bill, folder_path = bill_of(sweep, asked_sigma=least_sigmas(sweep)), folder.path
    folder_path.mkdir()
    folder.bill.write_text(bill.model_dump_json())
    folder.sweep.write_text(yaml.safe_dump(values))
    ((budget,), trial) = sweep.budgets, sweep.example(budget=sweep.budgets[0])
    records.append(folder.records, Record(
        id=trial.id, sweep="small", role="search", method=trial.method.name, config=trial.model_dump(mode="json"),
        budget=budget, seed=0, events=trial.events, paid=(), epsilon_alone=9.9, epsilon_rdp_alone=11.0, metrics=(),
        stages=(StageRecord(name="generator", origin="built", seconds=1, peak_mib=1),), artefacts={},
        started="2026-01-02T03:04:05+00:00", seconds=1, versions={},
    ))  # fmt: skip
    ledger, event = Ledger(root.ledger("digits-v1")), Event(purpose="dp-sgd", sigma=4, split="train")
    ledger.set_cap(Budget(epsilon=20, delta=1e-5))
    score = Event(purpose="score", sigma=9, split="validation")
    for id, cost in (("one", event), ("best", BestOf(law=Law(eta=0.5, mean=3), events=(event,), score=score))):
        ledger.charge(id=id, what=id, events=(cost,))
    return root


def test_help_and_version() -> None:
    found, said = loaded("--help")
    assert not found and "ledger" in said
    found, said = loaded("--version")
    assert not found and privimage.__version__ in said.split()


def test_what_was_paid(root: Root) -> None:
    found, said = loaded("ledger", "show", root.ledger("digits-v1"))
    assert not found and "best" in said


@pytest.mark.thorough
def test_how_far_a_run_is(root: Root) -> None:
    found, said = loaded("status", root.run("small").path)
    assert not found and "privimage+d" in said


@pytest.mark.thorough
@pytest.mark.parametrize("recipe", ["demo", "digits"])
def test_what_would_be_asked(recipe: str, tmp_path: Path) -> None:
    found, said = loaded("plan", recipe, "--no-estimate", "--root", tmp_path)
    assert not found and "asked of the sensitive set" in said
