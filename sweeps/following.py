"""Following a phase: what is shown elsewhere while it runs is told what begins, and every record that is written.

Onlookers are told by the records of the run alone, so they never learn of a trial that its mode keeps to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ray import tune

from privimage import lines
from privimage.appended import Appended
from privimage.record import Record
from privimage.sweeps.searcher import Job


class Onlooker(Protocol):
    """Something that shows a phase elsewhere. It never raises: what it cannot show now, it catches up with later."""

    def catch_up(self, found: Sequence[Record]) -> None:
        """At a start: these are all records so far."""

    def begun(self, job: Job) -> None:
        """The trials of this job run now."""

    def ended(self, found: Sequence[Record]) -> None:
        """These records are new."""

    def failed(self, job: Job) -> None:
        """This job has failed."""

    def close(self) -> None:
        """Nothing more comes."""


class NewRecords:
    """The records of a file, each given once: only what was added since the last look is read."""

    def __init__(self, path: Path) -> None:
        self._added, self._given = Appended(path), set[str]()

    def __call__(self) -> list[Record]:
        """Those that were not given yet; a line that is still being written, or is damaged, is none."""
        try:
            begins, added = self._added.read()
        except FileNotFoundError:
            return []
        texts = (lines.parse(line) for line in added)
        found = [Record.model_validate_json(text) for text in texts if text is not None]
        new = [record for record in found if not (begins and record.id in self._given)]
        self._given |= {record.id for record in new}
        return new


class Following(tune.Callback):  # type: ignore[misc]
    """Tells the onlookers of a phase what Ray Tune does, in the process that drives it."""

    def __init__(self, records: NewRecords, onlookers: Sequence[Onlooker]) -> None:
        self._records, self._onlookers = records, tuple(onlookers)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to look on with: Tune keeps its callbacks in a file, and onlookers know the images of the sweep."""
        return {"_records": self._records, "_onlookers": ()}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune when a trial begins, again after a failure that is tried again."""
        for onlooker in self._onlookers:
            onlooker.begun(trial.config)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune at the end of a trial."""
        found = self._records()
        for onlooker in self._onlookers:
            onlooker.ended(found)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune at the last failure of a trial: of its seeds, some may have their records."""
        self.on_trial_complete(iteration, trials, trial)
        for onlooker in self._onlookers:
            onlooker.failed(trial.config)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Called by Tune at its end."""
        for onlooker in self._onlookers:
            onlooker.close()


def caught_up(records: Path, onlookers: Sequence[Onlooker], *, hidden: bool) -> list[Following]:
    """Tune's callbacks for these onlookers, who now know all records so far.

    None of a private selection: when something is shown while it runs, or as it ends, tells of the number of trials.
    """
    read = NewRecords(records)
    found = read()
    for onlooker in onlookers:
        onlooker.catch_up(found)
    return [Following(read, onlookers)] if onlookers and not hidden else []
