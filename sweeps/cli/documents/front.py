"""The document of `front`: the best trial of every budget and method, and what a constant answer reaches."""

from __future__ import annotations

from typing import Literal

from privimage.analysis import facts, pareto, price, scale, tables
from privimage.analysis.facts import Facts
from privimage.metrics.metric import Direction
from privimage.paths import RunFolder
from privimage.privacy import guarantee
from privimage.privacy.guarantee import Guarantee
from privimage.privacy.modes import ModeName
from privimage.record import Record
from privimage.schema import Frozen
from privimage.sweeps.cli.documents.document import Document, parted


class FrontMetric(Frozen):
    """A metric by name. `not_private`: computed from sensitive images without noise, so no epsilon covers it."""

    name: str
    direction: Direction
    not_private: bool


class FrontRow(Frozen):
    """The best trial of a method at a budget. `best_of` is None where it was chosen among a secret number of trials.

    `epsilon_to_state` stands beside its images; `epsilon_alone` is what it would have cost alone. Both are None for a
    row without a guarantee.
    """

    method: str
    trial: str
    epsilon: float
    delta: float
    epsilon_to_state: float | None
    epsilon_alone: float | None
    metrics: dict[str, float | None]
    best_of: int | None
    on_front: bool


class BaseRow(Frozen):
    """What is reached without any learning: chance, and the largest class."""

    what: str
    metrics: dict[str, float | None]


class FrontDocument(Document):
    """`metric` decides; `picture` and `table` are the files that are written as without --json."""

    document: Literal["front"] = "front"
    run: str
    mode: ModeName
    guarantees: tuple[Guarantee, ...]
    metric: str
    metrics: tuple[FrontMetric, ...]
    rows: tuple[FrontRow, ...]
    base: tuple[BaseRow, ...]
    picture: str
    table: str


def front_document(folder: RunFolder, *, metric: str | None) -> FrontDocument:
    """The front of a run by a metric (the first objective if None). Raises InputError if that was not measured."""
    found = facts.read(folder, by=metric)
    stated, warned = parted(price.opening(found))
    return FrontDocument(
        run=str(folder.path),
        mode=found.bill.mode,
        statement=stated,
        warnings=warned,
        guarantees=guarantee.all_of(found.bill),
        metric=found.lead.name,
        metrics=tuple(
            FrontMetric(name=name, direction=of.direction, not_private=of.non_private)
            for name, of in found.metrics.items()
        ),
        rows=_rows(found),
        base=tuple(BaseRow(what=what, metrics=values) for what, values in scale.base_rows(found)),
        picture=str(folder.front("png")),
        table=str(folder.front("csv")),
    )


def _rows(found: Facts) -> tuple[FrontRow, ...]:
    ahead = {record.id for record in pareto.front(found.records, metrics=[found.lead.name])}
    best = pareto.best_rows(found.records, metrics=found.ranking)
    return tuple(_row(found, record, on_front=record.id in ahead) for record in best.values())


def _row(found: Facts, record: Record, *, on_front: bool) -> FrontRow:
    among = [one for one in found.records if (one.budget, one.method) == (record.budget, record.method)]
    n = tables.best_of_how_many(among)
    counted = record.private and not price.contradictions(found)
    return FrontRow(
        method=record.method,
        trial=record.id,
        epsilon=record.budget.epsilon,
        delta=record.budget.delta,
        epsilon_to_state=price.stated(found, record).epsilon if counted else None,
        epsilon_alone=record.epsilon_alone,
        metrics={name: record.value(name) for name in found.metrics},
        best_of=n if isinstance(n, int) else None,
        on_front=on_front,
    )
