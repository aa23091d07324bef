"""Tuning: the three ways to search, each with the rules that make the price it states true.

explore    Anything goes; every trial states its epsilon, the sweep states the price of all of them.
select     Only the best of K trials leaves; K and the configurations are drawn in secret, the score is noisy.
public     The search runs on a public stand-in and costs nothing; then one run a budget on the sensitive set.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from privimage.data import HeldOutConfig, SensitiveConfig
from privimage.data.sources.source import SOURCES
from privimage.plain_yaml import short
from privimage.privacy.accounting.law import Law
from privimage.schema import Frozen, parse

Sampler = Literal["tpe", "random"]
HELD_OUT = "held-out"
OF_THE_SET = {"size", "channels"}  # the stand-in has those of the sensitive set
INDEPENDENT = ("random",)  # samplers whose next draw does not depend on scores


class Explore(Frozen):
    """Any sampler; `covers` says whether a budget is what one trial costs, or everything that the sweep makes."""

    mode: Literal["explore"] = "explore"
    covers: Literal["trial", "sweep"] = "trial"
    sampler: Sampler = "tpe"
    seed: int = 0  # of the sampler only; private noise never has a seed


class Select(Frozen):
    """Private selection: a budget is what its winner costs. `trials` is the mean of K, `eta` the shape of its law."""

    mode: Literal["select"]
    eta: float = Field(default=0, gt=-1, le=10)  # 0 logarithmic, 1 geometric
    sampler: str = "random"

    @field_validator("sampler")
    @classmethod
    def _independent(cls, sampler: str) -> str:
        if sampler not in INDEPENDENT:
            raise ValueError(
                "a private selection needs independent configurations, and a sampler that learns from scores makes "
                "them depend on each other, which voids its bound; use random, or mode: explore"
            )
        return sampler

    def law(self, mean: float) -> Law:
        """The law of the number of trials."""
        return Law(eta=self.eta, mean=mean)


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


class Public(Frozen):
    """Any sampler on the stand-in; a budget is what the one run on the sensitive set costs."""

    mode: Literal["public"]
    stand_in: StandIn = StandIn()
    sampler: Sampler = "tpe"
    seed: int = 0


def _mode(value: Any) -> str | None:
    return value.get("mode", "explore") if isinstance(value, dict) else getattr(value, "mode", None)


Tuning = Annotated[
    Annotated[Explore, Tag("explore")] | Annotated[Select, Tag("select")] | Annotated[Public, Tag("public")],
    Discriminator(
        _mode, custom_error_type="mode", custom_error_message="tuning.mode should be explore, select or public"
    ),
]
