"""The bill of a sweep: from the declared space to everything that its trials may ask, and the noise that follows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from privimage import metrics
from privimage.budget import Budget, Event
from privimage.errors import InputError
from privimage.histogram import query_family
from privimage.methods.presets import PRESETS
from privimage.methods.privimage import MethodConfig, events
from privimage.tuning.bill import Bill, Covers, Search, Study, Training, price_selection, price_sweep, price_trials
from privimage.tuning.noise import Noise
from sweeps.space import Scalar
from sweeps.sweep import QUERY_SIGMA, Sweep
from sweeps.tuning import Explore, Public, Select, Tuning

NAME, Q, STEPS = "method.name", "method.finetune.q", "method.finetune.steps"


def bill_of(sweep: Sweep, *, asked_sigma: float) -> Bill:
    """Everything that the sweep may ask, priced. Reads no data.

    Raises InputError if the space does not say beforehand what may be asked, BudgetExceeded if no noise is enough.
    """
    queries = tuple(Event(purpose="query", sigma=asked_sigma) for _ in families(sweep))
    studies = tuple(_study(sweep, budget, queries) for budget in sweep.budgets)
    return Bill(mode=sweep.tuning.mode, covers=_covers(sweep.tuning), queries=queries, studies=studies)


def _covers(tuning: Tuning) -> Covers:
    """What meets a budget."""
    match tuning:
        case Explore():
            return tuning.covers
        case Select():
            return "selection"
        case Public():
            return "run"


def row_noise(bill: Bill, budget: Budget) -> Noise:
    """The noise of comparison rows at a budget: that of the search where one total covers both, else their own."""
    return bill.study(budget).noise if bill.covers == "sweep" else Noise()


def _study(sweep: Sweep, budget: Budget, queries: tuple[Event, ...]) -> Study:
    search = search_of(sweep)
    rows = [sweep.row_trial(r, seed, b, asked_sigma=1e-9, noise=Noise()) for r, seed, b in sweep.rows() if b == budget]
    private = [trial for trial in rows if trial.method.preset.finetune == "private"]
    if isinstance(sweep.tuning, Explore) and sweep.tuning.covers == "sweep":
        asked = tuple(Training(q=t.method.finetune.q, steps=t.method.finetune.steps) for t in private)
        return price_sweep(budget, search, queries=queries, rows=asked)
    priced = tuple(events(trial.method, budget, Noise())[-1] for trial in private)
    if isinstance(sweep.tuning, Public):
        return price_sweep(budget, search, queries=queries).model_copy(update={"rows": priced})
    if search.law is not None:
        return price_selection(budget, search, queries=queries, rows=priced)
    return price_trials(budget, search, rows=priced)


def search_of(sweep: Sweep) -> Search:
    """What the trials of one study may ask."""
    presets = [PRESETS[str(name)] for name in _values(sweep, NAME)]
    private = [preset for preset in presets if preset.finetune == "private"]
    trainings = tuple(
        Training(q=float(q), steps=int(steps))
        for q, steps in itertools.product(_values(sweep, Q), _values(sweep, STEPS))
    )
    law = sweep.tuning.law(sweep.trials) if isinstance(sweep.tuning, Select) else None
    if law is not None and len(private) < len(presets):
        raise InputError("method.name: in mode select every configuration is fine-tuned with DP-SGD; use privimage+d")
    scored = 0 if isinstance(sweep.tuning, Public) else sum(metrics.is_private(name) for name in sweep.measured)
    query = Event(purpose="query", sigma=_largest_sigma(sweep)) if all(preset.queries for preset in presets) else None
    return Search(trainings=trainings if private else (), scores=scored, trials=_trials(sweep), law=law, query=query)


def _trials(sweep: Sweep) -> int:
    """How many trials a study asks of the sensitive set; a private selection hides the number (see its law)."""
    match sweep.tuning:
        case Select():
            return 0
        case Public():
            return len(sweep.seeds) if sweep.trials else 0
        case Explore():
            return (sweep.trials if sweep.search else min(1, sweep.trials)) * len(sweep.seeds)


def _values(sweep: Sweep, dotted: str) -> tuple[Scalar, ...]:
    """All values of a field that decides what is asked. Raises InputError if it is searched over a range."""
    if dotted not in sweep.search:
        base = sweep.example(budget=sweep.budgets[0]).model_dump()
        value: Any = base
        for part in dotted.split("."):
            value = value[part]
        return (value,)
    listed = sweep.search[dotted].listed()
    if listed is None:
        raise InputError(
            f"search.{dotted}: decides what a trial asks of the sensitive set, and the price of a sweep is fixed "
            "before its first trial; list its values: {choice: [..]}"
        )
    return listed


def _largest_sigma(sweep: Sweep) -> float:
    if QUERY_SIGMA in sweep.search:
        return max(float(value) for value in sweep.search[QUERY_SIGMA].corners())
    return sweep.example(budget=sweep.budgets[0]).method.query.sigma


def families(sweep: Sweep) -> set[str]:
    """The different questions that the sweep asks (k1 and query function): each is asked once, at one sigma_s."""
    return {query_family(sweep.data.identity, config.query) for config in _asking(sweep)}


def _asking(sweep: Sweep) -> Iterator[MethodConfig]:
    """One configuration for every different query of the search and of the comparison rows."""
    budget = sweep.budgets[0]
    dimensions = [dotted for dotted in sweep.search if dotted.startswith("method.query.") and dotted != QUERY_SIGMA]
    if sweep.trials and any(PRESETS[str(name)].queries for name in _values(sweep, NAME)):
        for values in itertools.product(*(_values(sweep, dotted) for dotted in dimensions)):
            yield sweep.example(budget=budget, overrides=dict(zip(dimensions, values, strict=True))).method
    for row in sweep.compare:
        if PRESETS[row.method].queries:
            yield sweep.example(budget=budget, overrides=sweep.overrides_of(row)).method
