"""Mode: one way to search. One file a mode has its fields, rules and price, and what `plan` says of it.

What they run lies beside them, so that a sweep is read and priced without it: `phases` for each, and what only select
and public do in `selection` and `stand_in`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from privimage.privacy.accounting.costs import Cost
from privimage.privacy.accounting.law import Law
from privimage.privacy.bill import Search, Study
from privimage.privacy.budget import Budget, Event
from privimage.privacy.modes import Covers
from privimage.schema import Frozen

if TYPE_CHECKING:
    from privimage.data import SensitiveConfig
    from privimage.sweeps.sweep import Sweep

Sampler = Literal["tpe", "random"]


class Mode(Frozen):
    """What a sweep asks of its mode. What is not abstract here holds unless a mode says otherwise."""

    mode: str
    rules: ClassVar[str]  # what it admits, and what of it may be shown
    stages: ClassVar[str]  # what the counted stages are those of
    hidden: ClassVar[bool] = False  # whether the number of trials is a secret, which nothing may tell
    grows: ClassVar[bool] = False  # whether trials may be added to a run
    scored: ClassVar[bool] = True  # whether trials on the sensitive set have private scores
    open_rows: ClassVar[bool] = False  # whether a comparison row may be a trial of the search, asked and paid once

    @property
    def title(self) -> str:
        """Its name, and what the file chose of what a budget means, if that is its to choose."""
        return f"mode {self.mode}"

    @property
    def meets(self) -> Covers:
        """What meets a budget."""
        raise NotImplementedError

    @property
    def sampling(self) -> tuple[Sampler, int]:
        """The sampler of the search and its seed."""
        raise NotImplementedError

    def check(self, sweep: Sweep) -> None:
        """Raise ValueError for what would make the price that it states untrue."""

    def other_data(self, sensitive: SensitiveConfig) -> dict[str, SensitiveConfig]:
        """What it reads beside the sensitive and the public set: key of the file -> config."""
        return {}

    def law(self, mean: float) -> Law | None:
        """The law of the number of trials, if that is drawn."""
        return None

    def asks(self, sweep: Sweep) -> int:
        """How many configurations ask the sensitive set at one budget, at most."""
        raise NotImplementedError

    def makes(self, sweep: Sweep) -> int:
        """How many configurations are made at one budget; where their number is drawn, its mean."""
        return sweep.configurations

    def study(self, budget: Budget, search: Search, *, queries: tuple[Cost, ...], rows: tuple[Event, ...]) -> Study:
        """The price of the search at one budget, with these comparison rows, each priced as if alone."""
        raise NotImplementedError


class Sampled(Mode):
    """A mode whose search may learn from the results of its trials, with the sampler that the file names."""

    sampler: Sampler = "tpe"  # tpe learns from scores, random does not
    seed: int = 0  # of the sampler only; private noise never has a seed

    @property
    def sampling(self) -> tuple[Sampler, int]:
        """As the file says."""
        return self.sampler, self.seed
