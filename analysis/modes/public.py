"""Public: settings were found on a public stand-in; the sensitive set was asked for the runs with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from privimage.analysis import words
from privimage.analysis.modes.mode import Said, chosen_by, more
from privimage.privacy import guarantee

if TYPE_CHECKING:
    from privimage.analysis.facts import Facts
    from privimage.record import Record

STAND_INS = {"held-out": "classes held out from the public set", "folder": "a folder of public images"}


class InPublic(Said):
    """What is said of a search on public data."""

    favoured = True
    ended, role = "final run", "final"
    settled = "settings found on public data"
    axis = "one generator alone"
    best = others = ""

    def priced(self, at: str) -> str:
        """The run with its settings."""
        return f"the generator at {at}: shared answers and training"

    def terms(self, found: Facts) -> list[str]:
        """On what the search ran, and what the sensitive set was asked for."""
        said, bill = [f"The search ran on a public stand-in{_stand_in(found)} and cost nothing."], found.bill
        for study in (study for study in bill.studies if study.search):
            asked = [*guarantee.answers(bill), words.count(study.trials, "training")]
            price = f"epsilon {words.epsilon(bill.epsilon_of(study))} at delta {study.budget.delta:g}"
            said.append(
                f"At epsilon {study.budget.epsilon:g} the sensitive set is asked for {words.listed(asked)}, together "
                f"{price}."
            )
        return said

    def chosen(self, found: Facts, record: Record, among: int) -> str:
        """By its settings."""
        best = f", the best of {words.count(among, 'run')}" if among > 1 else ""
        return f"{record.method} has settings that a search on public data found{best}"

    def steering(self, found: Facts) -> list[str]:
        """The sensitive set takes no part in the choice of settings; only seeds are left to choose."""
        if found.stand_in is None:
            return ["WARNING: the search on the public stand-in is not beside this run, so it cannot be shown."]
        names = [name for name in found.objectives if name in found.stand_in.metrics] or list(found.stand_in.metrics)
        said = f"The search was steered by {words.listed(names)} on the public stand-in: the choice costs nothing more."
        runs = [record.budget for record in found.records if record.role == "search"]
        if len(set(runs)) == len(runs) or not found.lead.non_private:
            return [said]
        return [said, f"Not covered: which of several seeds is called the best, by {words.metric(found.lead)}."]

    def choice(self, found: Facts, record: Record, metric: str, among: Sequence[Record]) -> list[str]:
        """Of its settings on public data, and of several runs with them."""
        chosen = chosen_by(found, record, metric, among) if len(among) > 1 else []
        return ["Its settings were found on public data, which cost nothing.", *chosen, *more(found)]


def _stand_in(found: Facts) -> str:
    if found.stand_in is None:
        return ""
    name = found.stand_in.records[0].sensitive_source
    return f" ({STAND_INS.get(name, name)})"
