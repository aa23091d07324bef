"""Guarantee: the one epsilon to state beside what is published of a run, by its bill, and why it is that one.

A run has many epsilons: of its budgets, of a trial had it run alone, of a search, of everything. Which of them is a
promise to the people in the images depends on its mode (see `modes`).

Anything more than one generator whose budget was named beforehand costs everything that the sweep asks. The one owner
of that choice and of its words: the plan, the status, the report, the card and every file say what is said here.
"""

from __future__ import annotations

import json

from pydantic import Field

from privimage.privacy.bill import Bill, Study
from privimage.privacy.budget import Budget
from privimage.privacy.modes import MEANINGS, ModeName
from privimage.privacy.statement import epsilon as shown
from privimage.privacy.wall import places
from privimage.schema import Frozen
from privimage.text import count, listed

UNIT = "one image together with its label"
ADJACENCY = "add or remove one example: two data sets are neighbours if one has exactly one example more"
ACCOUNTANT = "PLD, or RDP where that is smaller: an upper bound"


class Guarantee(Frozen):
    """The epsilon and delta to state, what they cover, and why they are these. For machines: it explains itself."""

    epsilon: float = Field(ge=0)
    delta: float = Field(ge=0, lt=1)
    covers: str
    why: str
    mode: ModeName
    unit: str = UNIT
    adjacency: str = ADJACENCY
    accountant: str = ACCOUNTANT

    @property
    def number(self) -> str:
        """Epsilon and delta as they are written."""
        return f"epsilon {shown(self.epsilon)} at delta {self.delta:g}"

    @property
    def sentence(self) -> str:
        """What has to be stated, and beside what."""
        return f"State {self.number} beside {self.covers}."


def of_everything(bill: Bill, delta: float) -> Guarantee:
    """What to state beside all that the run makes, or more of it than one generator whose budget was named before."""
    covers = MEANINGS[bill.mode].everything
    return Guarantee(epsilon=bill.epsilon(delta), delta=delta, covers=covers, why=_why(bill), mode=bill.mode)


def of_generator(bill: Bill, budget: Budget) -> Guarantee:
    """What to state beside the one generator that the search at this budget ended in, if nothing else was looked at."""
    if MEANINGS[bill.mode].seen:
        return of_everything(bill, budget.delta)
    study = bill.study(budget)
    return Guarantee(
        epsilon=bill.epsilon_of(study),
        delta=budget.delta,
        covers=f"the generator at budget {budget.epsilon:g} alone (its choice included)",
        why=_why_alone(bill, study),
        mode=bill.mode,
    )


def all_of(bill: Bill) -> tuple[Guarantee, ...]:
    """All that can be stated of a run: of everything, at every delta; then of generators alone, where that is less."""
    everything = tuple(of_everything(bill, delta) for delta in bill.deltas)
    alone = (of_generator(bill, study.budget) for study in _searches(bill))
    least = min(found.epsilon for found in everything)
    return (*everything, *(found for found in alone if found.epsilon < least))


def sentences(bill: Bill) -> list[str]:
    """What must be stated, and why: two sentences, to stand before everything else that is said of a run."""
    found = all_of(bill)
    everything, alone = found[: len(bill.deltas)], found[len(bill.deltas) :]
    state = f"State {listed([one.number for one in everything])} beside {everything[0].covers}"
    if alone:
        enough = listed([f"{one.number} beside {one.covers}" for one in alone])
        state += f"; {enough} {'is' if len(alone) == 1 else 'are'} enough"
    why = everything[0].why + (f" {alone[0].why}" if alone else "")
    return [f"{state}.", why]


def as_json(bill: Bill) -> str:
    """Everything that can be stated of a run as a JSON list, the largest claim first: for machines."""
    return json.dumps([found.model_dump(mode="json") for found in all_of(bill)], indent=1) + "\n"


def _searches(bill: Bill) -> list[Study]:
    return [study for study in bill.studies if study.search]


def _why(bill: Bill) -> str:
    """Why everything costs what it costs, and how that stands to the budgets. One sentence."""
    asked = listed(asked_for(bill))
    budgets = [f"{study.budget.epsilon:g}" for study in bill.studies]
    named = f"the budget{'s' * (len(budgets) > 1)} of epsilon {listed(budgets)}"
    if bill.together:
        return f"It pays for {asked}, which meet {named} together."
    if MEANINGS[bill.mode].seen:
        return (
            f"It pays for {asked}: {named} {'are' if len(budgets) > 1 else 'is'} met by each trial alone, but whoever "
            "chooses one has seen all."
        )
    return f"It pays for {asked}."


def _why_alone(bill: Bill, study: Study) -> str:
    """Why one generator costs what it costs. One sentence."""
    meaning = MEANINGS[bill.mode]
    paid = listed([*answers(bill), meaning.choice or count(study.trials, "training")])
    return f"One generator pays for {paid}{meaning.found}."


def answers(bill: Bill) -> list[str]:
    """The shared answers in words, if there are any."""
    return [count(places(bill.queries), "noisy answer")] if bill.queries else []


def asked_for(bill: Bill) -> list[str]:
    """What everything pays for, in words: shared answers, searches, comparison rows."""
    rows = [row for study in bill.studies for row in study.rows]
    by = listed(list(dict.fromkeys(row.purpose for row in rows)))
    return [*answers(bill), *_searched(bill), *([f"{count(len(rows), 'comparison row')} with {by}"] if rows else [])]


def _searched(bill: Bill) -> list[str]:
    searches, meaning = _searches(bill), MEANINGS[bill.mode]
    if not searches:
        return []
    if any(study.law is not None for study in searches):
        return [f"{count(len(searches), meaning.searched)} among K trials"]
    n = sum(study.trials for study in searches)
    scored = " with their noisy scores" if any(study.score is not None for study in searches) else ""
    return [count(n, meaning.searched) + scored]
