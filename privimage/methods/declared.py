"""What determines each stage of a method, and what it asks: the one declaration behind cache keys, `plan` and the bill.

A stage is determined by the stages that it comes after, by fields of the method, by what the trial finds (`World`), and
by what it asks of the sensitive set (`Ask`) with which noise. Two trials in which all these agree share the stage: it
is computed, and paid, once. So fields that come in behind the last stage that asks are post-processing, and are free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from privimage.privacy.budget import Access, Event, Split
from privimage.schema import Frozen, digest

World = Literal[
    "public",  # the public set
    "sensitive",  # the sensitive set
    "shape",  # (channels, height, width) of an image
    "labels",  # number of labels
    "seed",
    "draw",  # which trial of which private selection
    "score",  # which score, and its event
]


# Training that looks at no sensitive image; training on them; drawing images and measuring them; all else.
ShareName = Literal["pretrain", "finetune", "sample", "default"]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One access to the sensitive set, before it is known with which settings: a text stands for a field of the method.

    `q` and `steps` as in Event. `sigma` is the noise multiplier; None where it follows from the budget (of one ask of a
    method at most), 0 for no noise: then there is no guarantee, and the access is a look. `shared` where one answer
    serves all trials: it is asked at the least sigma of a sweep, and what needs more noise adds it to that answer. It
    names the field that holds its noise; where that field is None, the noise of every trial follows from its budget.
    """

    purpose: str
    q: float | str = 1.0
    steps: int | str = 1
    sigma: float | str | None = None
    split: Split = "train"
    shared: bool = False

    @property
    def private(self) -> bool:
        """Whether there is any noise."""
        return self.sigma != 0

    @property
    def solved(self) -> bool:
        """Whether its noise follows from the budget."""
        return self.sigma is None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that decide what is asked, but for its noise."""
        return tuple(value for value in (self.q, self.steps) if isinstance(value, str))

    def access(self, fields: Mapping[str, Any]) -> Access:
        """What a configuration with these fields asks."""
        q, steps = _value(self.q, fields), _value(self.steps, fields)
        return Access(purpose=self.purpose, q=float(q), steps=int(steps), split=self.split)

    def event(self, fields: Mapping[str, Any], *, question: str | None = None) -> Event:
        """The same with the noise that the configuration names. `question` is that of a shared answer."""
        sigma = float(_value(self.sigma, fields))
        return self.access(fields).event(sigma, shared=question if self.shared else None)

    def noise(self, fields: Mapping[str, Any]) -> float | None:
        """The noise multiplier in a configuration with these fields; None where it follows from the budget."""
        sigma: float | None = _value(self.sigma, fields)
        return sigma


def _value(declared: Any, fields: Mapping[str, Any]) -> Any:
    return fields[declared] if isinstance(declared, str) else declared


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage. A name in `fields` (dotted, of the method) stands for all fields below it but those in `without`.

    `since` are fields that it did not depend on once, each with the value that means "as before": there they are not
    in keys, so that what was kept is found. `after` are the kinds of the stages that it follows from, beside those that
    they follow from; None: all before it. `asks` is what it asks of the sensitive set. Its fields and its noise
    determine the stage without being named here.
    `fix` says what to do where its numbers are not finite; `share` which of the sweep's resources compute it.
    """

    kind: str
    fields: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    since: Mapping[str, Any] = field(default_factory=dict, hash=False)
    world: tuple[World, ...] = ()
    after: tuple[str, ...] | None = None
    asks: Ask | None = None
    fix: str = "lower the learning rates"
    share: ShareName = "default"

    def names(self, field: str) -> bool:
        """Whether this stage itself depends on the field."""
        own = self.fields if self.asks is None else (*self.fields, *self.asks.fields)
        return _below(field, own) and not _below(field, self.without)

    def of(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Of these fields those that determine the stage itself, as keys have them."""
        own = {name: fields[name] for name in _named(self, tuple(fields))}
        return {name: value for name, value in own.items() if name not in self.since or self.since[name] != value}


@lru_cache(maxsize=4096)  # every key of every trial asks, and methods have few stages and the same fields
def _named(stage: Stage, fields: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the fields that determine the stage itself."""
    return tuple(name for name in fields if stage.names(name))


def _below(field: str, names: tuple[str, ...]) -> bool:
    return any(field == name or field.startswith(f"{name}.") for name in names)


def depend(stages: Iterable[Stage], on: World) -> bool:
    """Whether one of these stages depends on something that is no field of the method."""
    return any(on in stage.world for stage in stages)


def follow_budget(stages: Iterable[Stage]) -> bool:
    """Whether the noise of one of these stages follows from the budget."""
    return any(stage.asks is not None and stage.asks.solved for stage in stages)


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The stages of a method in their order; each depends on all before it, unless it says on which."""

    stages: tuple[Stage, ...]

    def upto(self, kind: str) -> tuple[Stage, ...]:
        """The stage of that kind and all that it follows from, in order; none if the method has no such stage."""
        kinds, needed = [stage.kind for stage in self.stages], {kind}
        for at, stage in reversed(list(enumerate(self.stages))):
            if stage.kind in needed:
                needed.update(kinds[:at] if stage.after is None else stage.after)
        return tuple(stage for stage in self.stages if stage.kind in needed)

    def decides(self, field: str, kind: str) -> bool:
        """Whether the field determines that stage, by itself or through a stage before it.

        Noise that follows from the budget depends on how much of the budget shared answers leave.
        """
        spent = (ask.sigma for _, ask in self.sharing) if self.budgeted(kind) else ()
        return field in spent or any(stage.names(field) for stage in self.upto(kind))

    def uses(self, field: str) -> bool:
        """Whether the field determines anything that is made."""
        return any(stage.names(field) for stage in self.stages)

    def depends(self, kind: str, on: World) -> bool:
        """Whether that stage depends on something that is no field of the method."""
        return depend(self.upto(kind), on)

    def budgeted(self, kind: str, fields: Mapping[str, Any] = {}) -> bool:
        """Whether that stage depends on noise that follows from the budget, in a configuration with these fields.

        That of a shared answer does where its field is None; what is asked is still one question.
        """
        null = {ask.sigma for _, ask in self.sharing if isinstance(ask.sigma, str) and fields.get(ask.sigma, 0) is None}
        stages = self.upto(kind)
        return follow_budget(stages) or any(stage.names(field) for field in null for stage in stages)

    def fix(self, kind: str) -> str:
        """What to do where that stage made numbers that are not finite."""
        return next((stage.fix for stage in self.stages if stage.kind == kind), Stage.fix)

    def share(self, kind: str) -> ShareName:
        """Which of the sweep's resources compute that stage."""
        return next((stage.share for stage in self.stages if stage.kind == kind), Stage.share)

    @property
    def asking(self) -> tuple[tuple[Stage, Ask], ...]:
        """The stages that ask the sensitive set, with what they ask."""
        return tuple((stage, stage.asks) for stage in self.stages if stage.asks is not None)

    @property
    def sharing(self) -> tuple[tuple[Stage, Ask], ...]:
        """Those of them whose answer all trials share."""
        return tuple((stage, ask) for stage, ask in self.asking if ask.shared)

    @property
    def solved(self) -> Stage | None:
        """The stage whose noise follows from the budget."""
        return next((stage for stage, ask in self.asking if ask.solved), None)

    @property
    def named(self) -> set[str]:
        """The fields that it names, or names of groups of fields."""
        asked = {name for _, ask in self.asking for name in (*ask.fields, ask.sigma) if isinstance(name, str)}
        return asked.union(*((*stage.fields, *stage.without) for stage in self.stages))

    @property
    def refusal(self) -> str | None:
        """Why no method can be like this; None if one can."""
        kinds = [stage.kind for stage in self.stages]
        if len(set(kinds)) < len(kinds):
            return f"two stages have one kind: {', '.join(kinds)}"
        for at, stage in enumerate(self.stages):
            unknown = sorted(set(stage.after or ()) - set(kinds[:at]))
            if unknown:
                return f"stage {stage.kind}: comes after {', '.join(unknown)}, which is no stage before it"
        if sum(ask.solved for _, ask in self.asking) > 1:
            return "only one of its accesses can take its noise from the budget"
        found = ((stage.kind, self._refusal_of(stage, ask)) for stage, ask in self.asking)
        return next((f"stage {kind}: {why}" for kind, why in found if why is not None), None)

    def _refusal_of(self, stage: Stage, ask: Ask) -> str | None:
        known = {on for before in self.upto(stage.kind) for on in before.world}
        if not ask.shared:
            # Trials of a private selection have noise of their own, also where their settings are the same.
            needed = {"sensitive", "draw"} if ask.private else {"sensitive"}
            if ask.private and not ask.solved:
                return "an answer that is not shared takes its noise from the budget: leave out sigma"
            missing = ", ".join(sorted(needed - known))
            return f"what it asks depends on {missing}: name it in world" if missing else None
        noise = [other.sigma for _, other in self.asking if other.shared and isinstance(other.sigma, str)]
        if ask.solved or not ask.private:
            return "a shared answer names its noise: a sigma above 0, or the field that holds it"
        if not known <= {"public", "sensitive"}:
            return f"what all trials share cannot depend on {', '.join(sorted(known))}"
        if "sensitive" not in known:
            return "what it asks depends on sensitive: name it in world"
        if any(self.decides(name, stage.kind) for name in noise):
            return "a shared question cannot depend on the noise of a shared answer"
        return None

    def questions(self, fields: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, str]:
        """The stages that ask what all trials share -> the digest of the question, the same whatever its noise."""
        world: dict[World, Any] = {"public": identity["public"], "sensitive": identity["sensitive"]}
        shared = {stage.kind: ask.access(fields).model_dump() for stage, ask in self.sharing}
        known = Inputs(declaration=self, fields=fields, world=world, asked=shared)
        return {kind: digest(known.of(kind)) for kind in shared}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of every stage of one trial: what its keys are made of.

    `asked` is what every stage that asks asks, as plain values: its event as it is asked, of a shared answer with the
    noise of the sweep.
    """

    declaration: Declaration
    fields: Mapping[str, Any]  # dotted field of the method -> value
    world: Mapping[World, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)  # kind of stage -> see above

    def of(self, kind: str) -> dict[str, Any]:
        """Everything that determines the stage, as declared. Raises KeyError if something of it is not known."""
        inputs: dict[str, Any] = {}
        for stage in self.declaration.upto(kind):
            inputs = {
                **({"after": inputs} if inputs else {}),
                "stage": stage.kind,
                "fields": stage.of(self.fields),
                **{name: self.world[name] for name in stage.world},
                **({} if stage.asks is None else {"asked": self.asked[stage.kind]}),
            }
        if not inputs:
            raise KeyError(kind)
        return inputs

    def knowing(self, world: Mapping[World, Any]) -> Inputs:
        """The same trial with more that is known."""
        return replace(self, world={**self.world, **world})


def fields_of(config: Frozen) -> dict[str, Any]:
    """Every field of a configuration by its dotted name, with its value.

    >>> class Inner(Frozen):
    ...     a: int = 1
    >>> class Outer(Frozen):
    ...     inner: Inner = Inner()
    ...     b: int = 2
    >>> fields_of(Outer())
    {'inner.a': 1, 'b': 2}
    """
    return _leaves(config.model_dump(), "")


def _leaves(values: dict[str, Any], above: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _leaves(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found
