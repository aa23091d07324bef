"""What a sweep reads of the sensitive set without noise, known before it starts: no epsilon covers it."""

from __future__ import annotations

from privimage.privacy.looks import Look
from privimage.privacy.noise import Noise
from privimage.sweeps.sweep import Sweep


def looks_of(sweep: Sweep) -> tuple[Look, ...]:
    """Every look of its trials and rows, each once; none on a public stand-in."""
    budget = sweep.budgets[0]
    trials = [sweep.example(budget=budget)] if sweep.trials else []
    trials += [sweep.row_trial(row, seed, b, noise=Noise()) for row, seed, b in sweep.rows()]
    return tuple(dict.fromkeys(look for trial in trials for look in trial.looks))
