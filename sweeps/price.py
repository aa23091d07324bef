"""The bill of a sweep: from the declared space to everything that its trials may ask, and the noise that follows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from privimage import metrics
from privimage.errors import InputError
from privimage.histogram import query_event
from privimage.methods.declared import fields_of
from privimage.methods.presets import PRESETS
from privimage.methods.privimage import MethodConfig, events
from privimage.methods.privimage import questions as asks
from privimage.privacy.accounting.costs import AnyOf, Cost
from privimage.privacy.bill import Bill, Covers, Search, Study, Training, price_selection, price_sweep, price_trials
from privimage.privacy.budget import Budget, Event
from privimage.privacy.noise import Noise
from privimage.sweeps import count
from privimage.sweeps.modes.tuning import Explore, Public, Select, Tuning
from privimage.sweeps.sweep import METHOD, QUERY_SIGMA, Sweep
from privimage.trial import Trial

Q, STEPS = "method.finetune.q", "method.finetune.steps"
MANY = 10**9  # no bound on what is counted


def bill_of(sweep: Sweep, *, asked_sigma: Mapping[str, float]) -> Bill:
    """Everything that the sweep may ask, priced. Reads no data.

    Raises InputError if the space does not say beforehand what may be asked, BudgetExceeded if no noise is enough.
    """
    queries = queries_of(sweep, asked_sigma=asked_sigma, trials=_jobs(sweep))
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


def _study(sweep: Sweep, budget: Budget, queries: tuple[Cost, ...]) -> Study:
    search, private = search_of(sweep), _trained_rows(sweep, budget)
    if isinstance(sweep.tuning, Explore):
        alone = price_trials(budget, search)
        shared = [trial for trial in private if _asked_anyway(sweep, trial, alone.noise)]
        private = [trial for trial in private if trial not in shared]
    if isinstance(sweep.tuning, Explore) and sweep.tuning.covers == "sweep":
        asked = tuple(Training(q=t.method.finetune.q, steps=t.method.finetune.steps) for t in private)
        return price_sweep(budget, search, queries=queries, rows=asked)
    priced = tuple(_training(trial, Noise()) for trial in private)
    if isinstance(sweep.tuning, Public):
        return price_sweep(budget, search, queries=queries).model_copy(update={"rows": priced})
    if search.law is not None:
        return price_selection(budget, search, queries=queries, rows=priced)
    return price_trials(budget, search, rows=priced)


def _trained_rows(sweep: Sweep, budget: Budget) -> list[Trial]:
    """A comparison row for every different training: rows that differ in post-processing only share theirs."""
    found: dict[object, Trial] = {}
    for row, seed, at in sweep.rows():
        trial = sweep.row_trial(row, seed, at, noise=Noise())
        if at == budget and trial.method.preset.finetune == "private":
            found.setdefault((count.settings(trial.method, "generator"), seed), trial)
    return list(found.values())


def _asked_anyway(sweep: Sweep, row: Trial, noise: Noise) -> bool:
    """Whether the search asks the training of a row: it tries all its settings, and this is one, with equal noise."""
    if _jobs(sweep) < count.distinct(sweep, "generator"):
        return False
    equal = _training(row, Noise()) == _training(row, noise)
    return equal and row.seed in sweep.seeds and count.holds(sweep, "generator", row.method)


def _training(trial: Trial, noise: Noise) -> Event:
    """What a trial with DP-SGD asks by it, with that noise."""
    return events(trial.method, trial.budget, noise, identity=trial.identity)[-1]


def search_of(sweep: Sweep) -> Search:
    """What the trials of one study may ask."""
    presets = [PRESETS[name] for name in sweep.presets()]
    law = sweep.tuning.law(sweep.trials) if isinstance(sweep.tuning, Select) else None
    if law is not None and any(preset.finetune != "private" for preset in presets):
        raise InputError("method.name: in mode select every configuration is fine-tuned with DP-SGD; use privimage+d")
    scores = 0 if isinstance(sweep.tuning, Public) else sum(metrics.is_private(name) for name in sweep.measured)
    query = query_event(_largest_sigma(sweep), None) if all(preset.queries for preset in presets) else None
    search = Search(trainings=tuple(dict.fromkeys(_trainings(sweep))), scores=scores, law=law, query=query)
    match sweep.tuning:
        case Select():
            return search  # its law hides the number of trials, and each has noise of its own
        case Public():
            runs = len(set(sweep.seeds)) if sweep.trials else 0
            return search.model_copy(update={"trials": runs})
        case Explore():
            return asking(sweep, search, trials=_jobs(sweep))


def asking(sweep: Sweep, search: Search, *, trials: int) -> Search:
    """The same search with so many trials, all shown: each with every seed, and each question asked once."""
    scored = count.most(sweep, "score", trials=trials) * search.scores
    return search.model_copy(
        update={
            "trials": trials * len(sweep.seeds),
            "trained": count.most(sweep, "generator", trials=trials),
            "scored": scored,
            "law": None,
        }
    )


def _jobs(sweep: Sweep) -> int:
    """Configurations that ask the sensitive set at one budget, at most; a private selection has no such bound."""
    match sweep.tuning:
        case Select():
            return MANY
        case Public():
            return min(1, sweep.trials)
        case Explore():
            return sweep.configurations


def _trainings(sweep: Sweep) -> Iterator[Training]:
    for name in sweep.presets():
        if PRESETS[name].finetune == "private":
            for q, steps in itertools.product(_values(sweep, name, Q), _values(sweep, name, STEPS)):
                yield Training(q=float(q), steps=int(steps))


def _values(sweep: Sweep, name: str, dotted: str) -> tuple[Any, ...]:
    """All values of a field that decides what a method asks. Raises InputError if it is searched over a range."""
    if dotted not in sweep.search:
        method = sweep.example(budget=sweep.budgets[0], overrides={METHOD: name}).method
        return (fields_of(method)[dotted.removeprefix("method.")],)
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
    return max(float(value) for name in sweep.presets() for value in _values(sweep, name, QUERY_SIGMA))


def queries_of(sweep: Sweep, *, asked_sigma: Mapping[str, float], trials: int) -> tuple[Cost, ...]:
    """The different shared questions of comparison rows and of so many trials at every budget, each asked once.

    Where the trials are fewer than what the search may ask, any of that, so often.
    """
    rows, searched = questions(sweep, _row_methods(sweep)), questions(sweep, _searched_methods(sweep))
    asked = {question: query_event(asked_sigma[question], question) for question in {**rows, **searched}}
    sure, open_ = [asked[q] for q in rows], [asked[q] for q in searched if q not in rows]
    times = trials * len(sweep.budgets)
    if len(open_) <= times:
        return (*sure, *open_)
    return (*sure, *((AnyOf(events=tuple(open_), times=times),) if times else ()))


def least_sigmas(sweep: Sweep) -> dict[str, float]:
    """Every shared question of the sweep with the least noise multiplier that anything in it needs: it is asked there.

    Raises InputError if the space does not say beforehand what may be asked.
    """
    return questions(sweep, (*_searched_methods(sweep), *_row_methods(sweep)))


def asked_by(sweep: Sweep, *, asked_sigma: Mapping[str, float]) -> tuple[MethodConfig, ...]:
    """A configuration for every shared question that the search may ask, with the noise that it is asked at."""
    identity = sweep.data.identity
    found = {question: method for method in _searched_methods(sweep) for question in asks(method, identity)}
    return tuple(
        method.model_copy(update={"query": method.query.model_copy(update={"sigma": asked_sigma[question]})})
        for question, method in found.items()
    )


def questions(sweep: Sweep, methods: Iterable[MethodConfig]) -> dict[str, float]:
    """The shared questions of these configurations, each with the least noise multiplier that any of them needs."""
    found: dict[str, float] = {}
    for method in methods:
        for question, sigma in asks(method, sweep.data.identity).items():
            found[question] = min(sigma, found.get(question, sigma))
    return found


def _searched_methods(sweep: Sweep) -> Iterator[MethodConfig]:
    """The search's configurations, as far as they ask different questions or ask them with less noise."""
    dimensions = [dotted for dotted in sweep.search if dotted.startswith("method.query.") and dotted != QUERY_SIGMA]
    sigmas = _least(sweep.search[QUERY_SIGMA].corners()) if QUERY_SIGMA in sweep.search else {}
    for name in sweep.presets() if sweep.trials else ():
        if PRESETS[name].queries:
            for values in itertools.product(*(_values(sweep, name, dotted) for dotted in dimensions)):
                yield _method(sweep, {METHOD: name, **dict(zip(dimensions, values, strict=True)), **sigmas})


def _least(values: Iterable[Any]) -> dict[str, Any]:
    """The searched query noise at its least; values that are no numbers are for corner_trials to refuse."""
    return {QUERY_SIGMA: min(value for value in values if isinstance(value, int | float))}


def _row_methods(sweep: Sweep) -> Iterator[MethodConfig]:
    return (_method(sweep, sweep.overrides_of(row)) for row in sweep.compare if PRESETS[row.method].queries)


def _method(sweep: Sweep, overrides: Mapping[str, Any]) -> MethodConfig:
    return sweep.example(budget=sweep.budgets[0], overrides=overrides).method
