"""Public: the search runs on a public stand-in and costs nothing; then one run a budget on the sensitive set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from privimage.data import HeldOutConfig, SensitiveConfig
from privimage.data.sources.source import SOURCES
from privimage.plain_yaml import short
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.bill import Search, Study, price_sweep
from privimage.privacy.budget import Budget, Event
from privimage.privacy.modes import Covers
from privimage.schema import Frozen, parse
from privimage.sweeps.modes.mode import Sampled

if TYPE_CHECKING:
    from privimage.sweeps.sweep import Sweep

HELD_OUT = "held-out"
OF_THE_SET = {"size", "channels"}  # the stand-in has those of the sensitive set


class StandIn(Frozen):
    """What the search runs on in place of the sensitive set: another labelled set, or classes of the public one.

    `held-out` takes `share` of the public classes, drawn by `seed`, in as many groups as there are sensitive labels.
    Another name is that of a source, with the fields of that source beside it; size and splits are those of the
    sensitive set.
    """

    model_config = ConfigDict(extra="allow")

    name: str = HELD_OUT
    share: float = Field(default=0.1, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fields_of_a_source(self) -> Self:
        known = SOURCES.load(self.name).model_fields if self.name in SOURCES.names() else {}
        for field in self.__pydantic_extra__ or {}:
            if field not in known or field in OF_THE_SET:
                allowed = sorted({"name", "share", "seed", *known} - OF_THE_SET)
                raise ValueError(f"unknown key {short(field)}; allowed with {short(self.name)}: {', '.join(allowed)}")
        return self

    def config(self, sensitive: SensitiveConfig, *, labels: int) -> SensitiveConfig | HeldOutConfig:
        """The stand-in as data, in the size and with the shares of the sensitive set that it stands for."""
        if self.name == HELD_OUT:
            return HeldOutConfig(
                labels=labels,
                share=self.share,
                seed=self.seed,
                validation=sensitive.validation,
                test=sensitive.test,
                split_seed=sensitive.split_seed,
            )
        values = sensitive.model_dump(include={"size", "validation"})
        values["channels"] = sensitive.channels_and_side[0] or 1
        named = {"name": self.name, "id": f"public-{self.name}", **(self.__pydantic_extra__ or {})}
        return parse(SensitiveConfig, values | named, where="tuning.stand_in")


class Public(Sampled):
    """Any sampler on the stand-in; a budget is what the one run on the sensitive set costs."""

    mode: Literal["public"]
    stand_in: StandIn = StandIn()

    rules = "any sampler, any objective, on public data; the sensitive set is asked for one run a budget"
    stages = "Stages of the search on the stand-in; the run at each budget, and comparison rows, add their own:"
    grows = True  # the search asks nothing
    scored = False

    @property
    def meets(self) -> Covers:
        """The runs on the sensitive set."""
        return "run"

    def check(self, sweep: Sweep) -> None:
        """Raise ValueError for a stand-in that cannot be one."""
        if isinstance(sweep.data.sensitive, SensitiveConfig):
            self.other_data(sweep.data.sensitive)  # or refused, whatever the number of labels

    def other_data(self, sensitive: SensitiveConfig) -> dict[str, SensitiveConfig]:
        """The stand-in, unless it is of the public set."""
        found = self.stand_in.config(sensitive, labels=1)
        return {"tuning.stand_in": found} if isinstance(found, SensitiveConfig) else {}

    def asks(self, sweep: Sweep) -> int:
        """The best settings."""
        return min(1, sweep.trials)

    def study(self, budget: Budget, search: Search, *, queries: tuple[Cost, ...], rows: tuple[Event, ...]) -> Study:
        """The runs meet the budget; comparison rows stand outside."""
        return price_sweep(budget, search, queries=queries, outside=rows)
