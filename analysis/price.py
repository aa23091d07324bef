"""Price: what a run costs in all, by its bill, in the words of its tuning mode. It stands first wherever it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from privimage.analysis import words
from privimage.analysis.facts import Facts
from privimage.privacy import accounting, guarantee
from privimage.privacy.accounting import odometer
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.bill import Bill, Study
from privimage.privacy.budget import Budget, Event
from privimage.privacy.guarantee import Guarantee
from privimage.privacy.wall import dominates, options, places
from privimage.record import Record

LINE_NOTE = (
    "Recognised at 1% false alarms (true positive rate, TPR, at a false positive rate, FPR, of 1%): the share of the "
    "images in use that an attacker, whatever else the attacker knows, can at most recognise as such while taking 1% "
    "of all other images for them. Guessing reaches 1%."
)


@dataclass(frozen=True, kw_only=True)
class PricedLine:
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


def lines(found: Facts) -> list[PricedLine]:
    """Every generator that the run is about, every search, and everything together, with their prices."""
    named = [line for study in found.bill.studies for line in _at(found, study)]
    bill = found.bill
    return [*named, *(PricedLine(what="everything together", costs=bill.costs, delta=delta) for delta in bill.deltas)]


def _at(found: Facts, study: Study) -> list[PricedLine]:
    """What the search at this budget ends in; in the open, also what its best trial would have cost alone."""
    if not study.search:
        return []
    budget, best = study.budget, found.best_of(found.searched_at(study.budget))
    at, costs = f"budget {budget.epsilon:g}", (*found.bill.queries, *study.search)
    lines = [PricedLine(what=found.said.priced(at), costs=costs, delta=budget.delta)]
    if best is None:
        return lines if study.law is None else []  # of a selection that has not ended nothing is shown
    if found.said.alone and costs != best.events:
        alone = f"the best trial at {at}, had it run alone (no guarantee: it was chosen)"
        lines.insert(0, PricedLine(what=alone, costs=best.events, delta=budget.delta))
    return lines


def opening(found: Facts) -> list[str]:
    """What has to be stated and why, in two sentences, before anything else; after a warning, if it does not hold."""
    return [*contradictions(found), *guarantee.sentences(found.bill), *_aside(found)]


def together(runs: Sequence[Facts], delta: float) -> float:
    """The epsilon of everything that all these runs may ask, however one was chosen in the light of another."""
    if len(runs) == 1:
        return runs[0].bill.epsilon(delta)
    sums = [odometer.divergences(found.bill.costs) for found in runs]
    return odometer.epsilon(sum(sums, odometer.NOTHING), delta)


def stated(found: Facts, record: Record, *, named: bool = True) -> Guarantee:
    """What to state beside the generator of a private record: all, where it is a comparison row, or chosen by results.

    `named` tells whether its budget was named beforehand; else it was chosen among budgets with all in view.
    """
    if record.role == "compare" or not (named or len(found.bill.studies) == 1):
        return guarantee.of_everything(found.bill, record.budget.delta)
    return guarantee.of_generator(found.bill, record.budget)


def _aside(found: Facts) -> list[str]:
    """What the total cannot cover, in one sentence."""
    marked = f"the numbers marked {words.DAGGER} (computed from real images without noise)"
    dagger = [marked] if any(m.non_private for m in found.metrics.values()) else []
    rows = ["the rows without privacy"] if not all(record.private for record in found.records) else []
    return [f"No epsilon covers {' and '.join([*dagger, *rows])}."] if dagger or rows else []


def terms(found: Facts) -> list[str]:
    """What the total means and on what it rests, in the words of the mode."""
    return [*found.said.terms(found), *_scores(found)]


def _scores(found: Facts) -> list[str]:
    names = [metric.name for metric in found.metrics.values() if metric.event is not None]
    if not names:
        return []
    return [
        f"{words.listed(names)} carr{'ies' if len(names) == 1 else 'y'} no {words.DAGGER}: such a score is noisy and "
        "paid for, on the validation split, and its noise can take it out of the range from 0 to 1. No image is in "
        "both that split and the training split, so only the dearer of the two counts."
    ]


def contradictions(found: Facts) -> list[str]:
    """A warning where records paid for what the bill does not count: then its total may not be stated."""
    bill = found.bill
    wrong = [f"trial {record.id}" for record in found.records if not _counted(record, bill)]
    queries = _accesses(found.records, shared=True)
    more = ["shared questions"] if len(queries) > places(bill.queries) else []
    for study in bill.studies:
        searched, rows = found.searched_at(study.budget), _rows_at(found, study.budget)
        if study.law is None and len(_accesses(searched)) > study.trials:
            more.append(f"the search at {study.budget}")
        if len(_accesses(rows)) > len(study.rows):
            more.append(f"the comparison rows at {study.budget}")
    if not wrong and not more:
        return []
    which = words.listed([*wrong, *more])
    return [f"WARNING: {which} asked more than the bill counts, so the total above does not hold."]


def _rows_at(found: Facts, budget: Budget) -> list[Record]:
    return [r for r in found.records if r.private and r.role == "compare" and r.budget == budget]


def _counted(record: Record, bill: Bill) -> bool:
    study = next((study for study in bill.studies if study.budget == record.budget), None)
    own = (*study.trainings, *study.rows, *study.search) if study is not None else ()
    scores = (study.score,) if study is not None and study.score is not None else ()
    return all(
        not cost.private or any(dominates(counted, cost) for counted in (*options(bill.queries), *own, *scores))
        for access in record.paid
        for cost in access.events
    )


def _accesses(records: Sequence[Record], *, shared: bool = False) -> set[str]:
    """The different accesses to the training split that these records paid for: those that all trials share, or not."""
    return {
        access.id for record in records for access in record.paid
        if any(isinstance(cost, Event) and cost.split == "train" and (cost.shared is not None) == shared
               for cost in access.events)
    }  # fmt: skip
