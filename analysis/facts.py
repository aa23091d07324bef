"""Facts: everything that one run left behind, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from analysis import pareto
from privimage import record as records_file
from privimage.errors import InputError
from privimage.metrics.metric import Metric
from privimage.paths import RunFolder
from privimage.record import Record
from privimage.schema import get_dotted, read_yaml
from privimage.store import Store


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The records of a run, where its artefacts are, and what its sweep file says steered the search.

    `objectives` are names of metrics; empty where the run folder holds no sweep file that names them.
    """

    folder: RunFolder
    records: tuple[Record, ...]
    objectives: tuple[str, ...] = ()
    mode: str | None = None
    by: str | None = None  # the metric that a person asked for, in place of the first objective

    @property
    def store(self) -> Store:
        """The artefacts."""
        return Store(self.folder.root.store)

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """One example of every metric by name: the one asked for, then the objectives, then the others."""
        found = pareto.measured(self.records)
        order = [name for name in (self.by, *self.objectives) if name is not None and name in found]
        return {name: found[name] for name in dict.fromkeys([*order, *found])}

    @property
    def lead(self) -> Metric:
        """The metric by which the best of several trials is chosen: the first objective, unless one was asked for."""
        return next(iter(self.metrics.values()))

    @property
    def sensitive_ids(self) -> list[str]:
        """Names of the sensitive sets (one, unless runs were merged by hand)."""
        ids = [get_dotted(record.config, "data.sensitive.id") for record in self.records]
        return list(dict.fromkeys(id for id in ids if isinstance(id, str)))


def read(folder: RunFolder, *, by: str | None = None) -> Facts:
    """The facts of a run, the best chosen `by` this metric. Raises InputError if no record has it, or has any."""
    records = tuple(records_file.load(folder.records))
    known = pareto.measured(records)
    if not known:
        raise InputError(f"{folder.records}: no finished trial with a metric yet")
    if by is not None and by not in known:
        raise InputError(f"metric: got {by!r}; allowed: {', '.join(known)}")
    sweep = read_yaml(folder.sweep) if folder.sweep.exists() else {}
    objectives = sweep.get("objectives")
    mode = get_dotted(sweep, "tuning.mode")
    names = tuple(map(str, objectives)) if isinstance(objectives, dict | list) else ()
    return Facts(folder=folder, records=records, objectives=names, mode=mode if isinstance(mode, str) else None, by=by)
