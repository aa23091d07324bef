"""How large a sweep may be: within these limits it is loaded in seconds and priced in minutes, beyond them refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from privimage.errors import InputError
from privimage.methods.presets import PRESETS

if TYPE_CHECKING:
    from privimage.sweeps.sweep import Sweep

MOST_BUDGETS = 10
MOST_SEEDS = 100
MOST_ROWS = 100
MOST_SEARCHED = 50  # fields
MOST_TRIALS = 10_000  # of the search and of comparison rows, over all budgets and seeds
MOST_SETTINGS = 10_000  # that are tried before the sweep starts: every value of every field, method and budget
MOST_ASKED = 60  # different accesses that are priced: each takes seconds
Q, STEPS, SIGMA = "method.finetune.q", "method.finetune.steps", "method.query.sigma"


def check_size(sweep: Sweep) -> None:
    """Raise InputError if the sweep has more trials, or more settings, than are worth a look."""
    budgets, seeds = len(sweep.budgets), len(sweep.seeds)
    rows = sum(1 for _ in sweep.rows())
    trials = sweep.trials * budgets * seeds + rows
    if trials > MOST_TRIALS:
        raise InputError(
            f"trials: got {sweep.trials}; with {budgets} budgets, {seeds} seeds and {rows} comparison rows these are "
            f"{trials} trials; at most {MOST_TRIALS}"
        )
    values = sum(len(dimension.corners()) for dimension in sweep.search.values())
    settings = values * len(sweep.presets()) * budgets
    if settings > MOST_SETTINGS:
        raise InputError(
            f"search: got {values} values of {len(sweep.search)} fields, which are {settings} settings with "
            f"{len(sweep.presets())} methods and {budgets} budgets; at most {MOST_SETTINGS}; give fewer, or ranges"
        )


def check_asked(sweep: Sweep) -> None:
    """Raise InputError if the sweep asks more different questions than can be priced."""
    listed = {dotted: len(dimension.listed() or (0,)) for dotted, dimension in sweep.search.items()}
    trainings = listed.get(Q, 1) * listed.get(STEPS, 1)
    queries = math.prod(n for dotted, n in listed.items() if dotted.startswith("method.query.") and dotted != SIGMA)
    rows = set()
    for row in sweep.compare:
        method = sweep.example(budget=sweep.budgets[0], overrides=sweep.overrides_of(row)).method
        rows.add((PRESETS[row.method].queries, method.query, method.finetune.q, method.finetune.steps))
    asked = len(sweep.budgets) * (trainings + queries + listed.get(SIGMA, 1) + len(rows))
    if asked > MOST_ASKED:
        raise InputError(
            f"search: {trainings} trainings (values of {Q} and {STEPS}), {listed.get(SIGMA, 1)} values of {SIGMA}, "
            f"{queries} queries and {len(rows)} different comparison rows at {len(sweep.budgets)} budgets are {asked} "
            f"prices; at most {MOST_ASKED}; give fewer values, a range of {SIGMA}, or a sweep for each budget"
        )
