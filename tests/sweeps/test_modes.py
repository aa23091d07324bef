"""Whole sweeps in mode public, and under a cap, on a real Ray. (Mode select: tests/privacy/test_hidden_number.py.)"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whole import IN_TURN, run

from privimage import record as records
from privimage.errors import BudgetExceeded
from privimage.privacy.accounting import epsilon
from privimage.privacy.bill import Bill
from privimage.privacy.budget import Budget
from privimage.privacy.ledger import Ledger

Values = Callable[[], dict[str, Any]]
BUDGETS = [{"epsilon": 6, "delta": 1e-5}]


@pytest.mark.thorough
def test_a_public_search_asks_the_sensitive_set_once_a_budget(
    local_ray: None, tiny_values: Values, tmp_path: Path
) -> None:
    values = tiny_values() | {
        "tuning": {"mode": "public", "stand_in": {"share": 0.3}},
        "budgets": BUDGETS,
        "trials": 2,
        **IN_TURN,
    }
    outcome = run(values, tmp_path)
    folder = outcome.folder
    assert outcome.failures == (), "nothing that the wall had to refuse"
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
