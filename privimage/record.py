"""Record: the fact of one trial, one JSON line. Everything that is shown later is computed from these lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from privimage import lines
from privimage.disk import refusal
from privimage.errors import InputError
from privimage.metrics.metric import Metric
from privimage.privacy.accounting import epsilon
from privimage.privacy.accounting.costs import BestOf, Cost
from privimage.privacy.budget import Budget, Event
from privimage.schema import Frozen, get_dotted

READ = "expected the records of a run"

Role = Literal["search", "compare"]  # a trial of the search, or a row beside it


class Paid(Frozen):
    """One access to the sensitive set as the ledger charged it; trials that share an answer carry the same id."""

    id: str
    what: str
    events: tuple[Cost, ...]


class StageRecord(Frozen):
    """One stage of a trial: whether it was computed here, and what it took."""

    name: str
    origin: Literal["hit", "built", "joined"]
    seconds: float
    peak_mib: float


class Record(Frozen):
    """What a trial was, what it cost in privacy, time and memory, and how good its images are.

    `epsilon_alone` is what the trial would have cost had it been the only one, which is no guarantee for one that was
    chosen: the epsilon to state beside it stands in the file of the run folder that `stated_in` names (None on a public
    stand-in, where there is none). It and `epsilon_rdp_alone` are None when the trial has no privacy guarantee (a
    comparison row); `events` is what this trial asked, `paid` what the ledger was charged for it (a shared query
    appears in many). The winner of a private selection carries the selection, and its epsilon is that of query and
    selection together.
    """

    id: str
    sweep: str
    role: Role
    method: str
    config: dict[str, Any]
    budget: Budget
    seed: int
    events: tuple[Event, ...]
    paid: tuple[Paid, ...]
    epsilon_alone: float | None
    epsilon_rdp_alone: float | None
    stated_in: Literal["guarantee.json"] | None = "guarantee.json"
    selection: BestOf | None = None
    metrics: tuple[Metric, ...]
    stages: tuple[StageRecord, ...]
    artefacts: dict[str, str]  # kind -> key in the store: generator, samples, selection, ...
    started: str
    seconds: float
    versions: dict[str, str]

    @property
    def private(self) -> bool:
        """Whether this trial's generator and images have a privacy guarantee."""
        return self.epsilon_alone is not None

    def setting(self, dotted: str) -> Any:
        """The value of a dotted field of its configuration, e.g. one that was searched; None if it has none."""
        return get_dotted(self.config, dotted)

    @property
    def sensitive_id(self) -> str:
        """The name of its sensitive set, and of the ledger of that."""
        return str(self.setting("data.sensitive.id") or "")

    @property
    def sensitive_source(self) -> str:
        """The source of its sensitive set; of a stand-in, that of the stand-in."""
        return str(self.setting("data.sensitive.name") or "")

    @property
    def public_source(self) -> str:
        """The source of its public set."""
        return str(self.setting("data.public.name") or "")

    @property
    def revision(self) -> int:
        """Which images its sensitive set had."""
        return self.setting("data.revision") or 0

    @property
    def size(self) -> str:
        """The name of its generator's size."""
        return str(self.setting("method.model.size") or "")

    @property
    def sampling(self) -> dict[str, Any]:
        """How its images were drawn."""
        return self.setting("method.sample") or {}

    def value(self, metric: str) -> float | None:
        """The value of the metric of that name, or None if it was not measured."""
        return next((m.value for m in self.metrics if m.name == metric), None)


def untimed(record: Record) -> Record:
    """The record without what anything took in time and memory, and without what was found in the cache.

    Beside a private selection both tell how many trials there are.
    """
    metrics = tuple(metric.model_copy(update={"seconds": 0.0}) for metric in record.metrics)
    return record.model_copy(update={"metrics": metrics, "stages": (), "seconds": 0.0, "started": ""})


def finite(epsilon: float) -> float | None:
    """The epsilon of a record: None instead of infinity."""
    return epsilon if math.isfinite(epsilon) else None


def append(path: Path, record: Record) -> None:
    """Add one line to the records file, whole and on disk before this returns."""
    lines.append(path, record.model_dump_json())


def load(path: Path) -> list[Record]:
    """All records of a run, oldest first, one an id. A last line cut by a crash is left out.

    Raises InputError if the file is missing, cannot be read, or a whole line is damaged.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no records; is this the folder of a run, and has a trial finished?") from None
    except OSError as error:
        raise refusal(error, path, "read", fix=READ) from None
    records: dict[str, Record] = {}
    for number, line in enumerate(raw[: raw.rfind(b"\n") + 1].splitlines()):
        text = lines.parse(line)
        if text is None:
            raise InputError(
                f"{path}: line {number + 1} is damaged; run the sweep's command again: it takes the line out and makes "
                "the record again, from the store and at no price"
            )
        record = parsed(text, path=path, number=number)
        records[record.id] = record
    return list(records.values())


def parsed(text: bytes, *, path: Path, number: int) -> Record:
    """The record of a line. Raises InputError if it is none."""
    try:
        return Record.model_validate_json(text)
    except ValueError:
        raise InputError(f"{path}: line {number + 1} is not a record of this version of privimage") from None


def composition(records: Iterable[Record], *, delta: float) -> float:
    """Epsilon at `delta` of everything the records paid together, each access once: the price of showing them all.

    Comparison rows without a guarantee are diagnostics; they are not covered by this number.
    """
    paid = {access.id: access for record in records for access in record.paid}
    events = [event for access in paid.values() for event in access.events if event.private]
    return epsilon(events, delta)


def best(records: Sequence[Record], *, metric: str, direction: Literal["min", "max"]) -> Record | None:
    """The record with the best value of `metric`, or None if none has it."""
    measured = [(record.value(metric), record) for record in records]
    ranked = [(value, record) for value, record in measured if value is not None]
    if not ranked:
        return None
    sign = 1 if direction == "min" else -1
    return min(ranked, key=lambda pair: sign * pair[0])[1]
