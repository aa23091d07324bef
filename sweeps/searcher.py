"""The order of work of a sweep as one Ray Tune searcher: first the comparison rows, then one Optuna study a budget.

A study lives in memory. It is made anew at every start from what has ended (the records) and what was begun (Tried):
begun configurations without records are asked again with the same values, so they resume as the same trials.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from privimage.privacy.budget import Budget
from privimage.schema import get_dotted
from privimage.sweeps.past import Ended
from privimage.sweeps.space import Choice, Dimension, Integers, LogUniform, Uniform
from privimage.sweeps.sweep import Sweep
from privimage.sweeps.tried import Params, Tried

REDRAWS = 20
LARGE = 100_000  # so many configurations are as good as endless
Job = dict[str, Any]  # {"budget": index, "params": {...}} or {"fixed": index}
TrialKey = Callable[[int, Params], str]  # (number of the budget, values) -> the trial that they make


def study_name(budget: Budget) -> str:
    """The name of a budget's study among those of the run."""
    return f"epsilon={budget.epsilon!r} delta={budget.delta!r}"


class OpenStudy:
    """The search at one budget: which configurations are left, and Optuna's study that chooses them."""

    def __init__(
        self, sweep: Sweep, budget: Budget, *, tried: Tried, ended: Sequence[Ended], key: Callable[[Params], str]
    ) -> None:
        self._sweep, self._name, self._tried, self._key = sweep, study_name(budget), tried, key
        self._known = {key(one.params) for one in ended}
        again = {key(params): params for params in (*tried.begun(self._name), *base_point(sweep))}
        first = [params for name, params in again.items() if name not in self._known]
        self.left = max(0, configurations(sweep, key) - len(self._known))
        self._search = _optuna(sweep, self._name, ended=ended, first=first[: self.left])

    def suggest(self, trial: str) -> tuple[str, Params]:
        """(the name under which it was asked, values that were not tried before). Written down before it begins."""
        self.left -= 1
        asked, params = self._new(trial)
        self._known.add(self._key(params))
        self._tried.add(self._name, params)
        return asked, params

    def tell(self, asked: str, *, result: dict[str, Any] | None, error: bool) -> None:
        """What came of it."""
        self._search.on_trial_complete(asked, result=result, error=error)

    def _new(self, trial: str) -> tuple[str, Params]:
        """A draw that makes a new trial. Repeats are told as failed; if all draws repeat, any that is left is taken."""
        for number in range(REDRAWS + len(self._known)):
            asked = f"{trial}/{number}"
            params: Params = self._search.suggest(asked)
            if self._key(params) not in self._known:
                return asked, params
            self._search.on_trial_complete(asked, error=True)
        params = next(params for params in _others(self._sweep) if self._key(params) not in self._known)
        self._search._ot_study.enqueue_trial(params)
        return f"{trial}/left", self._search.suggest(f"{trial}/left")


class SweepSearcher(Searcher):  # type: ignore[misc]
    """Gives Tune the jobs of a sweep; results go to the study that asked for them.

    `ended` has the configurations of every budget that are done; it is None where every trial is fixed beforehand: a
    private selection, and what follows a public search.
    """

    def __init__(
        self, sweep: Sweep, *, tried: Path, n_fixed: int, key: TrialKey, ended: Sequence[Sequence[Ended]] | None
    ) -> None:
        super().__init__(metric=list(sweep.objectives), mode=list(sweep.objectives.values()))
        self._fixed = list(range(n_fixed))
        self._asked: dict[str, tuple[OpenStudy, str]] = {}
        self._studies = [
            OpenStudy(sweep, sweep.budgets[index], tried=Tried(tried), ended=done, key=partial(key, index))
            for index, done in enumerate(ended or ())
        ]

    @property
    def jobs_left(self) -> int:
        """How many jobs Tune will be given."""
        return len(self._fixed) + sum(study.left for study in self._studies)

    def suggest(self, trial_id: str) -> Job | str:
        """The next job, or FINISHED."""
        if self._fixed:
            return {"fixed": self._fixed.pop(0)}
        if self.jobs_left == 0:
            return str(Searcher.FINISHED)
        budget = max(range(len(self._studies)), key=lambda i: self._studies[i].left)
        asked, params = self._studies[budget].suggest(trial_id)
        self._asked[trial_id] = self._studies[budget], asked
        return {"budget": budget, "params": params}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: objectives are known at the end of a trial only."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study that asked, once."""
        if trial_id in self._asked:
            study, asked = self._asked.pop(trial_id)
            study.tell(asked, result=result, error=error)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps a pickle of its searcher in the run's folder, where no data may lie."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: what counts is on disk already."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Not used: a sweep resumes from its records."""
        raise NotImplementedError


def space_of(sweep: Sweep) -> dict[str, BaseDistribution]:
    """The space of the sweep, every dimension as Optuna's distribution."""
    return {dotted: distribution(dimension) for dotted, dimension in sweep.space.items()}


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension as Optuna's distribution."""
    match dimension:
        case Choice(choice=values):
            return CategoricalDistribution(values)
        case Uniform(uniform=ends):
            return FloatDistribution(*ends)
        case LogUniform(log_uniform=ends):
            return FloatDistribution(*ends, log=True)
        case Integers(integers=ends):
            return IntDistribution(*ends)


def base_point(sweep: Sweep) -> list[dict[str, Any]]:
    """The values of the sweep's fixed part in the searched fields: the first trial of every study.

    No point if one of them lies outside the space.
    """
    trial = sweep.example(budget=sweep.budgets[0]).model_dump()
    point = {dotted: get_dotted(trial, dotted) for dotted in sweep.search}
    inside = all(sweep.search[dotted].contains(value) for dotted, value in point.items())
    return [point] if point and inside else []


def configurations(sweep: Sweep, key: Callable[[Params], str]) -> int:
    """How many different configurations a study tries: a finite space may have fewer than were asked for."""
    listed = _listed(sweep)
    if not sweep.trials or listed is None or math.prod(map(len, listed.values())) > LARGE:
        return sweep.configurations
    return min(sweep.configurations, len({key(params) for params in _combinations(listed)}))


def _listed(sweep: Sweep) -> dict[str, tuple[Any, ...]] | None:
    """All values of every searched field; None if one of them is a range."""
    listed = {dotted: dimension.listed() for dotted, dimension in sweep.space.items()}
    return None if None in listed.values() else {dotted: values for dotted, values in listed.items() if values}


def _combinations(listed: dict[str, tuple[Any, ...]]) -> Iterator[Params]:
    return (dict(zip(listed, values, strict=True)) for values in itertools.product(*listed.values()))


def _others(sweep: Sweep) -> Iterator[Params]:
    """Every configuration of a finite space, else draws without end."""
    listed = _listed(sweep)
    if listed is not None:
        yield from _combinations(listed)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=len(sweep.search)))
    while True:
        yield study.ask(space_of(sweep)).params


def _optuna(sweep: Sweep, name: str, *, ended: Sequence[Ended], first: list[Params]) -> OptunaSearch:
    """Optuna's study with everything that has ended; the sampler starts as it did at the first start."""
    logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler, seed = sweep.tuning.sampling
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    objectives, storage, space = dict(sorted(sweep.objectives.items())), InMemoryStorage(), space_of(sweep)
    directions = [
        StudyDirection.MINIMIZE if direction == "min" else StudyDirection.MAXIMIZE for direction in objectives.values()
    ]
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    for one in ended:
        values = [one.values.get(objective, math.nan) for objective in objectives]
        if all(map(math.isfinite, values)):
            study.add_trial(optuna.trial.create_trial(params=one.params, distributions=space, values=values))
    return OptunaSearch(
        space=space,
        metric=list(objectives),
        mode=list(objectives.values()),
        sampler=samplers[sampler](seed=seed),
        storage=storage,
        study_name=name,
        points_to_evaluate=first or None,
    )
