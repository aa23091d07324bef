"""Select: the winner of a private selection is all that is shown; nothing tells of the other trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from privimage.analysis import words
from privimage.analysis.modes.mode import KNOWN, Said, more
from privimage.privacy import guarantee

if TYPE_CHECKING:
    from privimage.analysis.facts import Facts
    from privimage.record import Record


class Selected(Said):
    """What is said of a private selection."""

    favoured = True
    timed = False  # how long things took tells of the other trials
    ended = role = "winner"
    settled = "the winner of a private selection"
    axis = "one generator alone, its selection included"
    best = ", winner"
    others = "The other trials of a private selection are not shown."
    compared = "K is the secret number of trials of a private selection. "
    private = "the released generators and all private rows"

    def priced(self, at: str) -> str:
        """The winner."""
        return f"the generator at {at}, its selection included"

    def terms(self, found: Facts) -> list[str]:
        """What each winner cost, and how K was drawn."""
        bill = found.bill
        asked = "".join(f"{answer} and " for answer in guarantee.answers(bill))
        by = f" by {found.objectives[0]}" if found.objectives else ""
        said = self.unfinished(found)
        for study in bill.studies:
            at = f"epsilon {study.budget.epsilon:g}"
            if not found.searched_at(study.budget):
                continue
            price = f"epsilon {words.epsilon(bill.epsilon_of(study))} at delta {study.budget.delta:g}"
            said.append(
                f"The generator released at {at} costs {price} in all: {asked}a private selection{by} among K trials."
            )
        laws = dict.fromkeys(words.law(study.law) for study in bill.studies if study.law is not None)
        hidden = "K, the other trials and their scores are not shown: showing them would void these numbers."
        return [*said, *(f"{law}; it was drawn in secret before the first trial. {hidden}" for law in laws)]

    def unfinished(self, found: Facts) -> list[str]:
        """The selections that have no winner yet."""
        open_ = [study.budget for study in found.bill.studies if not found.searched_at(study.budget)]
        return [
            f"At epsilon {budget.epsilon:g} the selection has not ended: nothing is released yet." for budget in open_
        ]

    def chosen(self, found: Facts, record: Record, among: int) -> str:
        """As the winner."""
        return f"{record.method} is the winner of a private selection"

    def known(self) -> str:
        """All but what tells of K."""
        return (
            f"Not covered: {KNOWN} are treated as public knowledge. "
            "How long the selection runs, and what else tells of K, is not: it must stay with those who run the sweep."
        )

    def choice(self, found: Facts, record: Record, metric: str, among: Sequence[Record]) -> list[str]:
        """It is paid for."""
        return ["The guarantee above includes the choice of this generator among K trials.", *more(found)]
