"""How many different questions the trials of a sweep can ask: counted from the declared stages, not from the trials.

Trials that agree in everything that determines a stage share it: it is computed once, and asked and paid once.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from privimage.methods.declared import Stage, World, depend, fields_of, follow_budget
from privimage.methods.method import Method, MethodConfig, load
from privimage.sweeps.sweep import METHOD, Sweep

METHOD_PART = "method."
SOLVED = "*"  # in the place of a kind: the stage of a method whose noise follows from the budget, whatever it is called


def kind_of(method: Method, kind: str) -> str:
    """The kind itself, or the one that SOLVED stands for; empty if the method has none."""
    if kind != SOLVED:
        return kind
    solved = method.declaration.solved
    return "" if solved is None else solved.kind


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What a search can make of one stage with one method: `size` settings, all with these `fixed` fields.

    Methods that go through the same stages to it with the same fixed fields have one reach in common.
    """

    stages: tuple[Stage, ...]
    fixed: frozenset[tuple[str, Hashable]]
    size: float
    open: bool = False  # whether it follows from a shared answer whose noise follows from the budget

    def depends(self, on: World) -> bool:
        """Whether the stage depends on something that is no field of the method."""
        return depend(self.stages, on)

    @property
    def budgeted(self) -> bool:
        """Whether its noise follows from the budget, or that of a stage before it, or of the score."""
        return self.open or self.depends("score") or follow_budget(self.stages)


def reaches(sweep: Sweep, kind: str) -> frozenset[Reach]:
    """What the search can make of that stage; other reaches have nothing in common."""
    if sweep.trials == 0:
        return frozenset()
    found = (_reach(sweep, sweep.configuration({METHOD: name}), kind) for name in sweep.methods())
    return frozenset(reach for reach in found if reach is not None)


def settings(method: MethodConfig, kind: str) -> tuple[tuple[Stage, ...], frozenset[tuple[str, Hashable]]]:
    """The stages up to that one and every field that determines it: equal for configurations that share it."""
    declaration, kind = method.member.declaration, kind_of(method.member, kind)
    deciding = ((field, value) for field, value in fields_of(method).items() if declaration.decides(field, kind))
    return declaration.upto(kind), frozenset(deciding)


def depends(method: MethodConfig, kind: str, on: World) -> bool:
    """Whether that stage of a configuration depends on something that is no field of the method."""
    return method.member.declaration.depends(kind_of(method.member, kind), on)


def _reach(sweep: Sweep, method: MethodConfig, kind: str) -> Reach | None:
    """The reach of a search around this configuration; None if its method has no such stage."""
    stages, found = settings(method, kind)
    if not stages:
        return None
    deciding = dict(found)
    free = [dimension for name, dimension in sweep.search.items() if name.removeprefix(METHOD_PART) in deciding]
    return Reach(
        stages=stages,
        fixed=frozenset((name, value) for name, value in found if METHOD_PART + name not in sweep.search),
        size=math.prod(dimension.size() for dimension in free),
        open=any(_may_be_open(sweep, field, deciding) for field in method.member.noise_fields if field in deciding),
    )


def _may_be_open(sweep: Sweep, field: str, values: Mapping[str, Hashable]) -> bool:
    """Whether a trial of the search may leave that field to the budget."""
    searched = sweep.search.get(METHOD_PART + field)
    return values[field] is None if searched is None else None in searched.corners()


def distinct(sweep: Sweep, kind: str) -> float:
    """How many settings of that stage the search can reach: infinite where one of them is searched over a range."""
    return sum(reach.size for reach in reaches(sweep, kind))


def most(sweep: Sweep, kind: str, *, trials: int) -> int:
    """How often so many trials of a search at one budget, each with every seed, need that stage anew, at most."""
    seeds, found = len(set(sweep.seeds)), reaches(sweep, kind)
    settings = sum(reach.size * (seeds if reach.depends("seed") else 1) for reach in found)
    needed = trials * (seeds if any(reach.depends("seed") for reach in found) else 1)
    return int(min(needed, settings))


def holds(sweep: Sweep, kind: str, method: MethodConfig) -> bool:
    """Whether a configuration of the search has that stage in common with this one."""
    mine = _reach(sweep, method, kind)
    if mine is None or mine not in reaches(sweep, kind):
        return False
    values, kind = fields_of(method), kind_of(method.member, kind)
    decides = method.member.declaration.decides
    searched = [(name.removeprefix(METHOD_PART), dimension) for name, dimension in sweep.search.items()]
    return all(dimension.contains(values[field]) for field, dimension in searched if decides(field, kind))


def ignored(sweep: Sweep) -> tuple[str, ...]:
    """Searched fields that determine nothing in any method of the search: their values make the same images."""
    declarations = [load(name).declaration for name in sweep.methods()]
    names = (name for name in sweep.search if name != METHOD)
    return tuple(name for name in names if not any(d.uses(name.removeprefix(METHOD_PART)) for d in declarations))
