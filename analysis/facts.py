"""Facts: everything that one run left behind and its tuning mode allows to show, read once.

The records of a private selection's other trials lie in an internal folder that nothing here opens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from privimage import record as records_file
from privimage.analysis import pareto
from privimage.analysis.modes import SAID
from privimage.analysis.modes.mode import Said
from privimage.errors import InputError
from privimage.metrics.metric import Metric
from privimage.paths import STAND_IN, RunFolder
from privimage.plain_yaml import read_yaml
from privimage.privacy.bill import Bill
from privimage.privacy.budget import Budget
from privimage.record import Record
from privimage.record_file import so_far
from privimage.schema import parse
from privimage.stores.open import open_store
from privimage.stores.store import Store


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The records of a run, where its artefacts are, its bill, and what its sweep file says steered the search.

    `objectives` are names of metrics, `declared` dotted fields that were searched; empty where the run folder holds
    no sweep file that names them. `stand_in` is the search on public data of a run in mode public.
    """

    folder: RunFolder
    records: tuple[Record, ...]
    bill: Bill
    objectives: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    by: str | None = None  # the metric that a person asked for, in place of the first objective
    stand_in: Facts | None = None

    @property
    def said(self) -> Said:
        """What is said of it in the words of its tuning mode."""
        return SAID[self.bill.mode]

    @property
    def store(self) -> Store:
        """The artefacts."""
        return open_store(self.folder.root.store)

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
    def ranking(self) -> list[Metric]:
        """The metrics by which the best is chosen: the lead, then the next for rows in which it was not measured.

        Comparison rows have no noisy scores. Where a person asked for a metric, rows without it stay out.
        """
        return [self.lead] if self.by is not None else list(self.metrics.values())

    def best_of(self, records: Iterable[Record]) -> Record | None:
        """The best of these records by `ranking`, the earliest among equals; None if nothing was measured."""
        return pareto.best_by(records, metrics=self.ranking)

    @cached_property
    def searched(self) -> list[str]:
        """Dotted fields that the search varied: as the sweep declared them, and in which trials differ."""
        flat = [pareto.flatten(record.config) for record in self.records if record.role == "search"]
        declared = [path for path in self.declared if any(path in config for config in flat)]
        return list(dict.fromkeys([*declared, *pareto.searched(self.records)]))

    def searched_at(self, budget: Budget) -> list[Record]:
        """What the search at this budget has made: trials, the winner, or the runs with the settings that it found."""
        return [r for r in self.records if r.private and r.role == "search" and r.budget == budget]

    @property
    def rows_without_result(self) -> list[str]:
        """Comparison rows of which some trial has no record, as the run itself counts them; none where it does not."""
        try:
            counted = json.loads(self.folder.progress.read_text(encoding="utf-8"))["rows"]
            missing = [row for row in counted if row["compared"] and row["done"] < row["total"]]
            return [f"{row['label']} ({row['done']} of {row['total']})" for row in missing]
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            RecursionError,
        ):  # a courtesy of the sweep, which nothing seals
            return []

    @property
    def sensitive_ids(self) -> list[str]:
        """Names of the sensitive sets (one, unless runs were merged by hand)."""
        return list(dict.fromkeys(record.sensitive_id for record in self.records if record.sensitive_id))


def read(folder: RunFolder, *, by: str | None = None) -> Facts:
    """The facts of a run, the best chosen `by` this metric.

    Raises InputError if no record has it, or has any, or if the folder is the stand-in of a run.
    """
    if folder.path.name == STAND_IN:
        parent = folder.path.parent
        raise InputError(
            f"{folder.path}: the search of {parent} on public data; it is a part of the report of {parent}"
        )
    found = _of_run(folder, tuple(records_file.load(folder.records)), by=by)
    known = pareto.measured(found.records)
    if not known:
        raise InputError(f"{folder.records}: no finished trial with a metric yet")
    if by is not None and by not in known:
        raise InputError(f"metric: got {by!r}; allowed: {', '.join(known)}")
    return found


def begun(folder: RunFolder) -> Facts:
    """The facts of a run that may have no result yet. Raises InputError if the folder holds no run."""
    if not folder.bill.exists() and not folder.records.exists():
        raise InputError(f"{folder.path}: no bill and no records; is this the folder of a run, e.g. runs/demo?")
    return _of_run(folder, tuple(so_far(folder.records)), by=None)


def _of_run(folder: RunFolder, records: tuple[Record, ...], *, by: str | None) -> Facts:
    found = _facts(folder, records, by=by)
    stand_in = folder.stand_in
    if not stand_in.records.exists():
        return found
    shown = tuple(map(_on_public_data, records_file.load(stand_in.records)))
    return replace(found, stand_in=_facts(stand_in, shown, by=None))


def _facts(folder: RunFolder, records: tuple[Record, ...], *, by: str | None) -> Facts:
    sweep = read_yaml(folder.sweep) if folder.sweep.exists() else {}
    return Facts(
        folder=folder, records=records, bill=_bill(folder.bill), objectives=_names(sweep.get("objectives")),
        declared=_names(sweep.get("search")), by=by,
    )  # fmt: skip


def _on_public_data(record: Record) -> Record:
    metrics = (m.model_copy(update={"touches": (m.touches[0], "public"), "event": None}) for m in record.metrics)
    return record.model_copy(update={"metrics": tuple(metrics)})


def _bill(path: Path) -> Bill:
    """The bill of a run. Raises InputError if it is missing or damaged: without it nothing can be stated."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path}: missing, and what a run cost is stated by its bill; restore it, or run again"
        ) from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not valid JSON; run the sweep again, which writes it anew") from None
    return parse(Bill, values, where=str(path))


def _names(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, dict | list) else ()
