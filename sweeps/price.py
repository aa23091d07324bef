"""The bill of a sweep: from the declared space to everything that its trials may ask, and the noise that follows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from privimage import metrics
from privimage.errors import BudgetExceeded, InputError, SharedTooDear
from privimage.methods.declared import fields_of
from privimage.methods.method import MethodConfig, load
from privimage.methods.resolve import replaced
from privimage.privacy.accounting.costs import AnyOf, Cost
from privimage.privacy.bill import Bill, Search, Study, price_trials
from privimage.privacy.budget import Access, Budget, Event
from privimage.privacy.noise import Noise
from privimage.sweeps import count
from privimage.sweeps.sweep import METHOD, Sweep
from privimage.trial import Trial


def bill_of(sweep: Sweep, *, asked_sigma: Mapping[str, float]) -> Bill:
    """Everything that the sweep may ask, priced. Reads no data.

    Raises InputError if the space does not say beforehand what may be asked, BudgetExceeded if no noise is enough.
    """
    queries = queries_of(sweep, asked_sigma=asked_sigma, trials=sweep.tuning.asks(sweep))
    try:
        studies = tuple(_study(sweep, budget, queries) for budget in sweep.budgets)
    except SharedTooDear as error:
        own = fields_of(sweep.configuration({}))
        null = [name for name in noise_fields(sweep) if own.get(name.removeprefix("method."), 0) is None]
        if not null:
            raise error.naming(noise_fields(sweep)) from None
        raise BudgetExceeded(
            f"{error.cost}; {' and '.join(null)}: null takes all that a budget allows, and in mode "
            f"{sweep.tuning.mode} more has to fit beside it; give a number, or make a sweep of each budget"
        ) from None
    return Bill(mode=sweep.tuning.mode, covers=sweep.tuning.meets, queries=queries, studies=studies)


def row_noise(bill: Bill, budget: Budget) -> Noise:
    """The noise of comparison rows at a budget: that of the search where one total covers both, else their own."""
    return bill.study(budget).noise if bill.together else Noise()


def _study(sweep: Sweep, budget: Budget, queries: tuple[Cost, ...]) -> Study:
    search, rows = search_of(sweep, budget), _trained_rows(sweep, budget)
    if sweep.tuning.open_rows:
        noise = price_trials(budget, search).noise
        rows = [trial for trial in rows if not _asked_anyway(sweep, trial, noise)]
    asked = tuple(_training(trial, Noise()) for trial in rows)
    return sweep.tuning.study(budget, search, queries=queries, rows=asked)


def _trained_rows(sweep: Sweep, budget: Budget) -> list[Trial]:
    """A comparison row for every different training: rows that differ in post-processing only share theirs."""
    found: dict[object, Trial] = {}
    for row, seed, at in sweep.rows():
        trial = sweep.row_trial(row, seed, at, noise=Noise())
        if at == budget and trial.method.member.solved:
            own = seed if count.depends(trial.method, count.SOLVED, "seed") else None
            found.setdefault((count.settings(trial.method, count.SOLVED), own), trial)
    return list(found.values())


def _asked_anyway(sweep: Sweep, row: Trial, noise: Noise) -> bool:
    """Whether the search asks the training of a row: it tries all its settings, and this is one, with equal noise."""
    if sweep.tuning.asks(sweep) < count.distinct(sweep, count.SOLVED):
        return False
    equal = _training(row, Noise()) == _training(row, noise)
    seeded = row.seed in sweep.seeds or not count.depends(row.method, count.SOLVED, "seed")
    return equal and seeded and count.holds(sweep, count.SOLVED, row.method)


def _training(trial: Trial, noise: Noise) -> Event:
    """What a trial asks with noise that follows from its budget."""
    asked = trial.model_copy(update={"noise": noise}).asked
    return asked[count.kind_of(trial.method.member, count.SOLVED)]


def search_of(sweep: Sweep, budget: Budget) -> Search:
    """What the trials of the study at this budget may ask."""
    law = sweep.tuning.law(sweep.trials)
    unsolved = [name for name in sweep.methods() if not load(name).solved]
    if law is not None and unsolved:
        raise InputError(
            f"method.name: got {', '.join(unsolved)}; in mode {sweep.tuning.mode} every trial asks for itself, with "
            "noise from the budget, and these ask only what all trials share: search them in explore"
        )
    accesses, shared = tuple(dict.fromkeys(_trainings(sweep))), shared_by_all(sweep, budget, noisiest=True)
    search = Search(trainings=accesses, scores=scores_of(sweep), law=law, shared=shared)
    # A law hides the number of trials, and each has noise of its own.
    return search if law is not None else asking(sweep, search, trials=sweep.tuning.asks(sweep))


def scores_of(sweep: Sweep) -> int:
    """How many private scores a trial of the search on the sensitive set has."""
    return sum(metrics.is_private(name) for name in sweep.measured) if sweep.tuning.scored else 0


def asking(sweep: Sweep, search: Search, *, trials: int) -> Search:
    """The same search with so many trials, all shown: each with every seed, and each question asked once."""
    scored = count.most(sweep, "score", trials=trials) * search.scores
    return search.model_copy(
        update={
            "trials": trials * len(sweep.seeds),
            "trained": count.most(sweep, count.SOLVED, trials=trials),
            "scored": scored,
            "law": None,
        }
    )


def _trainings(sweep: Sweep) -> Iterator[Access]:
    """What the search may ask with noise that follows from the budget."""
    for name in sweep.methods():
        solved = load(name).declaration.solved
        if solved is not None and solved.asks is not None:
            fields = fields_of(sweep.configuration({METHOD: name}))
            names = solved.asks.fields
            for values in itertools.product(*(_values(sweep, name, f"method.{field}") for field in names)):
                yield solved.asks.access({**fields, **dict(zip(names, values, strict=True))})


def shared_by_all(sweep: Sweep, budget: Budget, *, noisiest: bool) -> tuple[Event, ...]:
    """What every trial at this budget uses of shared answers, with the most noise that one may need, or the least.

    Of several methods, that of the one which uses least; nothing if one uses none.
    """
    found = []
    for name in sweep.methods():
        fields = fields_of(sweep.configuration({METHOD: name}))
        configs = (sweep.configuration({METHOD: name, **ends}) for ends in _noise_ends(sweep, name))
        needed = [config.member.shared(config, budget, identity=sweep.data.identity) for config in configs]
        found.append(tuple(
            ask.access(fields).event((max if noisiest else min)(events[stage.kind].sigma for events in needed))
            for stage, ask in load(name).declaration.sharing
        ))  # fmt: skip
    return min(found, key=lambda events: sum(event.sigma**-2 for event in events))


def _noise_ends(sweep: Sweep, name: str) -> Iterator[dict[str, Any]]:
    """Every combination of the least and the most noise that is searched for shared answers, and of None where it is.

    Noise that follows from the budget is the less, the more the other answers have. Values that are neither numbers nor
    None are for corner_trials to refuse.
    """
    ends = dict[str, tuple[Any, ...]]()
    for field in (f"method.{field}" for field in load(name).noise_fields):
        values = sweep.search[field].corners() if field in sweep.search else ()
        numbers = [value for value in values if isinstance(value, int | float)]
        found = (*((min(numbers), max(numbers)) if numbers else ()), *((None,) if None in values else ()))
        ends |= {field: tuple(dict.fromkeys(found))} if found else {}
    return (dict(zip(ends, chosen, strict=True)) for chosen in itertools.product(*ends.values()))


def _values(sweep: Sweep, name: str, dotted: str) -> tuple[Any, ...]:
    """All values of a field that decides what a method asks. Raises InputError if it is searched over a range."""
    if dotted not in sweep.search:
        return (fields_of(sweep.configuration({METHOD: name}))[dotted.removeprefix("method.")],)
    listed = sweep.search[dotted].listed()
    if listed is None:
        raise InputError(
            f"search.{dotted}: decides what a trial asks of the sensitive set, and the price of a sweep is fixed "
            "before its first trial; list its values: {choice: [..]}"
        )
    return listed


def queries_of(sweep: Sweep, *, asked_sigma: Mapping[str, float], trials: int) -> tuple[Cost, ...]:
    """The different shared questions of comparison rows and of so many trials at every budget, each asked once.

    Where the trials are fewer than what the search may ask, any of that, so often.
    """
    rows, searched = questions(sweep, _row_methods(sweep)), questions(sweep, _searched_methods(sweep))
    asked = {q: event.model_copy(update={"sigma": asked_sigma[q]}) for q, event in {**searched, **rows}.items()}
    sure, open_ = [asked[q] for q in rows], [asked[q] for q in searched if q not in rows]
    most = max(len(load(name).declaration.sharing) for name in sweep.methods())  # that one trial asks
    times = trials * len(sweep.budgets) * most
    if len(open_) <= times:
        return (*sure, *open_)
    return (*sure, *((AnyOf(events=tuple(open_), times=times),) if times else ()))


def least_sigmas(sweep: Sweep) -> dict[str, float]:
    """Every shared question of the sweep with the least noise multiplier that anything in it needs: it is asked there.

    Raises InputError if the space does not say beforehand what may be asked.
    """
    found = questions(sweep, (*_searched_methods(sweep), *_row_methods(sweep)))
    return {question: event.sigma for question, event in found.items()}


def noise_fields(sweep: Sweep) -> tuple[str, ...]:
    """The dotted fields that say how much noise a shared answer has, of all methods of the sweep."""
    return tuple(dict.fromkeys(f"method.{field}" for name in _all_methods(sweep) for field in load(name).noise_fields))


def answer_kinds(sweep: Sweep) -> tuple[str, ...]:
    """The kinds of stages that hold shared answers, of all methods of the sweep."""
    return tuple(
        dict.fromkeys(stage.kind for name in _all_methods(sweep) for stage, _ in load(name).declaration.sharing)
    )


def _all_methods(sweep: Sweep) -> tuple[str, ...]:
    return (*sweep.methods(), *(row.method for row in sweep.compare))


def asked_by(sweep: Sweep, *, asked_sigma: Mapping[str, float]) -> tuple[MethodConfig, ...]:
    """A configuration for every shared question that the search may ask, with the noise that it is asked at."""
    identity, found = sweep.data.identity, dict[str, MethodConfig]()
    for config in _searched_methods(sweep):
        asked = config.member.declaration.questions(fields_of(config), identity)
        noise = {
            ask.sigma: asked_sigma[asked[stage.kind]]
            for stage, ask in load(config.name).declaration.sharing
            if isinstance(ask.sigma, str)
        }
        found |= dict.fromkeys(asked.values(), replaced(config, noise))
    return tuple(dict.fromkeys(found.values()))


def questions(sweep: Sweep, configs: Iterable[MethodConfig]) -> dict[str, Event]:
    """The shared questions of these configurations, each with the least noise that one of them needs at a budget."""
    found: dict[str, Event] = {}
    for config, budget in itertools.product(configs, sweep.budgets):
        for event in config.member.shared(config, budget, identity=sweep.data.identity).values():
            question = event.shared or ""
            if question not in found or event.sigma < found[question].sigma:
                found[question] = event
    return found


def _searched_methods(sweep: Sweep) -> Iterator[MethodConfig]:
    """The search's configurations, as far as they ask different questions or need other noise of them."""
    for name in sweep.methods() if sweep.trials else ():
        declaration = load(name).declaration
        kinds = [stage.kind for stage, _ in declaration.sharing]
        noise = {f"method.{field}" for field in load(name).noise_fields}
        searched = {dotted: dotted.removeprefix("method.") for dotted in sweep.search if dotted not in noise}
        asking = [d for d, field in searched.items() if any(declaration.decides(field, kind) for kind in kinds)]
        for values in itertools.product(*(_values(sweep, name, dotted) for dotted in asking)) if kinds else ():
            for ends in _noise_ends(sweep, name):
                yield sweep.configuration({METHOD: name, **dict(zip(asking, values, strict=True)), **ends})


def _row_methods(sweep: Sweep) -> Iterator[MethodConfig]:
    return (sweep.configuration(sweep.overrides_of(row)) for row in sweep.compare if load(row.method).shares)
