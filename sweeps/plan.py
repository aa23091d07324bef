"""Plan: what a sweep would ask, cost and compute, from its file alone. Opens no sensitive data and charges nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from privimage import metrics, reconcile
from privimage.data.config import SensitiveConfig
from privimage.data.load import check_there
from privimage.errors import InputError, Violation
from privimage.methods.declared import fields_of
from privimage.methods.method import load
from privimage.paths import Root
from privimage.privacy.accounting import epsilon
from privimage.privacy.accounting.costs import AnyOf, BestOf, Cost
from privimage.privacy.accounting.law import Law
from privimage.privacy.bill import Bill, Search, Study, price_trials
from privimage.privacy.budget import Budget, Event
from privimage.privacy.contents import Contents
from privimage.privacy.statement import describe, sentences
from privimage.sweeps import count
from privimage.sweeps.looks import looks_of
from privimage.sweeps.price import asking, bill_of, least_sigmas, queries_of, scores_of, search_of, shared_by_all
from privimage.sweeps.resume import asked_sigma, at_revision, check_root, check_same, ledger_of, reservation_of
from privimage.sweeps.sweep import METHOD, Sweep
from privimage.text import count as count_of
from privimage.trial import check_events

COUNTS = (1, 2, 5, 10, 50)  # numbers of trials that are compared
QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, kw_only=True)
class PricePart:
    """One line of a study's price: what is asked of which split, and its epsilon if nothing else were asked."""

    what: str
    epsilon: float
    split: str = "training"


@dataclass(frozen=True, kw_only=True)
class Quote:
    """The price of the study at one budget, or the reason why it is refused."""

    budget: Budget
    parts: tuple[PricePart, ...] = ()
    total: float = 0.0
    refusal: str | None = None


@dataclass(frozen=True, kw_only=True)
class SizePrice:
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
class Settings:
    """What a comparison row, or another method of the search, runs with where the sweep's own method does not."""

    method: str
    values: Mapping[str, object]  # dotted field -> its value there


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that `privimage plan` prints."""

    sweep: Sweep
    asked_sigma: Mapping[str, float]  # of every shared question; empty where the space does not say what is asked
    quotes: tuple[Quote, ...]
    bill: Bill | None  # None where a budget is refused
    refusal: str | None  # of the sweep as a whole: by its folder, or by the ledger
    paid: tuple[str, ...]  # what the ledger says of the set so far
    totals: tuple[SizePrice, ...]
    stages: tuple[StageCount, ...]
    settings: tuple[Settings, ...]
    ignored: tuple[str, ...]  # searched fields that change nothing

    @property
    def refused(self) -> bool:
        """Whether the sweep would not be run."""
        return self.bill is None or self.refusal is not None

    @property
    def why(self) -> str | None:
        """Why it would not be run, if so: what refuses the whole of it, else the first budget that is refused."""
        if not self.refused:
            return None
        return self.refusal or next(quote.refusal for quote in self.quotes if quote.refusal)


def make_plan(sweep: Sweep, *, root: Root) -> Plan:
    """The plan of a sweep. What would be refused is a refusal in the plan, not an error."""
    folder = root.run(sweep.name)
    try:
        sweep = at_revision(sweep, Contents(root, sweep.data.sensitive.id).latest)
        check_same(sweep, folder)
        asked, refusal = asked_sigma(sweep, folder), None
    except InputError as error:
        asked, refusal = _needed(sweep), str(error)
    refusal = refusal or _refused_by_roots(sweep, root) or _refused_by_metrics(sweep)
    quotes = tuple(_quote(sweep, budget, asked) for budget in sweep.budgets)
    bill = None if any(quote.refusal for quote in quotes) else bill_of(sweep, asked_sigma=asked)
    return Plan(
        sweep=sweep,
        asked_sigma=asked,
        quotes=quotes,
        bill=bill,
        refusal=refusal or (_refused_by_ledger(sweep, root, bill) if bill is not None else None),
        paid=_paid(sweep, root),
        totals=tuple(row for quote in quotes if not quote.refusal for row in _totals(sweep, quote.budget, asked)),
        stages=tuple(_stages(sweep)),
        settings=tuple(_settings(sweep)),
        ignored=count.ignored(sweep),
    )


def _needed(sweep: Sweep) -> dict[str, float]:
    """The least noise multiplier of every shared question at the budgets that have one; quotes of others say why."""
    found: dict[str, float] = {}
    for budget in sweep.budgets:
        with suppress(InputError):
            for question, sigma in least_sigmas(sweep.model_copy(update={"budgets": (budget,)})).items():
                found[question] = min(sigma, found.get(question, sigma))
    return found


def _refused_by_metrics(sweep: Sweep) -> str | None:
    """Why its images could not be measured: a package or weights that are missing."""
    try:
        metrics.check(sweep.measured, weights=sweep.features.weights)
    except InputError as error:
        return str(error)
    return None


def _refused_by_roots(sweep: Sweep, root: Root) -> str | None:
    """Why the data could not be read where the sweep says that it is, or the root not be used; opens no image."""
    sensitive = sweep.data.sensitive
    try:
        check_root(sweep, root)
        check_there(sweep.data.public, key="data.public")
        if isinstance(sensitive, SensitiveConfig):
            check_there(sensitive, key="data.sensitive")
            for key, other in sweep.tuning.other_data(sensitive).items():
                check_there(other, key=key)
    except InputError as error:
        return str(error)
    return None


def _refused_by_ledger(sweep: Sweep, root: Root, bill: Bill) -> str | None:
    """Why the ledger, which holds nothing sensitive, would not admit the sweep."""
    ledger, id = ledger_of(sweep, root), reservation_of(sweep)
    try:
        reconcile.check(root, sweep.data.sensitive.id)
        ledger.check_looks(looks_of(sweep))
        if not ledger.settled(id=id, events=bill.costs):
            ledger.check(id=id, what=f"sweep {sweep.name}", events=bill.costs)
    except InputError as error:
        return str(error)
    return None


def _paid(sweep: Sweep, root: Root) -> tuple[str, ...]:
    ledger = ledger_of(sweep, root)
    try:
        return tuple(sentences(ledger, delta=sweep.budgets[0].delta)) if ledger.path.exists() else ()
    except InputError:
        return ()  # said as the refusal


def _quote(sweep: Sweep, budget: Budget, asked: Mapping[str, float]) -> Quote:
    alone = sweep.model_copy(update={"budgets": (budget,)})
    try:
        bill = bill_of(alone, asked_sigma=asked)
        for _, trial in alone.corner_trials():
            check_events(trial)
    except InputError as error:
        return Quote(budget=budget, refusal=str(error))
    (study,) = bill.studies
    return Quote(budget=budget, parts=tuple(_parts(sweep, bill, study)), total=bill.epsilon_of(study))


def _parts(sweep: Sweep, bill: Bill, study: Study) -> Iterator[PricePart]:
    def part(what: str, *costs: Cost, split: str = "training") -> PricePart:
        return PricePart(what=what, epsilon=epsilon(costs, study.budget.delta), split=split)

    for query in bill.queries:
        yield part(f"{describe([query])}, asked once", query)
    for training in study.trainings:
        yield from _one_trial(sweep, study, training, part)
    if study.score is not None:
        yield part(f"one {study.score}", study.score, split="validation")
    for cost in study.search:
        match cost:
            case BestOf():
                yield part(f"best of K trials, {cost.law}", cost, split="the dearer")
            case AnyOf(times=times) if times > 1:
                scores = study.score in cost.events
                what, split = ("scores", "validation") if scores else ("trainings", "training")
                yield part(f"all {times} {what} of the search", cost, split=split)
    for row in dict.fromkeys(study.rows):
        n = study.rows.count(row)
        yield part(_rows(n, row), *[row] * n)


def _rows(n: int, row: Event) -> str:
    return f"{count_of(n, 'comparison row')}, {row}{' each' if n > 1 else ''}"


def _one_trial(sweep: Sweep, study: Study, training: Event, part: Callable[..., PricePart]) -> Iterator[PricePart]:
    """The training of a trial, and a trial with what it uses of shared answers: less noise there asks for more here."""
    most_noise, least_noise = (shared_by_all(sweep, study.budget, noisiest=noisiest) for noisiest in (True, False))
    if not most_noise or study.noise.training is not None:
        yield part(f"one {training}", training)
        return
    dearest = study.noise.solve(study.budget, training.access, others=least_noise)
    if dearest == training:
        yield part(f"one {training}", training)
    else:
        for event, shared in ((training, most_noise), (dearest, least_noise)):
            yield part(f"one {event} beside {describe(shared)}", event)
    yield part("one trial, its shared answers included", *least_noise, dearest)


def _totals(sweep: Sweep, budget: Budget, asked: Mapping[str, float]) -> Iterator[SizePrice]:
    """Prices of searches of several sizes, that of the sweep among them, at the noise of one trial alone."""
    search = search_of(sweep, budget)
    one = price_trials(budget, Search(trainings=search.trainings, scores=1, trials=1, shared=search.shared))
    if not one.trainings:
        return
    for trials in sorted({*COUNTS, max(1, sweep.trials)}):
        law = sweep.tuning.law(trials) or Law(eta=0, mean=trials)
        queries = queries_of(sweep, asked_sigma=asked, trials=trials)
        every = price_trials(budget, asking(sweep, search, trials=trials))
        if one.score is None:
            raise Violation("a trial that is priced with a score has one")
        best = BestOf(law=law, events=one.trainings, score=one.score)
        yield SizePrice(
            budget=budget,
            trials=trials,
            all_shown=epsilon((*queries, *every.search), budget.delta),
            best_only=epsilon((*queries, best), budget.delta),
            quantiles=tuple(int(k) for k in law.quantile(QUANTILES)),
        )


def _stages(sweep: Sweep) -> Iterator[StageCount]:
    """Stages that trials of the search share, without comparison rows; K of a selection counts at its mean."""
    budgets, jobs = len(sweep.budgets), sweep.tuning.makes(sweep)
    scores, needed = scores_of(sweep), budgets * jobs * len(sweep.seeds)
    for kind in dict.fromkeys(s.kind for name in sweep.methods() for s in load(name).declaration.stages):
        reaches = count.reaches(sweep, kind)
        if sweep.tuning.hidden and any(reach.depends("draw") for reach in reaches):
            computed = needed
        elif any(reach.budgeted for reach in reaches):
            computed = budgets * count.most(sweep, kind, trials=jobs)
        else:
            computed = count.most(sweep, kind, trials=budgets * jobs)
        times = scores if kind == "score" else 1
        if times:
            yield StageCount(stage=kind, computed=times * computed, needed=times * needed)


def _settings(sweep: Sweep) -> Iterator[Settings]:
    """Of every row and method of the search: fields that it uses and that differ from the sweep's own method; of those
    that this one does not know, what the other sets for itself, and what the row sets."""
    base = fields_of(sweep.configuration({}))
    others = [{METHOD: name} for name in sweep.methods()]
    for overrides in (*others, *(sweep.overrides_of(row) for row in sweep.compare)):
        method = sweep.configuration(overrides)
        uses, fields = method.member.declaration.uses, fields_of(method)
        own = {*method.member.settings, *(dotted.removeprefix("method.") for dotted in overrides)}
        differ = [k for k, v in fields.items() if (v != base[k] if k in base else k in own)]
        values = {f"method.{k}": fields[k] for k in differ if uses(k)}
        if values:
            yield Settings(method=method.name, values=values)
