"""The order of work of a sweep as one Ray Tune searcher: first the comparison rows, then one Optuna study a budget.

Optuna's journal is the memory: an interrupted sweep finds its finished trials there. Trials that were running when
the sweep was killed are told as failed and asked again with the same values, so they resume as the same trials.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from privimage.budget import Budget
from privimage.schema import get_dotted
from sweeps.sweep import Sweep
from sweeps.tuning import Select

REDRAWS = 20
Job = dict[str, Any]  # {"budget": index, "params": {...}} or {"fixed": index}


def study_name(budget: Budget) -> str:
    """The name of a budget's study in the journal."""
    return f"epsilon={budget.epsilon!r} delta={budget.delta!r}"


class SweepSearcher(Searcher):  # type: ignore[misc]
    """Gives Tune the jobs of a sweep; results go to the study that asked for them.

    Not `searching` where every trial is fixed beforehand: a private selection, and what follows a public search.
    """

    def __init__(self, sweep: Sweep, *, journal: Path, n_fixed: int, searching: bool = True) -> None:
        self._objectives = list(sweep.objectives)
        super().__init__(metric=self._objectives, mode=list(sweep.objectives.values()))
        self._fixed = list(range(n_fixed))
        self._where: dict[str, int | None] = {}
        self._finished: set[str] = set()
        storage = JournalStorage(JournalFileBackend(str(journal)))
        self._studies: list[OptunaSearch] = []
        self._left: list[int] = []
        self._tried: list[list[dict[str, Any]]] = []
        self._asked_as: dict[str, str] = {}
        base = base_point(sweep)
        for budget in sweep.budgets if searching else ():
            past = _settle(storage, study_name(budget), fields=set(space_of(sweep)), base=base)
            wanted = sweep.trials if sweep.search else min(1, sweep.trials)
            self._left.append(max(0, wanted - len(past.tried)))
            self._tried.append(list(past.tried))
            self._studies.append(_study(sweep, storage, study_name(budget), past=past))

    @property
    def jobs_left(self) -> int:
        """How many jobs Tune will be given."""
        return len(self._fixed) + sum(self._left)

    def suggest(self, trial_id: str) -> Job | str:
        """The next job, or FINISHED."""
        if self._fixed:
            self._where[trial_id] = None
            return {"fixed": self._fixed.pop(0)}
        budget = max(range(len(self._left)), key=lambda i: self._left[i], default=0)
        if sum(self._left) == 0:
            return str(Searcher.FINISHED)
        self._left[budget] -= 1
        self._where[trial_id] = budget
        return {"budget": budget, "params": self._new_params(budget, trial_id)}

    def _new_params(self, budget: int, trial_id: str) -> dict[str, Any]:
        """Values that this study has not tried; a repeat is told as failed and drawn again, a few times.

        A repeat would be the same trial: its record is there already, and nothing would be learnt.
        """
        study, tried = self._studies[budget], self._tried[budget]
        for again in range(REDRAWS):
            name = f"{trial_id}/{again}"
            params: dict[str, Any] = study.suggest(name)
            if params not in tried or again == REDRAWS - 1:
                tried.append(params)
                self._asked_as[trial_id] = name
                return params
            study.on_trial_complete(name, error=True)
        raise AssertionError("unreachable: the last draw is taken")

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: objectives are known at the end of a trial only."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study that asked."""
        budget = self._where.get(trial_id)
        if budget is None or trial_id in self._finished:
            return
        self._finished.add(trial_id)
        self._studies[budget].on_trial_complete(self._asked_as[trial_id], result=result, error=error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal is on disk already."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Not used: a sweep resumes from its journal and its records."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class _Past:
    """What the journal knows of a study: how many trials it began and finished, and what to try first."""

    begun: int
    tried: list[dict[str, Any]]  # values of the finished trials
    first: list[dict[str, Any]]


def _settle(storage: JournalStorage, name: str, *, fields: set[str], base: list[dict[str, Any]]) -> _Past:
    """The past of a study. Trials that were left running are ended; these and failed ones are asked again as they were.

    What they asked may be charged, and the bill counts so many trials: another in place of a failed one would be one
    more. (A repeat that was told as failed is among those that are asked again or tried.)
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return _Past(begun=0, tried=[], first=base)
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
    tried = [dict(trial.params) for trial in trials if trial.state == TrialState.COMPLETE]
    again: list[dict[str, Any]] = []
    for trial in trials:
        drawn = trial.params.keys() == fields  # else it was killed while its values were being drawn
        if drawn and trial.params not in (*tried, *again):
            again.append(dict(trial.params))
    return _Past(begun=len(trials), tried=tried, first=again)


def space_of(sweep: Sweep) -> dict[str, BaseDistribution]:
    """The searched fields with their distributions; without a search, the method's name as the only choice."""
    if not sweep.search:
        return {"method.name": CategoricalDistribution([str(sweep.method.get("name", "privimage+d"))])}
    return {dotted: dimension.distribution() for dotted, dimension in sweep.search.items()}


def base_point(sweep: Sweep) -> list[dict[str, Any]]:
    """The values of the sweep's fixed part in the searched fields: the first trial of every study.

    No point if one of them lies outside the space.
    """
    trial = sweep.example(budget=sweep.budgets[0]).model_dump()
    point = {dotted: get_dotted(trial, dotted) for dotted in sweep.search}
    inside = all(sweep.search[dotted].contains(value) for dotted, value in point.items())
    return [point] if point and inside else []


def _study(sweep: Sweep, storage: JournalStorage, name: str, *, past: _Past) -> OptunaSearch:
    logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
    assert not isinstance(sweep.tuning, Select), "the trials of a private selection are drawn beforehand"
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    objectives = dict(sorted(sweep.objectives.items()))  # a study keeps the order of its first start
    return OptunaSearch(
        space=space_of(sweep),
        metric=list(objectives),
        mode=list(objectives.values()),
        sampler=samplers[sweep.tuning.sampler](seed=sweep.tuning.seed + 1000 * past.begun),  # never the same draws
        storage=storage,
        study_name=name,
        points_to_evaluate=past.first or None,
    )
