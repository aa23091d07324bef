"""Phases: what the modes run, one phase after the other."""

from __future__ import annotations

from collections.abc import Iterator

from privimage.sweeps.modes.selection import selected
from privimage.sweeps.modes.stand_in import search_then_run
from privimage.sweeps.phase import Phase
from privimage.sweeps.work import Work


def phases(work: Work) -> Iterator[Phase]:
    """The phases of the sweep's mode: the next is taken when all trials of the last have their records.

    Nothing is asked before the first is taken; raises InputError for what is known to fail by then.
    """
    return {"explore": _explored, "select": selected, "public": search_then_run}[work.sweep.tuning.mode](work)


def _explored(work: Work) -> Iterator[Phase]:
    """The search beside the comparison rows."""
    yield Phase(work=work, name="sweep", rows=work.rows, searching=True)
