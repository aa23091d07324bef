"""Method: what makes synthetic images. One file of this folder, or of an installed package, brings one or a family.

A method says what it asks of the sensitive set and what determines its stages (`declared`), which settings suit it, and
how its images come to be. What a sweep may ask and cost, what `plan` says, what is found in the cache and what a report
calls it follow from that: nothing outside this folder knows a method by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.doors import Door
from privimage.errors import BudgetExceeded, InputError, SharedTooDear
from privimage.field_types import field_type, has_field
from privimage.generators import Shape
from privimage.methods.declared import Declaration, Inputs, Stage, fields_of
from privimage.methods.timing import Effort
from privimage.privacy.accounting import calibrate, epsilon
from privimage.privacy.budget import Budget, Event
from privimage.privacy.looks import Look
from privimage.privacy.noise import Noise
from privimage.schema import Frozen, digest

if TYPE_CHECKING:
    from privimage.methods.context import Context
    from privimage.metrics.context import Top

DEFAULT = "privimage+d"  # where a file names no method
MethodRole = Literal[
    "method",  # what a sweep searches, and a report is about
    "rival",  # expected to be behind it at the same epsilon
    "control",  # the same with its idea taken out by chance: expected to be behind as well
    "ablation",  # another method without a part of it, which `lacks` names
    "diagnostic",  # without privacy: what is lost to it
    "ceiling",  # the sensitive images themselves: what no method can beat
]
NEVER_SEARCHED = (
    "which reads training images without noise: what a search learned from it, no epsilon would cover; name it in "
    "compare, where it is a row to look at"
)


class MethodConfig(Frozen):
    """What every method can be told: its name, and how many images it makes."""

    name: str
    samples: int = Field(default=2000, ge=10, le=1_000_000)  # images that are made; all are in memory at once

    @property
    def member(self) -> Method:
        """The method of that name."""
        return load(self.name)

    def settled(self, channels: int | None) -> MethodConfig:
        """The same with what follows from the data, of so many channels, in the place of null: then a field that is
        null and one that says the same are one question. Raises InputError where the channels are needed and not known.
        """
        return self


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is public of the two sets: images to train on, labels, public classes and their names, shape of an image."""

    n_train: int
    n_labels: int
    n_public: int
    classes: tuple[str, ...] = ()
    shape: Shape | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Synthetic:
    """Images uint8 [n, C, H, W] with labels, and what they are (real ones of a ceiling).

    `inputs` are those of the stages that made them, and of what follows. `query` is the method's query function, where
    it has one and metrics may use it.
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64]
    inputs: Inputs
    source: Literal["synthetic", "private-train"] = "synthetic"
    query: Top | None = None


class Method(ABC):
    """One method: what its file says of it, and how it makes images. It has no state.

    `what` says in a few words what it is, `role` what it stands for in a comparison. `settings` are dotted fields of
    its `config` with values that suit it: they take the place of the fields' defaults. `stages` are its stages in their
    order, each with what it asks of the sensitive set; one is `samples`, the images, from which the score follows.
    """

    what: str
    role: MethodRole = "method"
    lacks: Mapping[str, str] = {}  # method -> the part of it that this one is without, and else the same
    config: ClassVar[type[MethodConfig]]
    settings: Mapping[str, Any] = {}
    trained: ClassVar[str] = ""  # what a card says a generator was trained on, of {public} and {sensitive}; "": as told
    starts: ClassVar[str] = ""  # and what drawing starts from
    generates: ClassVar[bool] = True  # else the sensitive images themselves are what is measured
    releases: ClassVar[tuple[str, ...]] = ("samples",)  # kinds of artefacts that leave with the winner of a selection

    @property
    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """Its stages in their order, up to the images and what is told of them."""

    @abstractmethod
    def images(self, context: Context) -> Synthetic:
        """The images of a trial, with every stage before them computed or found (`context.stages`)."""

    def ask(self, context: Context) -> None:
        """Ask what all trials share, as `images` would, and do nothing else. For methods that share an answer."""
        raise NotImplementedError(f"{type(self).__name__} shares an answer, but cannot ask for it alone")

    def foreign(self, other: Method) -> tuple[str, ...]:
        """Fields of its configuration that mean another thing where they are written for that method."""
        return ()

    def check(self, config: Any, of: Sizes) -> None:  # noqa: B027 - many need nothing
        """Raise InputError for settings that are impossible with such data."""

    def check_shape(self, config: Any, shape: Shape) -> None:  # noqa: B027 - as above
        """Raise InputError for settings that are impossible with images of this shape."""

    def warnings(self, configs: Sequence[Any], of: Sizes) -> list[str]:
        """A line for everything that these configurations, all that may be tried, are likely to do in vain."""
        return []

    def effort(self, shape: Shape, n: float, n_public: float) -> Effort | None:
        """How long its stages take with images of this shape, about `n` to train on and `n_public` public ones; None if
        it does not say."""
        return None

    # ---- what follows from what is declared

    @cached_property
    def declaration(self) -> Declaration:
        """The stages, with that of the score."""
        if not self.generates:
            return Declaration(stages=self.stages)
        score = Stage(kind="score", world=("sensitive", "score"), after=("samples",), share="sample")
        return Declaration(stages=(*self.stages, score))

    @property
    def private(self) -> bool:
        """Whether its trials have a guarantee. What has none is a comparison row: a search would learn from it."""
        return all(ask.private for _, ask in self.declaration.asking)

    @property
    def shares(self) -> bool:
        """Whether it asks what all trials share."""
        return bool(self.declaration.sharing)

    @property
    def noise_fields(self) -> tuple[str, ...]:
        """The fields of its configuration that say how much noise shared answers have."""
        sigmas = (ask.sigma for _, ask in self.declaration.sharing)
        return tuple(dict.fromkeys(sigma for sigma in sigmas if isinstance(sigma, str)))

    @property
    def solved(self) -> bool:
        """Whether some of its noise follows from the budget."""
        return self.declaration.solved is not None

    def by_budget(self, config: MethodConfig) -> bool:
        """Whether some of the noise of this configuration follows from the budget."""
        fields = fields_of(config)
        return any(ask.noise(fields) is None for _, ask in self.declaration.asking)

    def shared(self, config: MethodConfig, budget: Budget, *, identity: Mapping[str, Any]) -> dict[str, Event]:
        """What it asks and all trials share, by stage, with the noise that a trial at this budget needs.

        Raises InputError if two accesses would take their noise from the budget, BudgetExceeded if none is enough.
        """
        fields = fields_of(config)
        questions = self.declaration.questions(fields, identity)
        sharing = {stage.kind: ask for stage, ask in self.declaration.sharing}
        found = {
            kind: ask.event(fields, question=questions[kind])
            for kind, ask in sharing.items()
            if ask.noise(fields) is not None
        }
        others = tuple(event.mechanism for event in found.values())
        for kind in sharing.keys() - found.keys():
            if self.solved or len(found) < len(sharing) - 1:
                raise InputError(
                    f"method.{sharing[kind].sigma}: needs a number here: only one access can take its noise from the "
                    "budget"
                )
            alone = calibrate(budget=budget, access=sharing[kind].access(fields), others=others)
            found[kind] = alone.model_copy(update={"shared": questions[kind]})
        return {kind: found[kind] for kind in sharing}

    def events(
        self, config: MethodConfig, budget: Budget, noise: Noise, *, identity: Mapping[str, Any]
    ) -> dict[str, Event]:
        """What a trial asks by itself: stage -> event. Shared answers count at the noise that the trial needs.

        Raises BudgetExceeded if no noise is enough.
        """
        fields, shared = fields_of(config), self.shared(config, budget, identity=identity)
        found: dict[str, Event] = {}
        for stage, ask in self.declaration.asking:
            if ask.solved:
                try:
                    found[stage.kind] = noise.solve(budget, ask.access(fields), others=tuple(shared.values()))
                except SharedTooDear as error:
                    raise error.naming(f"method.{name}" for name in self.noise_fields) from None
            else:
                found[stage.kind] = shared[stage.kind] if ask.shared else ask.event(fields)
        if self.private and not self.by_budget(config):
            self._check_fixed(config, budget, found)
        return found

    def _check_fixed(self, config: MethodConfig, budget: Budget, events: Mapping[str, Event]) -> None:
        """Raise BudgetExceeded if a trial whose noise the configuration names, all of it, costs more than its budget.

        Nothing else would say so: where some noise follows from the budget, it is what finds nothing left of it.
        """
        spent = epsilon([event.mechanism for event in events.values()], budget.delta)
        if spent <= budget.epsilon:
            return
        if len(events) > 1 or not self.noise_fields:
            raise SharedTooDear(budget, spent).naming(f"method.{field}" for field in self.noise_fields)
        (event,), (field,) = events.values(), self.noise_fields
        least = calibrate(budget=budget, access=event.access).sigma
        kind = field_type(self.config, field.split("."))
        null = ", or null for what the budget allows" if kind is not None and kind.nullable else ""
        raise BudgetExceeded(
            f"method.{field}: got {event.sigma:g}, which costs epsilon {spent:.3g}, above the budget {budget}; use at "
            f"least {least:g}{null}"
        )

    def looks(self, config: MethodConfig) -> tuple[Look, ...]:
        """What a trial reads of the sensitive set without noise: one look a row, whatever its seeds."""
        splits = dict.fromkeys(ask.split for _, ask in self.declaration.asking if not ask.private)
        return tuple(Look(split=split, what=f"row {config.name}", settings=digest(config)) for split in splits)

    def check_all(self, config: MethodConfig, sizes: Sizes) -> None:
        """As `check`, and what holds for all methods."""
        for _, ask in self.declaration.asking:
            q = ask.access(fields_of(config)).q
            if isinstance(ask.q, str) and q * sizes.n_train < 1:
                raise InputError(
                    f"method.{ask.q}: got {q:g}; with {sizes.n_train} training images the expected batch is below 1; "
                    f"use at least {1 / sizes.n_train:.2g}"
                )
        if sizes.shape is not None:
            self.check_shape(config, sizes.shape)
        self.check(config, sizes)
        if self.generates and config.samples < 2 * sizes.n_labels:
            raise InputError(
                f"method.samples: got {config.samples}; at least {2 * sizes.n_labels} for {sizes.n_labels} labels"
            )


def _refuses(member: object) -> str | None:
    if not isinstance(member, Method):
        return f"an instance of privimage.methods.method.Method is needed, got {member!r:.60}"
    if not getattr(member, "what", None) or not issubclass(getattr(member, "config", object), MethodConfig):
        return "it has to say `what` it is, and its `config`, a MethodConfig"
    unknown = sorted(name for name in member.declaration.named if not has_field(member.config, name.split(".")))
    if unknown:
        return f"its config has no field {', '.join(unknown)}"
    return member.declaration.refusal


METHODS: Door[Method] = Door(kind="method", folder="methods", refuses=_refuses)


def load(name: str) -> Method:
    """The method of that name. Raises InputError if there is none."""
    return METHODS.load(name)
