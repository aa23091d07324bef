"""Facts: everything that one run left behind, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from analysis import front
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

    @property
    def store(self) -> Store:
        """The artefacts."""
        return Store(self.folder.root.store)

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """One example of every metric by name: the objectives first, then the others."""
        found = front.measured(self.records)
        order = [name for name in self.objectives if name in found]
        return {name: found[name] for name in dict.fromkeys([*order, *found])}

    @property
    def lead(self) -> Metric:
        """The metric by which the best of several trials is chosen: the first objective."""
        return next(iter(self.metrics.values()))

    @property
    def sensitive_ids(self) -> list[str]:
        """Names of the sensitive sets (one, unless runs were merged by hand)."""
        ids = [get_dotted(record.config, "data.sensitive.id") for record in self.records]
        return list(dict.fromkeys(id for id in ids if isinstance(id, str)))


def read(folder: RunFolder) -> Facts:
    """The facts of a run. Raises InputError if there are no records, or none with a metric."""
    records = tuple(records_file.load(folder.records))
    if not front.measured(records):
        raise InputError(f"{folder.records}: no finished trial with a metric yet")
    sweep = read_yaml(folder.sweep) if folder.sweep.exists() else {}
    objectives = sweep.get("objectives")
    mode = get_dotted(sweep, "tuning.mode")
    names = tuple(map(str, objectives)) if isinstance(objectives, dict | list) else ()
    return Facts(folder=folder, records=records, objectives=names, mode=mode if isinstance(mode, str) else None)
