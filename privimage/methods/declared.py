"""What determines each stage of a method: the one declaration behind cache keys, the table of `plan`, and the bill.

A stage is determined by the stages before it, by fields of the method, and by what the trial finds (`World`): data,
seed, the noise of its events. Two trials in which all these agree share the stage: it is computed, and paid, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from privimage.privacy.budget import Split
from privimage.schema import Frozen

World = Literal[
    "public",  # the public set
    "sensitive",  # the sensitive set
    "shape",  # (channels, height, width) of an image
    "labels",  # number of labels
    "asked",  # the noise multiplier at which the query is asked
    "seed",
    "training",  # the event of fine-tuning, which follows from the budget
    "draw",  # which trial of which private selection
    "score",  # which score, and its event
]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage. A name in `fields` (dotted, of the method) stands for all fields below it but those in `without`.

    `asks` is the split of the sensitive set that it reads, if any.
    """

    kind: str
    fields: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    world: tuple[World, ...] = ()
    asks: Split | None = None

    def names(self, field: str) -> bool:
        """Whether this stage itself depends on the field."""
        return _below(field, self.fields) and not _below(field, self.without)


def _below(field: str, names: tuple[str, ...]) -> bool:
    return any(field == name or field.startswith(f"{name}.") for name in names)


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The stages of a method in their order; each depends on all before it."""

    stages: tuple[Stage, ...]

    def upto(self, kind: str) -> tuple[Stage, ...]:
        """The stage of that kind and all before it; none if the method has no such stage."""
        kinds = [stage.kind for stage in self.stages]
        return self.stages[: kinds.index(kind) + 1] if kind in kinds else ()

    def decides(self, field: str, kind: str) -> bool:
        """Whether the field determines that stage, by itself or through a stage before it."""
        return any(stage.names(field) for stage in self.upto(kind))

    def uses(self, field: str) -> bool:
        """Whether the field determines anything that is made."""
        return any(stage.names(field) for stage in self.stages)

    def depends(self, kind: str, on: World) -> bool:
        """Whether that stage depends on something that is no field of the method."""
        return any(on in stage.world for stage in self.upto(kind))


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of every stage of one trial: what its keys are made of."""

    declaration: Declaration
    fields: Mapping[str, Any]  # dotted field of the method -> value
    world: Mapping[World, Any] = field(default_factory=dict)

    def of(self, kind: str) -> dict[str, Any]:
        """Everything that determines the stage, as declared. Raises KeyError if something of it is not known."""
        inputs: dict[str, Any] = {}
        for stage in self.declaration.upto(kind):
            own = {name: value for name, value in self.fields.items() if stage.names(name)}
            inputs = {
                **({"after": inputs} if inputs else {}),
                "stage": stage.kind,
                "fields": own,
                **{name: self.world[name] for name in stage.world},
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
    return dict(_leaves(config.model_dump(), ""))


def _leaves(values: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
