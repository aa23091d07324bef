"""Studies: the trials of a phase as Optuna shows them: one study a budget, and one for the comparison rows.

Nothing is read back: the search has its own studies in memory. What is shown follows from the records that the mode
lets a run show, so of a private selection there are comparison rows and winners alone, and these come at the start of
a command only: when they came would tell how long the selection took.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from privimage import metrics
from privimage.privacy import guarantee
from privimage.privacy.budget import Budget
from privimage.record import Record, Role
from privimage.schema import get_dotted
from privimage.sweeps.phase import Fixed, Phase, at, search_at
from privimage.sweeps.progress import FINAL
from privimage.sweeps.searcher import Job, space_of
from privimage.sweeps.study_store import StudyStore

ROWS = "comparison rows"


@dataclass(frozen=True, kw_only=True)
class StudyTrial:
    """A trial as its study has it: its values in the space, and what stands beside it."""

    study: str
    id: str
    params: Mapping[str, Any]
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class _Shown:
    """One study with the space of its trials, and those that it holds: id -> (number in the storage, state)."""

    study: Study
    space: Mapping[str, BaseDistribution]
    objectives: tuple[str, ...]
    trials: dict[str, tuple[int, TrialState]]


class Studies:
    """The studies of a phase in a store. Every call may fail without harm: the store says so once."""

    def __init__(self, phase: Phase, store: StudyStore, *, todo: Fixed) -> None:
        self._phase, self._store, self._todo = phase, store, todo
        self._sweep = phase.work.sweep
        self._shown: dict[str, _Shown] = {}

    def catch_up(self, found: Sequence[Record]) -> None:
        """At a start: close what a killed process left running, and add every record that is not there."""
        known = {record.id for record in found}
        with self._store.trying() as well:
            for name in self._names() if well else ():
                shown = self._shown[name] = self._open(name, known)
                for id, (number, state) in list(shown.trials.items()):
                    if state == TrialState.RUNNING and id not in known:
                        self._close(shown, id, number)
        self.ended(found)

    def begun(self, job: Job) -> None:
        """The trials of a job run now."""
        with self._store.trying() as well:
            for shown, trial in self._of_job(job) if well else ():
                if shown.trials.get(trial.id, (0, None))[1] not in (TrialState.RUNNING, TrialState.COMPLETE):
                    self._add(shown, trial, state=TrialState.RUNNING)

    def ended(self, found: Sequence[Record]) -> None:
        """These trials have their records."""
        with self._store.trying() as well:
            for record in found if well else ():
                trial = self._of_record(record)
                shown = self._shown.get(trial.study)
                if shown is not None:
                    self._finish(shown, trial, record)

    def failed(self, job: Job) -> None:
        """The trials of a job ended without a record, as far as they have none."""
        with self._store.trying() as well:
            for shown, trial in self._of_job(job) if well else ():
                number, state = shown.trials.get(trial.id, (0, None))
                if state == TrialState.RUNNING:
                    self._close(shown, trial.id, number)

    def close(self) -> None:
        """Nothing: every trial is written as it ends."""

    def _names(self) -> list[str]:
        rows = [self._name(ROWS)] if self._phase.rows and self._objectives(ROWS) else []
        searched = self._sweep.budgets if self._sweep.trials and self._objectives("") else ()
        return [*rows, *(self._name(self._search_at(budget)) for budget in searched)]

    def _name(self, what: str) -> str:
        where = " (public stand-in)" if self._sweep.data.stand_in else ""
        return f"{self._sweep.name}: {what}{where}"

    def _search_at(self, budget: Budget) -> str:
        """What the search at a budget leaves: its trials, or what it ended in."""
        if self._phase.searching:
            return search_at(budget, self._sweep)
        return f"{'winner' if self._sweep.tuning.hidden else FINAL} {at(budget, self._sweep)}"

    def _objectives(self, what: str) -> dict[str, str]:
        """The metrics that decide; of comparison rows those that they have, which are none that pays for noise."""
        if what != ROWS:
            scored = self._sweep.tuning.scored
            return {n: d for n, d in self._sweep.objectives.items() if scored or not metrics.is_private(n)}
        return {n: metrics.direction_of(n) for n in self._sweep.measured if not metrics.is_private(n)}

    def _open(self, name: str, known: Collection[str]) -> _Shown:
        """The study of that name with what it holds; made anew where it holds a result that the run does not have."""
        rows = name == self._name(ROWS)
        objectives = self._objectives(ROWS if rows else "")
        said = guarantee.sentences(self._phase.work.bill)[0] if not self._sweep.data.stand_in else "public data"
        study = self._store.study(name, objectives=objectives, said=said)
        trials = _held(study)
        if any(state == TrialState.COMPLETE and id not in known for id, (_, state) in trials.items()):
            self._store.delete(study)
            study, trials = self._store.study(name, objectives=objectives, said=said), {}
        labels = tuple(dict.fromkeys(self._phase.labels[trial.id] for trial in self._phase.rows))
        space: Mapping[str, BaseDistribution] = (
            {"row": CategoricalDistribution(labels)} if rows else space_of(self._sweep)
        )
        return _Shown(study, space, tuple(objectives), trials)

    def _of_job(self, job: Job) -> list[tuple[_Shown, StudyTrial]]:
        """The trials of a job, each with its study; those that are in none are left out."""
        if "fixed" in job:
            made: Fixed = (self._todo[job["fixed"]],)
        else:
            budget, terms = self._sweep.budgets[job["budget"]], self._phase.work.terms
            seeds = (terms.searched(job["params"], budget=budget, seed=seed) for seed in self._sweep.seeds)
            made = tuple((trial, "search") for trial in seeds)
        trials = [
            self._trial(trial.id, role, trial.method.name, trial.budget, trial.seed, self._params(trial.model_dump()))
            for trial, role in made
        ]
        return [(self._shown[trial.study], trial) for trial in trials if trial.study in self._shown]

    def _params(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {dotted: get_dotted(config, dotted) for dotted in self._sweep.space}

    def _of_record(self, record: Record) -> StudyTrial:
        found = self._trial(
            record.id, record.role, record.method, record.budget, record.seed, self._params(record.config)
        )
        values = {metric.name: metric.value for metric in record.metrics}
        spent = {"epsilon alone": record.epsilon_alone} if record.private else {"not private": "everything"}
        unpaid = [metric.name for metric in record.metrics if metric.non_private]
        timed = {"seconds": record.seconds} if record.started else {}
        link = {"record": f"{self._phase.work.folder.records}#{record.id}", "no epsilon covers": unpaid}
        return StudyTrial(
            study=found.study, id=found.id, params=found.params,
            attrs={**found.attrs, **spent, **values, **timed, **link},
        )  # fmt: skip

    def _trial(
        self, id: str, role: Role, method: str, budget: Budget, seed: int, params: Mapping[str, Any]
    ) -> StudyTrial:
        compared = role == "compare"
        row = self._phase.labels.get(id, method) if compared else self._search_at(budget)
        return StudyTrial(
            study=self._name(ROWS if compared else self._search_at(budget)),
            id=id,
            params={"row": row} if compared else params,
            attrs={"trial": id, "row": row, "method": method, "epsilon": budget.epsilon, "delta": budget.delta,
                   "seed": seed},
        )  # fmt: skip

    def _add(self, shown: _Shown, trial: StudyTrial, *, state: TrialState, record: Record | None = None) -> None:
        """Add the trial in this state, with the values and the times of its record."""
        space = {
            name: of for name, of in shown.space.items() if name in trial.params and _inside(of, trial.params[name])
        }
        values = None if record is None else _values(shown, record)
        made = create_trial(
            state=state if record is None or values is not None else TrialState.FAIL,
            values=values,
            params={name: trial.params[name] for name in space},
            distributions=space,
            user_attrs=dict(trial.attrs),
        )
        if record is not None:
            made.datetime_start, made.datetime_complete = self._times(record)
        number = self._store.storage.create_new_trial(shown.study._study_id, template_trial=made)
        shown.trials[trial.id] = number, made.state

    def _finish(self, shown: _Shown, trial: StudyTrial, record: Record) -> None:
        """What the study holds of a record's trial, complete: the one that runs there, or a new one."""
        number, state = shown.trials.get(trial.id, (0, None))
        values = _values(shown, record)
        if state == TrialState.COMPLETE or (state == TrialState.FAIL and values is None):
            return
        if state != TrialState.RUNNING:
            self._add(shown, trial, state=TrialState.COMPLETE, record=record)
            return
        for name, value in trial.attrs.items():
            self._store.storage.set_trial_user_attr(number, name, value)
        ended = TrialState.FAIL if values is None else TrialState.COMPLETE
        self._store.storage.set_trial_state_values(number, state=ended, values=values)
        shown.trials[trial.id] = number, ended

    def _close(self, shown: _Shown, id: str, number: int) -> None:
        self._store.storage.set_trial_state_values(number, state=TrialState.FAIL)
        shown.trials[id] = number, TrialState.FAIL

    def _times(self, record: Record) -> tuple[datetime, datetime]:
        """When the trial began and ended; beside a private selection, when the set was first asked."""
        begun = datetime.fromisoformat(record.started or self._phase.work.ledger.begun() or "1970-01-01T00:00:00")
        local = begun.astimezone().replace(tzinfo=None)
        return local, local + timedelta(seconds=record.seconds)


def _held(study: Study) -> dict[str, tuple[int, TrialState]]:
    """The trials of a study: id -> (number in the storage, state), of several attempts the last."""
    found = (trial for trial in study.get_trials(deepcopy=False) if "trial" in trial.user_attrs)
    return {trial.user_attrs["trial"]: (trial._trial_id, trial.state) for trial in found}


def _inside(of: BaseDistribution, value: Any) -> bool:
    """Whether the space of a study holds this value: another method of the search may not have the field."""
    try:
        return of._contains(of.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def _values(shown: _Shown, record: Record) -> list[float] | None:
    """The objectives of the record, as the study orders them; None if one of them is no number."""
    values = [record.value(name) for name in shown.objectives]
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return finite if len(finite) == len(values) else None
