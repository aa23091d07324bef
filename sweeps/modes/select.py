"""Select: only the best of K trials leaves; K and the configurations are drawn in secret, the score is noisy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from privimage import metrics
from privimage.errors import Violation
from privimage.field_types import one_of
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.accounting.law import Law
from privimage.privacy.bill import Search, Study, price_selection
from privimage.privacy.budget import Budget, Event
from privimage.privacy.modes import Covers
from privimage.sweeps.modes.mode import Mode, Sampler

if TYPE_CHECKING:
    from privimage.sweeps.sweep import Sweep

INDEPENDENT = ("random",)  # samplers whose next draw does not depend on scores
MANY = 10**9  # no bound on what is counted


class Select(Mode):
    """Private selection: a budget is what its winner costs. `trials` is the mean of K, `eta` the shape of its law."""

    mode: Literal["select"]
    eta: float = Field(default=0, gt=-1, le=10)  # 0 logarithmic, 1 geometric
    sampler: str = Field(default="random", json_schema_extra=one_of(lambda: INDEPENDENT))

    rules = (
        "independent random configurations, one private score; only the winner is shown and can be pulled; the number "
        "of trials K, the other trials and the scores stay hidden"
    )
    stages = "Stages of the search if K is its mean; the rest are found in the cache. Comparison rows add their own:"
    hidden = True

    @field_validator("sampler")
    @classmethod
    def _independent(cls, sampler: str) -> str:
        if sampler not in INDEPENDENT:
            raise ValueError(
                "a private selection needs independent configurations, and a sampler that learns from scores makes "
                "them depend on each other, which voids its bound; use random, or mode: explore"
            )
        return sampler

    @property
    def meets(self) -> Covers:
        """The selection, its winner included."""
        return "selection"

    @property
    def sampling(self) -> tuple[Sampler, int]:
        """None: a sampler would see scores."""
        raise Violation("the trials of a private selection are drawn beforehand")

    def check(self, sweep: Sweep) -> None:
        """Raise ValueError for what would void the bound of a private selection."""
        if len(sweep.objectives) != 1 or not metrics.is_private(next(iter(sweep.objectives))):
            raise ValueError(
                f"objectives: got {', '.join(sweep.objectives)}; in mode select the score decides what is released, "
                f"so it must be one private score: {', '.join(metrics.names(noisy=True))}"
            )
        if any(metrics.is_private(name) for name in sweep.metrics if name not in sweep.objectives):
            raise ValueError("metrics: in mode select a trial has one private score, its objective; remove the others")
        if len(sweep.seeds) > 1:
            raise ValueError(f"seeds: got {list(sweep.seeds)}; a trial of a private selection has one seed")
        if sweep.trials < 1:
            raise ValueError("trials: got 0; in mode select it is the mean of the number of trials, at least 1")

    def law(self, mean: float) -> Law:
        """With the shape `eta`."""
        return Law(eta=self.eta, mean=mean)

    def asks(self, sweep: Sweep) -> int:
        """No bound: K has none."""
        return MANY

    def makes(self, sweep: Sweep) -> int:
        """The mean of K."""
        return sweep.trials

    def study(self, budget: Budget, search: Search, *, queries: tuple[Cost, ...], rows: tuple[Event, ...]) -> Study:
        """The selection meets the budget; comparison rows stand outside."""
        return price_selection(budget, search, queries=queries, rows=rows)
