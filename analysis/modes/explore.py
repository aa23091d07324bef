"""Explore: whoever chooses has seen all trials, and all of them are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from privimage.analysis.modes.mode import Said, chosen_by

if TYPE_CHECKING:
    from privimage.analysis.facts import Facts
    from privimage.record import Record


class Explored(Said):
    """What is said of a search in the open."""

    alone = True

    def priced(self, at: str) -> str:
        """All that it made."""
        return f"the whole search at {at}"

    def terms(self, found: Facts) -> list[str]:
        """What meets a budget, what has no result yet, and why the total holds."""
        fixed = (
            "The bill was written before the first trial and counts whatever a trial may ask, so the total holds "
            "although the sampler chose settings after it had seen results."
        )
        return [*_meets(found), *self.unfinished(found), fixed]

    def choice(self, found: Facts, record: Record, metric: str, among: Sequence[Record]) -> list[str]:
        """With all private trials in view."""
        return [*chosen_by(found, record, metric, among), "The guarantee above covers all of them."]


def _meets(found: Facts) -> list[str]:
    """What meets a budget. Said only where it is so."""
    bill = found.bill
    if bill.together:
        (study,) = bill.studies
        if bill.epsilon(study.budget.delta) <= study.budget.epsilon:
            return [f"All of it together meets the budget of epsilon {study.budget.epsilon:g} as a whole."]
        return [f"WARNING: this exceeds the budget of epsilon {study.budget.epsilon:g} that was to cover all of it."]
    private = [
        record.epsilon_alone <= record.budget.epsilon for record in found.records if record.epsilon_alone is not None
    ]
    return ["Each trial alone meets its own budget."] if private and all(private) else []
