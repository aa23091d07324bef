"""What the search of a run has ended: told by its records alone, so no other file can be lost, or add trials."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from privimage.record import Record
from privimage.sweeps.tried import Params
from privimage.sweeps.work import Terms


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A configuration whose trials all have their records: its values, and every objective averaged over seeds."""

    params: Params
    values: dict[str, float]


def searched(work: Terms, record: Record) -> tuple[int, Params] | None:
    """(number of the budget, values of the searched fields) of a trial of the search; None for any other record.

    A record is of the search if the sweep makes the very same trial of its values: a comparison row may be one too.
    """
    if record.budget not in work.sweep.budgets:
        return None
    space = work.sweep.space
    params = {dotted: record.setting(dotted) for dotted in space}
    # Another method of the search may not have the field. A row may be such a trial, but for its place in the space.
    inside = all(params[dotted] is None or dimension.contains(params[dotted]) for dotted, dimension in space.items())
    if not inside or record.method not in work.sweep.methods():
        return None
    if work.searched_id(params, record.budget, record.seed) != record.id:
        return None
    return work.sweep.budgets.index(record.budget), params


def ended(work: Terms, found: Iterable[Record]) -> list[list[Ended]]:
    """The ended configurations of every budget, oldest first."""
    trials: list[dict[str, dict[int, tuple[Params, Record]]]] = [{} for _ in work.sweep.budgets]
    for record in found:
        mine = searched(work, record)
        if mine is not None:
            budget, params = mine
            first = work.searched_id(params, record.budget, work.sweep.seeds[0])
            trials[budget].setdefault(first, {})[record.seed] = params, record
    return [[_mean(work, seeds) for seeds in study.values() if set(work.sweep.seeds) <= set(seeds)] for study in trials]


def _mean(work: Terms, seeds: dict[int, tuple[Params, Record]]) -> Ended:
    ((params, _), *_) = seeds.values()
    values: dict[str, float] = {}
    for name in work.sweep.objectives:
        known = [value for seed in work.sweep.seeds if (value := seeds[seed][1].value(name)) is not None]
        values |= {name: sum(known) / len(known)} if known else {}
    return Ended(params=params, values=values)
