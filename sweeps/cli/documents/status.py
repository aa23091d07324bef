"""The document of `status`: how far a run is, what it has come to, and what has to be stated of it."""

from __future__ import annotations

import time
from typing import Literal

from privimage.analysis import price, so_far
from privimage.analysis.facts import Facts
from privimage.analysis.so_far import BestSoFar, SpentSoFar, StageUse
from privimage.privacy import guarantee
from privimage.privacy.guarantee import Guarantee
from privimage.privacy.modes import ModeName
from privimage.schema import Frozen
from privimage.sweeps.cli.documents.document import Document, parted
from privimage.sweeps.progress import RowDone, Standing

State = Literal["running", "done", "stopped", "unknown"]  # stopped: the same command goes on; unknown: it left no word


class RunningTrial(Frozen):
    """A trial that runs now: `done` steps of `total` of its stage, 0 of 0 where that does not tell."""

    row: str
    stage: str
    done: int
    total: int


class RowState(Frozen):
    """The trials of one row of the sweep by their state, which add up to `total`."""

    row: str
    compared: bool
    done: int
    running: int
    waiting: int
    total: int


class StatusDocument(Document):
    """Of a private selection: comparison rows and winners alone, without times and counts, as in the text."""

    document: Literal["status"] = "status"
    run: str
    mode: ModeName
    guarantees: tuple[Guarantee, ...]
    terms: tuple[str, ...]
    state: State
    phase: str | None
    rows: tuple[RowState, ...]
    running: tuple[RunningTrial, ...]
    seconds_left: float | None
    trials_per_hour: float | None
    best: tuple[BestSoFar, ...]
    stages: tuple[StageUse, ...]
    spent: tuple[SpentSoFar, ...]


def status_document(found: Facts, now: Standing | None) -> StatusDocument:
    """How far the run is that `now` tells of, with what its records and its ledger say."""
    spent, unread = so_far.spent_so_far(found)
    stated, warned = parted(price.opening(found))
    terms, more = parted(price.terms(found))
    alive = now is not None and now.alive
    return StatusDocument(
        run=str(found.folder.path),
        mode=found.bill.mode,
        statement=stated,
        warnings=(*warned, *more, *unread),
        guarantees=guarantee.all_of(found.bill),
        terms=terms,
        state=_state(now),
        phase=None if now is None else now.phase,
        rows=() if now is None else tuple(_row(row, now) for row in now.rows),
        running=_running(now) if now is not None and alive else (),
        seconds_left=now.left if now is not None and alive else None,
        trials_per_hour=so_far.trials_per_hour(found, now=time.time()) if alive else None,
        best=so_far.best_so_far(found),
        stages=so_far.stage_uses(found),
        spent=tuple(spent),
    )


def _state(now: Standing | None) -> State:
    if now is None:
        return "unknown"
    return "running" if now.alive else "done" if now.whole else "stopped"


def _row(row: RowDone, now: Standing) -> RowState:
    running = min(len(now.at_work(row)), row.total - row.done)  # its record may be there before it left the board
    waiting = row.total - row.done - running
    return RowState(
        row=row.label, compared=row.compared, done=row.done, running=running, waiting=waiting, total=row.total
    )


def _running(now: Standing) -> tuple[RunningTrial, ...]:
    return tuple(
        RunningTrial(row=one.label, stage=one.now.stage, done=one.now.done, total=one.now.total) for one in now.running
    )
