"""So far: what a run has come to while it runs: the best of every budget, stages found in the cache, trials an hour.

All of it follows from records; where the mode keeps times to itself there is neither a rate nor a count of stages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from privimage.analysis import words
from privimage.analysis.facts import Facts
from privimage.errors import InputError
from privimage.metrics.metric import Direction
from privimage.plain_yaml import read_yaml
from privimage.privacy import statement
from privimage.privacy.ledger import Ledger
from privimage.record import Record, finite
from privimage.schema import Frozen, get_dotted

HOUR = 3600.0


class BestSoFar(Frozen):
    """The best trial of the search at a budget. `not_private`: the value was computed without noise."""

    epsilon: float
    delta: float
    trial: str
    method: str
    metric: str
    value: float
    direction: Direction
    not_private: bool
    on_stand_in: bool  # of the search on public data, which asks the sensitive set nothing

    def __str__(self) -> str:
        where = " on the public stand-in" if self.on_stand_in else ""
        dagger = words.DAGGER if self.not_private else ""
        return f"{self.metric}{dagger} {words.number(self.value)} at epsilon {self.epsilon:g} ({self.method}){where}"


class StageUse(Frozen):
    """How often the trials of a run computed a stage, found it in the cache, or waited for another that computed it."""

    stage: str
    computed: int
    found: int
    waited_for: int

    def __str__(self) -> str:
        waited = f", {self.waited_for} waited for" if self.waited_for else ""
        return f"{self.stage} {self.computed} computed, {self.found} found{waited}"


class SpentSoFar(Frozen):
    """What all runs together have asked of a sensitive set by its ledger, as one epsilon; None where none is finite."""

    sensitive: str
    epsilon: float | None
    delta: float
    why: str

    def __str__(self) -> str:
        spent = f"epsilon {words.epsilon(self.epsilon)} at delta {self.delta:g}"
        return f"All runs together have spent {spent} on {self.sensitive}: {self.why}."


def best_so_far(found: Facts) -> tuple[BestSoFar, ...]:
    """The best of every budget by the first objective; before the runs on the sensitive set, that on the stand-in."""
    own = tuple(_best(found, on_stand_in=False))
    return own or (() if found.stand_in is None else tuple(_best(found.stand_in, on_stand_in=True)))


def _best(found: Facts, *, on_stand_in: bool) -> Iterator[BestSoFar]:
    for study in found.bill.studies:
        record = found.best_of(found.searched_at(study.budget))
        metric = None if record is None else next((m for m in found.ranking if record.value(m.name) is not None), None)
        if record is not None and metric is not None:
            yield BestSoFar(
                epsilon=record.budget.epsilon, delta=record.budget.delta, trial=record.id, method=record.method,
                metric=metric.name, value=record.value(metric.name) or 0.0, direction=metric.direction,
                not_private=metric.non_private, on_stand_in=on_stand_in,
            )  # fmt: skip


def stage_uses(found: Facts) -> tuple[StageUse, ...]:
    """Every stage of the trials that have ended, in order of appearance; none where times are not shown."""
    counted = Counter((stage.name, stage.origin) for record in _timed(found) for stage in record.stages)
    return tuple(
        StageUse(
            stage=name, computed=counted[name, "built"], found=counted[name, "hit"], waited_for=counted[name, "joined"]
        )
        for name in dict.fromkeys(name for name, _ in counted)
    )


def trials_per_hour(found: Facts, *, now: float) -> float | None:
    """Trials that ended in the last hour, over the time since the first of them began; None where none did.

    `now` in seconds since 1970. Trials that were made again from the store alone do not count.
    """
    times = [_times(record) for record in _timed(found) if any(stage.origin == "built" for stage in record.stages)]
    recent = [(begun, ended) for begun, ended in times if now - HOUR < ended <= now]
    if not recent:
        return None
    return len(recent) * HOUR / max(1.0, now - min(begun for begun, _ in recent))


def _timed(found: Facts) -> tuple[Record, ...]:
    """The records, those of the stand-in too, where the mode shows what took how long."""
    public = () if found.stand_in is None else found.stand_in.records
    return (*public, *found.records) if found.said.timed else public


def _times(record: Record) -> tuple[float, float]:
    begun = datetime.fromisoformat(record.started).timestamp() if record.started else 0.0
    return begun, begun + record.seconds


def sensitive_of(found: Facts) -> list[str]:
    """The names of the run's sensitive sets: by its records, or by its sweep file before there is any."""
    values = read_yaml(found.folder.sweep) if not found.sensitive_ids and found.folder.sweep.exists() else {}
    named = get_dotted(values, "data.sensitive.id")
    return found.sensitive_ids or ([str(named)] if named else [])


def spent_so_far(found: Facts) -> tuple[list[SpentSoFar], list[str]]:
    """(what every ledger says at every delta of the bill, a warning for each that cannot be read)."""
    spent, warnings = list[SpentSoFar](), list[str]()
    for id in sensitive_of(found):
        ledger = Ledger(found.folder.root.ledger(id))
        try:
            lines = ledger.lines()
        except InputError as error:
            warnings.append(f"WARNING: the ledger of {id} does not verify: {error}")
            continue
        for delta in found.bill.deltas if lines or ledger.path.exists() else ():  # else none is known here
            value, why = statement.total(lines, delta)
            spent.append(SpentSoFar(sensitive=id, epsilon=finite(value), delta=delta, why=why))
    return spent, warnings
