"""Context: what a method has to make the images of one trial with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from privimage.methods.declared import Inputs, World, fields_of
from privimage.methods.method import Method
from privimage.privacy.budget import Event

if TYPE_CHECKING:
    from privimage.data.sets import PublicSet, SensitiveData
    from privimage.stages import Stages


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a method has to make the images of one trial with.

    `events` is what the method declares, by stage, as `Method.events` says; `asked_sigma` the noise multipliers at
    which the sweep asks shared questions. `identity` is the public description of the data (never of its content).
    `draw` names the trial where others may have the same configuration and must have noise of their own (a private
    selection); its own artefacts are then internal. `stages` is how it computes, asks and keeps anything.
    """

    config: Any  # of the method's own type
    events: Mapping[str, Event]
    draw: Mapping[str, Any] | None
    seed: int
    asked_sigma: Mapping[str, float]
    public: PublicSet
    sensitive: SensitiveData
    identity: Mapping[str, Any]
    stages: Stages
    fields: Mapping[str, Any] = field(default_factory=dict)  # in the place of the configuration's own, in keys

    @property
    def method(self) -> Method:
        """The method."""
        found: Method = self.config.member
        return found

    @property
    def paid(self) -> tuple[Event, ...]:
        """What the trial pays by itself."""
        return tuple(self.events.values())

    @cached_property
    def inputs(self) -> Inputs:
        """What determines the stages."""
        train = self.sensitive.train
        world: dict[World, Any] = {
            "public": self.identity["public"],
            "sensitive": self.identity["sensitive"],
            "shape": train.shape,
            "labels": len(train.classes),
            "seed": self.seed,
            "draw": self.draw,
        }
        asked = {kind: self.asked(kind).model_dump() for kind in self.events}
        # What is derived from a shared answer follows from the noise that the trial needs, also if the budget says it.
        noise = {ask.sigma: self.events[stage.kind].sigma for stage, ask in self.method.declaration.sharing}
        own = {field: sigma for field, sigma in noise.items() if isinstance(field, str)}
        fields = {**fields_of(self.config), **own, **self.fields}
        return Inputs(declaration=self.method.declaration, fields=fields, world=world, asked=asked)

    def asked(self, kind: str) -> Event:
        """The event of that stage as it is really asked: of a shared answer at the noise of the sweep."""
        event = self.events[kind]
        return event.model_copy(update={"sigma": self.asked_sigma.get(event.shared or "", event.sigma)})

    @property
    def privacy(self) -> Literal["public", "released", "internal"]:
        """The class of what this trial makes of its own: only the winner of a selection will be released."""
        if not self.events:
            return "public"
        released = self.draw is None and all(event.private for event in self.paid)
        return "released" if released else "internal"
