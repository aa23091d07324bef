"""A cap, accesses of known shares of it, and a ledger under it. Not a test module."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from privimage.privacy.budget import Budget, Event
from privimage.privacy.cap import Cap
from privimage.privacy.ledger import Ledger

BUDGET = Budget(epsilon=20, delta=1e-5)
CAP = Cap.of(BUDGET)
SGD = Event(purpose="dp-sgd", split="train", sigma=2, q=0.25, steps=16)


def part(share: float, purpose: Any = "query") -> Event:
    """The Gaussian access that uses this share of CAP: its divergence at order alpha is alpha / (2 sigma^2)."""
    split: Any = "validation" if purpose == "score" else "train"
    return Event(purpose=purpose, sigma=math.sqrt(CAP.order / (2 * share * CAP.rho)), split=split)


def capped(folder: Path, budget: Budget = BUDGET) -> Ledger:
    ledger = Ledger(folder / "x.jsonl")
    assert ledger.set_cap(budget)
    return ledger
