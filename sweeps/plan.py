"""Plan: what a sweep would ask, cost and compute, from its file alone. Opens no sensitive data and charges nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from privimage.accounting import epsilon
from privimage.budget import AnyOf, BestOf, Budget, Cost, Event
from privimage.errors import InputError
from privimage.paths import Root
from privimage.tuning.bill import Bill, Search, Study, price_trials
from privimage.tuning.law import Law
from sweeps.price import bill_of, families, search_of
from sweeps.resume import asked_sigma
from sweeps.sweep import Sweep
from sweeps.tuning import Select

COUNTS = (1, 2, 5, 10, 50)  # numbers of trials that are compared
QUANTILES = (0.5, 0.9, 0.99)

RULES = {
    "explore": "any sampler, any objective; everything may be shown, at the price of everything",
    "select": "independent random configurations, one private score; only the winner is shown and can be pulled; the "
    "number of trials K, the other trials and the scores stay hidden",
    "public": "any sampler, any objective, on public data; the sensitive set is asked for one run a budget",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One line of a study's price: what is asked, and its epsilon if nothing else were asked."""

    what: str
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class Quote:
    """The price of the study at one budget, or the reason why it is refused."""

    budget: Budget
    parts: tuple[Part, ...] = ()
    total: float = 0.0
    refusal: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """What `trials` trials cost that each meet the budget alone: all of them shown, or only the best of about so many.

    `quantiles` are those of K (half of the time at most, 9 times of 10, 99 of 100) where only the best is shown.
    """

    budget: Budget
    trials: int
    all_shown: float
    best_only: float
    quantiles: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class StageCount:
    """How often a stage is computed at most, over how many trials that need it; the rest are hits in the cache."""

    stage: str
    computed: int
    needed: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that `privimage plan` prints."""

    sweep: Sweep
    rules: str
    asked_sigma: float
    quotes: tuple[Quote, ...]
    bill: Bill | None  # None where a budget is refused
    totals: tuple[Row, ...]
    stages: tuple[StageCount, ...]

    @property
    def refused(self) -> bool:
        """Whether the sweep would not be run."""
        return self.bill is None


def make_plan(sweep: Sweep, *, root: Root) -> Plan:
    """The plan of a sweep. A budget that cannot be met is a refusal in its quote, not an error."""
    asked = asked_sigma(sweep, root.run(sweep.name))
    quotes = tuple(_quote(sweep, budget, asked) for budget in sweep.budgets)
    refused = any(quote.refusal for quote in quotes)
    return Plan(
        sweep=sweep,
        rules=RULES[sweep.tuning.mode],
        asked_sigma=asked,
        quotes=quotes,
        bill=None if refused else bill_of(sweep, asked_sigma=asked),
        totals=tuple(row for quote in quotes if not quote.refusal for row in _totals(sweep, quote.budget, asked)),
        stages=tuple(_stages(sweep)),
    )


def _quote(sweep: Sweep, budget: Budget, asked: float) -> Quote:
    alone = sweep.model_copy(update={"budgets": (budget,)})
    try:
        bill = bill_of(alone, asked_sigma=asked)
        for _, trial in alone.corner_trials():
            assert trial.events or not trial.method.preset.queries  # calibrated: raises if the budget cannot be met
    except InputError as error:
        return Quote(budget=budget, refusal=str(error))
    (study,) = bill.studies
    return Quote(budget=budget, parts=tuple(_parts(bill, study)), total=bill.epsilon_of(study))


def _parts(bill: Bill, study: Study) -> Iterator[Part]:
    def part(what: str, *costs: Cost) -> Part:
        return Part(what=what, epsilon=epsilon(costs, study.budget.delta))

    for query in bill.queries:
        yield part(f"query, sigma_s {query.sigma:g}, asked once", query)
    for training in study.trainings:
        yield part(f"one training, sigma {training.sigma:.4g}, q {training.q:g}, {training.steps} steps", training)
    if study.score is not None:
        yield part(f"one score, sigma {study.score.sigma:.4g}, on the validation split", study.score)
    for cost in study.search:
        match cost:
            case BestOf():
                yield part(f"best of K trainings, {cost.law}", cost)
            case AnyOf(times=times) if times > 1:
                yield part(f"all {times} {'scores' if study.score in cost.events else 'trainings'} of the search", cost)
    for row in dict.fromkeys(study.rows):
        yield part(f"{study.rows.count(row)} comparison rows, sigma {row.sigma:.4g} each", *study.rows)


def _totals(sweep: Sweep, budget: Budget, asked: float) -> Iterator[Row]:
    """Prices of searches of several sizes, at the noise with which one trial alone meets the budget."""
    search = search_of(sweep)
    queries = tuple(Event(purpose="query", sigma=asked) for _ in families(sweep))
    query = queries[0] if queries else None
    one = price_trials(budget, Search(trainings=search.trainings, scores=1, trials=1, query=query))
    if not one.trainings:
        return
    eta = sweep.tuning.eta if isinstance(sweep.tuning, Select) else 0.0
    for count in COUNTS:
        law = Law(eta=eta, mean=count)
        assert one.score is not None
        best = BestOf(law=law, events=one.trainings, score=one.score)
        yield Row(
            budget=budget,
            trials=count,
            all_shown=epsilon((*queries, AnyOf(events=one.trainings, times=count)), budget.delta),
            best_only=epsilon((*queries, best), budget.delta),
            quantiles=tuple(int(k) for k in law.quantile(QUANTILES)),
        )


STAGES: tuple[tuple[str, Sequence[str]], ...] = (  # what determines each stage
    ("query-function", ("method.query.function",)),
    ("histogram", ("method.query.function", "method.query.k1")),
    ("selection", ("method.query", "method.select")),
    ("pretrained", ("method.query", "method.select", "method.model", "method.pretrain")),
)


def _stages(sweep: Sweep) -> Iterator[StageCount]:
    """Stages that trials of the search share, without comparison rows."""
    trials = len(sweep.budgets) * sweep.trials * len(sweep.seeds)
    for stage, prefixes in STAGES:
        sizes = [
            math.inf if (listed := dimension.listed()) is None else len(listed)
            for dotted, dimension in sweep.search.items()
            if dotted.startswith(tuple(prefixes))
        ]
        seeds = len(sweep.seeds) if stage == "pretrained" else 1
        yield StageCount(stage=stage, computed=int(min(trials, math.prod(sizes) * seeds)), needed=trials)
