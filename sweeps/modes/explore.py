"""Explore: anything goes; every trial states its epsilon, the sweep states the price of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from privimage import metrics
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.bill import Search, Study, price_sweep, price_trials
from privimage.privacy.budget import Budget, Event
from privimage.privacy.modes import Covers
from privimage.sweeps.modes.mode import Sampled

if TYPE_CHECKING:
    from privimage.sweeps.sweep import Sweep


class Explore(Sampled):
    """Any sampler; `covers` says whether a budget is what one trial costs, or everything that the sweep makes."""

    mode: Literal["explore"] = "explore"
    covers: Literal["trial", "sweep"] = "trial"  # what a budget is: of one trial, or of everything together

    rules = "any sampler, any objective; everything may be shown, at the price of everything"
    stages = "Stages of the search; the rest are found in the cache. Comparison rows add their own:"
    open_rows = True

    @property
    def title(self) -> str:
        """With what a budget means."""
        return f"{super().title}, covers: {self.covers}"

    @property
    def meets(self) -> Covers:
        """As `covers` says."""
        return self.covers

    def check(self, sweep: Sweep) -> None:
        """Raise ValueError where one total is to meet several budgets, or what trains would steer the search."""
        for name in sweep.objectives:
            if any(look.split == "train" for look in metrics.looks_of(name)):
                raise ValueError(
                    f"objectives: {name} reads the training images without noise: what the search learned from them, "
                    "no epsilon would cover; name it in metrics, and steer by one that reads other images"
                )
        if self.covers == "sweep" and len(sweep.budgets) > 1:
            raise ValueError(
                f"tuning.covers: sweep means that everything together meets the budget, so there is one; got "
                f"{len(sweep.budgets)} budgets; make a sweep of each, or use covers: trial"
            )

    def asks(self, sweep: Sweep) -> int:
        """All of them."""
        return sweep.configurations

    def study(self, budget: Budget, search: Search, *, queries: tuple[Cost, ...], rows: tuple[Event, ...]) -> Study:
        """Every trial meets the budget, or everything together."""
        if self.covers == "sweep":
            return price_sweep(budget, search, queries=queries, rows=tuple(row.access for row in rows))
        return price_trials(budget, search, rows=rows)
