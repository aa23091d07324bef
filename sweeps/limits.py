"""How large a sweep may be: within these limits it is loaded in seconds and priced in minutes, beyond them refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from privimage.errors import InputError
from privimage.methods.declared import fields_of
from privimage.methods.method import load

if TYPE_CHECKING:
    from privimage.sweeps.sweep import Sweep
    from privimage.trial import Trial

MOST_BUDGETS = 10
MOST_SEEDS = 100
MOST_ROWS = 100
MOST_SEARCHED = 50  # fields
MOST_TRIALS = 10_000  # of the search and of comparison rows, over all budgets and seeds
MOST_SETTINGS = 10_000  # that are tried before the sweep starts: every value of every field, method and budget
MOST_ASKED = 60  # different accesses that are priced: each takes seconds


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
    settings = values * len(sweep.methods()) * budgets
    if settings > MOST_SETTINGS:
        raise InputError(
            f"search: got {values} values of {len(sweep.search)} fields, which are {settings} settings with "
            f"{len(sweep.methods())} methods and {budgets} budgets; at most {MOST_SETTINGS}; give fewer, or ranges"
        )


def check_asked(sweep: Sweep) -> None:
    """Raise InputError if the sweep asks more different questions than can be priced."""
    listed = {dotted: len(dimension.listed() or (0,)) for dotted, dimension in sweep.search.items()}
    trained, noise, asking = _deciding(sweep)
    trainings, queries = (math.prod(listed.get(field, 1) for field in fields) for fields in (trained, asking))
    sigmas = math.prod(listed.get(field, 1) for field in noise)
    rows = {_asked(sweep.example(budget=sweep.budgets[0], overrides=sweep.overrides_of(row))) for row in sweep.compare}
    asked = len(sweep.budgets) * (trainings + queries + sigmas + len(rows))
    if asked > MOST_ASKED:
        said = " and ".join(noise)
        fewer = f"fewer values, a range of {said}," if noise else "fewer values"
        raise InputError(
            f"search: {trainings} trainings (values of {' and '.join(trained)}), "
            + (f"{sigmas} values of {said}, " if noise else "")
            + f"{queries} shared questions and {len(rows)} different comparison rows at {len(sweep.budgets)} budgets "
            f"are {asked} prices; at most {MOST_ASKED}; give {fewer} or a sweep for each budget"
        )


def _deciding(sweep: Sweep) -> tuple[list[str], list[str], list[str]]:
    """The fields that decide: what is asked with noise by the budget; the noise of shared answers; their questions."""
    trained, noise, asking = dict[str, None](), dict[str, None](), dict[str, None]()
    for method in map(load, sweep.methods()):
        declaration = method.declaration
        noise |= dict.fromkeys(f"method.{field}" for field in method.noise_fields)
        for stage, ask in declaration.asking:
            trained |= dict.fromkeys(f"method.{field}" for field in ask.fields if ask.solved)
            decided = (d for d in sweep.search if declaration.decides(d.removeprefix("method."), stage.kind))
            asking |= dict.fromkeys(decided if ask.shared else ())
    return list(trained), list(noise), [field for field in asking if field not in noise]


def _asked(trial: Trial) -> tuple[object, ...]:
    """What a trial asks, but for noise that follows from the budget."""
    method, fields = trial.method.member, fields_of(trial.method)
    accesses = (ask.access(fields) for _, ask in method.declaration.asking)
    return (*accesses, *trial.questions.items())
