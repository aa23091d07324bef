"""Phase: what of a sweep is run together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privimage.privacy.accounting.costs import BestOf
from privimage.privacy.budget import Budget
from privimage.record import Role
from privimage.sweeps import progress
from privimage.trial import Trial

if TYPE_CHECKING:
    from privimage.sweeps.sweep import Sweep
    from privimage.sweeps.work import Work

Fixed = tuple[tuple[Trial, Role], ...]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What is run together: trials that are fixed beforehand, and else the search.

    `drawn` are the trials of private `selections`, which have their price by id: nothing that is shown counts them.
    """

    work: Work
    name: str
    rows: tuple[Trial, ...] = ()
    finals: tuple[Trial, ...] = ()
    drawn: tuple[Trial, ...] = ()
    selections: Mapping[str, BestOf] = field(default_factory=dict)
    searching: bool = False

    @property
    def fixed(self) -> Fixed:
        """All trials that are fixed beforehand, comparison rows first."""
        rows: Fixed = tuple((trial, "compare") for trial in self.rows)
        return (*rows, *((trial, "search") for trial in (*self.finals, *self.drawn)))

    @property
    def labels(self) -> dict[str, str]:
        """What may be counted of them: id -> row."""
        sweep = self.work.sweep
        finals = {trial.id: f"{progress.FINAL} {at(trial.budget, sweep)}" for trial in self.finals}
        return {trial.id: label_of(trial, sweep) for trial in self.rows} | finals


def at(budget: Budget, sweep: Sweep) -> str:
    """At which budget, in words that no other budget of the sweep has: by its epsilon, if that is enough."""
    repeated = sum(one.epsilon == budget.epsilon for one in sweep.budgets) > 1
    return progress.at(budget, delta=repeated)


def search_at(budget: Budget, sweep: Sweep) -> str:
    """The row of the trials of the search at a budget."""
    return f"{progress.SEARCH} {at(budget, sweep)}"


def label_of(trial: Trial, sweep: Sweep) -> str:
    """The row of a comparison trial."""
    by_budget = trial.method.member.by_budget(trial.method)
    return trial.method.name + (f" {at(trial.budget, sweep)}" if by_budget else "")
