"""Whole sweeps in modes select and public, and under a cap, on a real Ray."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from privimage import record as records
from privimage.errors import BudgetExceeded
from privimage.paths import Root
from privimage.privacy.accounting import epsilon
from privimage.privacy.accounting.costs import BestOf
from privimage.privacy.bill import Bill
from privimage.privacy.budget import Budget
from privimage.privacy.ledger import Ledger
from privimage.stores.file import FileStore
from privimage.stores.hidden import HiddenStore
from privimage.sweeps import progress
from privimage.sweeps.run import Outcome, run_sweep
from privimage.sweeps.sweep import load_sweep

Values = Callable[[], dict[str, Any]]
BUDGETS = [{"epsilon": 6, "delta": 1e-5}]


def run(values: dict[str, Any], root: Path) -> Outcome:
    file = root / "sweep.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return run_sweep(load_sweep(file), root=Root(path=root / "runs"), address=None, quiet=True)


def test_a_private_selection_ends_in_its_winner_alone(local_ray: None, tiny_values: Values, tmp_path: Path) -> None:
    values = tiny_values() | {
        "tuning": {"mode": "select"},
        "objectives": {"dp-accuracy[lr]": "max"},
        "metrics": ["accuracy[lr]"],
        "budgets": BUDGETS,
        "trials": 3,
    }
    folder = run(values, tmp_path).folder
    (winner,) = records.load(folder.records)
    everyone = records.load(folder.internal_records)
    assert winner.value("dp-accuracy[lr]") == max(r.value("dp-accuracy[lr]") for r in everyone)  # type: ignore[type-var]
    assert isinstance(winner.selection, BestOf) and winner.epsilon_alone is not None
    assert 5.999 < winner.epsilon_alone <= 6 and winner.epsilon_alone > max(r.epsilon_alone or 0 for r in everyone)
    assert (winner.seconds, winner.stages, winner.started) == (0.0, (), "")
    assert "draw" not in winner.config and winner.id not in {r.id for r in everyone}, "its place would bound K"

    bill = Bill.model_validate_json(folder.bill.read_text())
    assert bill.epsilon(1e-5) == winner.epsilon_alone
    ledger = Ledger(folder.root.ledger("tiny-v1"))
    assert epsilon([cost for line in ledger.charges() for cost in line.events], 1e-5) == pytest.approx(
        winner.epsilon_alone
    )
    assert len(ledger.charges()) == 2, "the query and the selection, whatever K is"
    store = FileStore(folder.root.store)
    kept = {kind: store.get(kind, winner.artefacts[kind]) for kind in ("model", "samples")}
    assert all(artefact is not None and artefact.manifest.privacy == "released" for artefact in kept.values())
    for record in everyone:
        assert store.get("model", record.artefacts["model"]) is None, "they are not even listed"
        model = HiddenStore(store).get("model", record.artefacts["model"])
        assert model is not None and model.manifest.privacy == "internal", "losers never leave"
    before = folder.records.read_bytes(), ledger.path.read_bytes()
    assert run(values, tmp_path).failures == ()
    assert before == (folder.records.read_bytes(), ledger.path.read_bytes()), "the same command again changes nothing"
    now = progress.read(folder)
    assert now is not None and not folder.progress.exists(), "when it ended tells of K: it is kept to itself"
    assert (now.rows, now.running, now.left) == ((), (), None) and now.lines() == []


def test_a_public_search_asks_the_sensitive_set_once_a_budget(
    local_ray: None, tiny_values: Values, tmp_path: Path
) -> None:
    values = tiny_values() | {
        "tuning": {"mode": "public", "stand_in": {"share": 0.3}},
        "budgets": BUDGETS,
        "trials": 2,
    }
    folder = run(values, tmp_path).folder
    (final,) = records.load(folder.records)
    searched = records.load(folder.stand_in.records)
    bill = Bill.model_validate_json(folder.bill.read_text())
    assert len(searched) == 2 and final.epsilon_alone is not None and final.epsilon_alone <= 6
    (kept,) = json.loads(folder.stand_in.settings.read_text())
    assert kept == {"method.query.sigma": final.config["method"]["query"]["sigma"]}
    paid = [cost for line in Ledger(folder.root.ledger("tiny-v1")).charges() for cost in line.events]
    assert 5.999 < epsilon(paid, 1e-5) <= 6, "the query as it was asked, and the training, meet the budget together"
    assert epsilon(paid, 1e-5) == pytest.approx(bill.epsilon(1e-5), abs=1e-9)
    best = max(r.value("accuracy[lr]") or 0 for r in searched)
    won = [r.config["method"]["query"]["sigma"] for r in searched if r.value("accuracy[lr]") == best]
    assert final.config["method"]["query"]["sigma"] in won, "the settings that won on the stand-in"
    assert all(metric.touches == ("synthetic", "public") for r in searched for metric in r.metrics)
    charges = Ledger(folder.root.ledger("tiny-v1")).charges()
    assert [line.events[0].purpose for line in charges] == ["query", "dp-sgd"]  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_sweep_beyond_the_cap_is_refused_before_it_starts(
    local_ray: None, tiny_values: Values, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "runs" / "ledgers" / "tiny-v1.jsonl")
    ledger.path.parent.mkdir(parents=True)
    ledger.set_cap(Budget(epsilon=8, delta=1e-5))
    before = ledger.path.read_bytes()
    with pytest.raises(BudgetExceeded):
        run(tiny_values() | {"budgets": BUDGETS, "trials": 5}, tmp_path)
    assert ledger.path.read_bytes() == before, "nothing charged, nothing reserved"
    assert run(tiny_values() | {"budgets": BUDGETS, "trials": 1}, tmp_path).failures == ()
    assert ledger.epsilon_filter(1e-5) <= 8
    done = ledger.path.read_bytes()
    assert run(tiny_values() | {"budgets": BUDGETS, "trials": 1}, tmp_path).failures == ()
    assert ledger.path.read_bytes() == done, "what is done reserves nothing again"
