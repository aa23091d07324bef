"""Counting while a sweep runs: its records by row, and about how long the rest takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from privimage.record import Record
from privimage.sweeps.past import searched
from privimage.sweeps.phase import label_of, search_at
from privimage.sweeps.progress import RowDone
from privimage.sweeps.work import Work


class Tally:
    """Counts the records of a phase by row, and knows how long a trial of each takes.

    `fixed` are the trials that may be counted, by id, with their row; `search` is how many trials the search makes at
    every budget. `at_once` says how many trials run at the same time.
    """

    def __init__(
        self, work: Work, *, fixed: Mapping[str, str], search: Sequence[int], at_once: Callable[[], int]
    ) -> None:
        self._work, self._fixed, self._at_once = work, fixed, at_once
        self._totals = Counter(fixed.values())
        for budget, trials in zip(work.sweep.budgets, search, strict=True):
            self._totals[search_at(budget, work.sweep)] += trials
        self._compared = {label_of(trial, work.sweep) for trial in work.rows}
        self._rows: dict[str, str | None] = {}  # id of a record -> its row

    def rows(self, found: Sequence[Record]) -> tuple[RowDone, ...]:
        """Trials done of every row."""
        done = Counter(self._row(record) for record in found)
        return tuple(
            RowDone(label=label, done=min(done[label], total), total=total, compared=label in self._compared)
            for label, total in self._totals.items()
            if total
        )

    def left(self, found: Sequence[Record]) -> float | None:
        """About how many seconds the trials without a record take; None before the first has ended."""
        seconds: dict[str | None, list[float]] = {}
        for record in found:
            if any(stage.origin == "built" for stage in record.stages):  # others were made again from the store
                seconds.setdefault(self._row(record), []).append(record.seconds)
        known = [value for row in seconds.values() for value in row]
        if not known:
            return None
        mean = sum(known) / len(known)
        means = {label: sum(row) / len(row) for label, row in seconds.items()}
        rest = sum((row.total - row.done) * means.get(row.label, mean) for row in self.rows(found))
        return rest / self._at_once()

    def _row(self, record: Record) -> str | None:
        if record.id not in self._rows:
            self._rows[record.id] = self._fixed.get(record.id) or self._of_search(record)
        return self._rows[record.id]

    def _of_search(self, record: Record) -> str | None:
        found = searched(self._work, record) is not None
        return search_at(record.budget, self._work.sweep) if found else None
