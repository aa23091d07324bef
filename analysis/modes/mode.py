"""Mode: what is said of a run in the words of its mode. What stands here holds unless a mode says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from privimage.analysis import words
from privimage.privacy import guarantee

if TYPE_CHECKING:
    from privimage.analysis.facts import Facts
    from privimage.record import Record

KNOWN = (
    "the names of the labels, the number of sensitive images (of the training, the validation and the test split), "
    "their size and channels"
)


class Said:
    """The words of a mode, for the price, the report, the front, the comparison, what is not covered and the card."""

    timed = True  # whether times may be shown
    alone = False  # whether the price is shown that the best trial would have had alone
    favoured = False  # whether the search favours what is compared, whatever the number of its trials
    ended = "search trial"  # a record of the search, to be counted
    role: str | None = None  # what such a record is called, if not by its role
    settled = ""  # how the settings of the searched method were chosen, if not by figures that are in view
    axis = "one trial alone"  # whose epsilon the front is drawn against
    best = ", best"  # after the name of the searched method
    others = "Faint points: the other trials of the search."
    compared = ""  # before what is said below a comparison
    private = "all private trials"  # what the total covers

    def priced(self, at: str) -> str:
        """What the search at a budget can show, and has a price."""
        raise NotImplementedError

    def terms(self, found: Facts) -> list[str]:
        """What the total means and on what it rests."""
        raise NotImplementedError

    def unfinished(self, found: Facts) -> list[str]:
        """What has no result yet."""
        declared = sum(study.trials for study in found.bill.studies)
        done = sum(record.role == "search" for record in found.records)
        if done >= declared:
            return []
        return [
            f"So far {done} of {words.count(declared, self.ended)} {'has' if done == 1 else 'have'} a result; the "
            "total covers the others too."
        ]

    def chosen(self, found: Facts, record: Record, among: int) -> str:
        """How the searched method's row came to stand in a comparison."""
        return f"{record.method} is the best of {words.count(among, 'trial')} by {words.metric(found.lead)}"

    def steering(self, found: Facts) -> list[str]:
        """Whether the choice of trials depended on sensitive images that no noise protects."""
        if not any(record.role == "search" for record in found.records):
            return []
        names = [name for name in found.objectives if name in found.metrics] or list(found.metrics)
        by = [found.metrics[name] for name in names if found.metrics[name].non_private]
        which = words.listed([words.metric(found.metrics[name]) for name in names])
        steered = f"The search was steered by {which}, computed"
        if not by and any(found.metrics[name].event is not None for name in names):
            return [f"{steered} with noise: the choice is paid for in the total."]
        if not by:
            return [f"{steered} without sensitive images: the choice costs nothing more."]
        said = "" if found.objectives else " (the sweep file names no objective, so any metric may have been)"
        reading = "which" if len(by) == len(names) else f"of which {words.listed([words.metric(m) for m in by])}"
        sentences = [
            f"Not covered: the choice itself. The search was steered by {which}{said}, {reading} "
            f"read{'s' * (len(by) == 1)} {words.touched(by)} without noise. Which settings were tried, and which "
            "trial is called the best, therefore reveals something about those images that has no epsilon."
        ]
        if any("private-train" in metric.touches for metric in by):
            sentences.append(
                "WARNING: one of these reads the training split, so the adaptive choice also weakens the "
                "guarantee of the training images; the total above does not account for it."
            )
        return sentences

    def known(self) -> str:
        """What is treated as public knowledge."""
        return (
            f"Not covered: {KNOWN}, how long a trial took and how much memory it used are treated as public knowledge."
        )

    def choice(self, found: Facts, record: Record, metric: str, among: Sequence[Record]) -> list[str]:
        """How a generator came to be chosen among these records, for its card."""
        raise NotImplementedError


def more(found: Facts) -> list[str]:
    """What to state beside more than one generator."""
    return ["", *guarantee.sentences(found.bill)]


def chosen_by(found: Facts, record: Record, metric: str, among: Sequence[Record]) -> list[str]:
    """Among how many a generator was chosen, what could be seen beside them, and whether anything covers that."""
    chosen, kind = found.metrics[metric], "comparison row" if record.role == "compare" else found.said.ended
    budgets, epsilons = ({one.budget for one in among}, {one.budget.epsilon for one in among})
    at = "" if len(epsilons) > 1 else f" at epsilon {record.budget.epsilon:g}"
    where = "at this budget" if len(budgets) == 1 else f"of all budgets{at}"
    known = {one.id for one in among}
    beside = sum(one.private and one.role == "compare" and one.id not in known for one in found.records)
    seen = f"; {words.count(beside, 'comparison row')} with a guarantee, on the same images, could be seen beside "
    seen = f"{seen}{'it' if len(among) == 1 else 'them'}" if beside else ""
    if len(among) == 1:
        return [f"This trial is the only {kind} {where} that has {words.metric(chosen)}{seen}."]
    said = [f"This trial was chosen among {words.count(len(among), kind)} {where}, by {words.metric(chosen)}{seen}."]
    if chosen.non_private:
        touched = words.listed([t for t in chosen.touches if t.startswith("private-")])
        said.append(
            f"That touches the {touched} split without noise: the choice is covered by no epsilon, neither by that of "
            "this trial nor by the total."
        )
    return said
