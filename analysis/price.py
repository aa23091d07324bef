"""Price: what a run costs in all, by its bill, in the words of its tuning mode. It stands first wherever it stands.

A run without a bill was made before there were bills: its price is that of the accesses that it happened to make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis import pareto, spend, words
from analysis.facts import Facts
from privimage import accounting
from privimage.budget import Budget, Cost, Event
from privimage.record import Record
from privimage.schema import get_dotted
from privimage.tuning.bill import Bill, Study

LINE_NOTE = (
    "TPR at FPR 1%: the share of the images in use that an attacker, whatever else the attacker knows, can at most "
    "recognise as such while taking 1% of all other images for them. Guessing reaches 1%."
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """Something that can be shown, and everything that it cost."""

    what: str
    costs: tuple[Cost, ...]
    delta: float

    @property
    def epsilon(self) -> float:
        """Its epsilon, an upper bound by PLD."""
        return accounting.epsilon(self.costs, self.delta)

    @property
    def epsilon_rdp(self) -> float:
        """Its epsilon by RDP; infinite where that gives no bound."""
        return accounting.epsilon_rdp(self.costs, self.delta)

    def tpr(self, fpr: float) -> float:
        """The most that membership inference can reach at this false-positive rate."""
        return accounting.tpr(self.costs, fpr)


def lines(found: Facts) -> list[Line]:
    """Every generator that the run is about, every search, and everything together, with their prices."""
    named = [line for budget in _budgets(found) for line in _at(found, budget)]
    if found.bill is None:
        paid = [cost for access in spend.accesses(found.records) for cost in access.events if cost.private]
        total, deltas = tuple(paid), sorted({record.budget.delta for record in found.records}, reverse=True)
    else:
        total, deltas = found.bill.costs, found.bill.deltas
    return [*named, *(Line(what="everything together", costs=total, delta=delta) for delta in deltas)]


def _at(found: Facts, budget: Budget) -> list[Line]:
    """What the search at this budget ends in; and the whole search, where that is another thing."""
    best = found.best_of(_ended(found, budget))
    at, study = f"epsilon {budget.epsilon:g}", _study(found.bill, budget)
    alone, whole = [], []
    if best is not None:
        alone_ = f"the best trial at {at}, had it run alone (no guarantee: it was chosen)"
        what = f"the generator at {at}" if found.mode == "public" else alone_
        alone = [Line(what=what, costs=best.events, delta=budget.delta)]
    if found.bill is not None and study is not None and study.search:
        costs = (*found.bill.queries, *study.search)
        if study.law is not None:
            what = f"the generator at {at}, its selection included"
            return [Line(what=what, costs=costs, delta=budget.delta)] if best is not None else []
        what = f"query and training for {at}" if found.mode == "public" else f"the whole search at {at}"
        if best is None or costs != best.events:
            whole = [Line(what=what, costs=costs, delta=budget.delta)]
    return [*alone, *whole]


def _budgets(found: Facts) -> list[Budget]:
    return [study.budget for study in found.bill.studies] if found.bill is not None else pareto.budgets(found.records)


def _study(bill: Bill | None, budget: Budget) -> Study | None:
    return next((study for study in bill.studies if study.budget == budget), None) if bill is not None else None


def _ended(found: Facts, budget: Budget) -> list[Record]:
    """What the search at this budget has made: trials, or the winner, or the runs with the settings that it found."""
    return [r for r in found.records if r.private and r.role == "search" and r.budget == budget]


def headline(found: Facts, *, what: str = "Everything in this report") -> str:
    """The total in one sentence with what is in it, and what is not in it in another."""
    if found.bill is None:
        return " ".join(map(str, spend.compositions(found.records)))
    total = [f"epsilon {words.epsilon(found.bill.epsilon(delta))} at delta {delta:g}" for delta in found.bill.deltas]
    parts = [*_queries(found.bill), *_searches(found.bill), *_rows(found.bill)]
    return f"{what} together costs {words.listed(total)}: {words.listed(parts)}.{_aside(found)}"


def _aside(found: Facts) -> str:
    """What the total cannot cover, in a few words."""
    marked = f"the numbers marked {words.DAGGER} (computed from real images without noise)"
    dagger = [marked] if any(m.non_private for m in found.metrics.values()) else []
    rows = ["the rows without privacy"] if not all(record.private for record in found.records) else []
    return f" No epsilon covers {' and '.join([*dagger, *rows])}." if dagger or rows else ""


def _queries(bill: Bill) -> list[str]:
    if not bill.queries:
        return []
    n = len(bill.queries)
    return [f"{words.count(n, 'noisy query')} ({'each ' * (n > 1)}counted once)"]


def _searches(bill: Bill) -> list[str]:
    searches = [study for study in bill.studies if study.search]
    if not searches:
        return []
    at = f"at epsilon {words.listed([f'{study.budget.epsilon:g}' for study in searches])}"
    if bill.mode == "select":
        which = "a private selection" if len(searches) == 1 else f"{len(searches)} private selections"
        return [f"{which} {at} (of {'its' if len(searches) == 1 else 'their'} K trials, only the best is shown)"]
    n = sum(study.trials for study in searches)
    if bill.mode == "public":
        return [f"{words.count(n, 'training')} {at}"]
    scored = " with their noisy scores" if any(study.score is not None for study in searches) else ""
    return [f"{words.count(n, 'search trial')} {at}{scored}"]


def _rows(bill: Bill) -> list[str]:
    n = sum(len(study.rows) for study in bill.studies)
    return [f"{words.count(n, 'comparison row')} with DP-SGD"] if n else []


def terms(found: Facts) -> list[str]:
    """What the total means and on what it rests, in the words of the mode; warnings if the records contradict it."""
    if found.bill is None:
        return [
            "The run has no bill: it was made before there were bills. Its total is the price of the path that was "
            "taken, not a number that was fixed before the first trial."
        ]
    said = {"explore": _explore, "select": _select, "public": _public}[found.bill.mode](found, found.bill)
    return [*_outside(found, found.bill), *said, *_scores(found)]


def _explore(found: Facts, bill: Bill) -> list[str]:
    said = [*_to_publish(bill), *_meets(found, bill), *_unfinished(found, bill)]
    fixed = (
        "The bill was written before the first trial and counts whatever a trial may ask, so the total holds although "
        "the sampler chose settings after it had seen results."
    )
    if bill.covers == "trial":
        fixed += (
            " If trials or comparison rows were added to the sweep later, the bill was written anew, and the larger "
            "total was fixed before those only."
        )
    return [*said, fixed]


def _to_publish(bill: Bill) -> list[str]:
    """Which number stands beside what is published, where all was seen before it was chosen."""
    total = [f"epsilon {words.epsilon(bill.epsilon(delta))} at delta {delta:g}" for delta in bill.deltas]
    return [
        f"To publish anything of it, be it one generator alone, state {words.listed(total)}: all was seen to choose it."
    ]


def _meets(found: Facts, bill: Bill) -> list[str]:
    """What meets a budget. Said only where it is so."""
    if bill.covers == "sweep":
        (study,) = bill.studies
        if bill.epsilon(study.budget.delta) <= study.budget.epsilon:
            return [f"All of it together meets the budget of epsilon {study.budget.epsilon:g} as a whole."]
        return [f"WARNING: this exceeds the budget of epsilon {study.budget.epsilon:g} that was to cover all of it."]
    private = [record.epsilon <= record.budget.epsilon for record in found.records if record.epsilon is not None]
    return ["Each trial alone meets its own budget."] if private and all(private) else []


def _unfinished(found: Facts, bill: Bill) -> list[str]:
    declared = sum(study.trials for study in bill.studies)
    done = sum(record.role == "search" for record in found.records)
    if done >= declared:
        return []
    return [
        f"So far {done} of {words.count(declared, 'search trial')} {'has' if done == 1 else 'have'} a result; the "
        "total covers the others too."
    ]


def _select(found: Facts, bill: Bill) -> list[str]:
    asked = f"{words.count(len(bill.queries), 'noisy query')} and " if bill.queries else ""
    by = f" by {found.objectives[0]}" if found.objectives else ""
    said = []
    for study in bill.studies:
        at = f"epsilon {study.budget.epsilon:g}"
        if not _ended(found, study.budget):
            said.append(f"At {at} the selection has not ended: nothing is released yet.")
            continue
        price = f"epsilon {words.epsilon(bill.epsilon_of(study))} at delta {study.budget.delta:g}"
        said.append(
            f"The generator released at {at} costs {price} in all: {asked}a private selection{by} among K trials."
        )
    laws = dict.fromkeys(words.law(study.law) for study in bill.studies if study.law is not None)
    hidden = "K, the other trials and their scores are not shown: showing them would void these numbers."
    return [*said, *(f"{law}; it was drawn in secret before the first trial. {hidden}" for law in laws)]


def _public(found: Facts, bill: Bill) -> list[str]:
    said = [f"The search ran on a public stand-in{_stand_in(found)} and cost nothing."]
    for study in bill.studies:
        if not study.search:
            continue
        asked = [words.count(len(bill.queries), "query")] if bill.queries else []
        asked += [words.count(study.trials, "training")]
        price = f"epsilon {words.epsilon(bill.epsilon_of(study))} at delta {study.budget.delta:g}"
        said.append(
            f"At epsilon {study.budget.epsilon:g} the sensitive set was asked for {words.listed(asked)}, together "
            f"{price}{_derived(found, study)}."
        )
    return said


def _stand_in(found: Facts) -> str:
    if found.stand_in is None:
        return ""
    name = get_dotted(found.stand_in.records[0].config, "data.sensitive.name")
    names = {"held-out": "classes held out from the public set", "folder": "a folder of public images"}
    return f" ({names.get(str(name), name)})"


def _derived(found: Facts, study: Study) -> str:
    """A generator may see the shared answer with more noise than it was asked with: it costs less than was asked."""
    best = found.best_of(_ended(found, study.budget))
    if best is None or best.epsilon is None or len(_ended(found, study.budget)) > 1:
        return ""
    if not any(event.purpose == "query" and event not in _asked(found) for event in best.events):
        return ""
    return f"; its generator saw the answer with more noise and costs epsilon {words.epsilon(best.epsilon)}"


def _asked(found: Facts) -> tuple[Event, ...]:
    return found.bill.queries if found.bill is not None else ()


def _scores(found: Facts) -> list[str]:
    names = [metric.name for metric in found.metrics.values() if metric.event is not None]
    if not names:
        return []
    return [
        f"{words.listed(names)} carr{'ies' if len(names) == 1 else 'y'} no {words.DAGGER}: such a score is noisy and "
        "paid for, on the validation split, and its noise can take it out of the range from 0 to 1. No image is in "
        "both that split and the training split, so only the dearer of the two counts."
    ]


def _outside(found: Facts, bill: Bill) -> list[str]:
    """A warning where records paid for what the bill does not count."""
    wrong = [f"trial {record.id}" for record in found.records if not _counted(record, bill)]
    queries = _accesses(found.records, "query")
    more = ["the query"] if len(queries) > len(bill.queries) else []
    for study in bill.studies:
        searched, rows = _ended(found, study.budget), _rows_at(found, study.budget)
        if study.law is None and len(_accesses(searched, "dp-sgd")) > study.trials:
            more.append(f"the search at {study.budget}")
        if len(_accesses(rows, "dp-sgd")) > len(study.rows):
            more.append(f"the comparison rows at {study.budget}")
    if not wrong and not more:
        return []
    which = words.listed([*wrong, *more])
    return [f"WARNING: {which} asked more than the bill counts, so the total above does not hold."]


def _rows_at(found: Facts, budget: Budget) -> list[Record]:
    return [r for r in found.records if r.private and r.role == "compare" and r.budget == budget]


def _counted(record: Record, bill: Bill) -> bool:
    study = _study(bill, record.budget)
    own = (*study.trainings, *study.rows, *study.search, study.score) if study is not None else ()
    return all(
        not cost.private or any(_dominates(counted, cost) for counted in (*bill.queries, *own))
        for access in record.paid
        for cost in access.events
    )


def _dominates(counted: Cost | None, cost: Cost) -> bool:
    """Whether an access of the bill reveals at least as much: the same one, with no more noise."""
    if not isinstance(counted, Event) or not isinstance(cost, Event):
        return counted == cost
    return counted.sigma <= cost.sigma and counted == cost.model_copy(update={"sigma": counted.sigma})


def _accesses(records: Sequence[Record], purpose: str) -> set[str]:
    """The different accesses of that purpose that these records paid for."""
    return {
        access.id for record in records for access in record.paid
        if any(isinstance(cost, Event) and cost.purpose == purpose for cost in access.events)
    }  # fmt: skip
