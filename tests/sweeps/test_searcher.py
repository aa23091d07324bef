from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from sweeps.searcher import SweepSearcher, study_name
from sweeps.sweep import Sweep, load_sweep

SIGMA = "method.query.sigma"
SPACE = {SIGMA: {"uniform": [6, 12]}, "method.pretrain.lr": {"log_uniform": [1e-4, 1e-2]}}


@pytest.fixture
def start(tmp_path: Path, write_sweep: Callable[..., Path]) -> Callable[..., SweepSearcher]:
    """A searcher on the journal in tmp_path, as a process would make it."""

    def make(*, n_fixed: int = 0, **changed: Any) -> SweepSearcher:
        values = {"search": SPACE, "trials": 3, "tuning": {"sampler": "random"}} | changed
        return SweepSearcher(load_sweep(write_sweep(**values)), journal=tmp_path / "journal", n_fixed=n_fixed)

    return make


def drain(searcher: SweepSearcher, *, finish: bool = True) -> list[Any]:
    jobs = []
    for number in range(100):
        job = searcher.suggest(f"t{id(searcher)}-{number}")
        if job == SweepSearcher.FINISHED:
            return jobs
        jobs.append(job)
        if finish:
            searcher.on_trial_complete(f"t{id(searcher)}-{number}", result={"accuracy[lr]": 0.5})
    raise AssertionError("never finished")


def states(sweep: Sweep, tmp_path: Path) -> list[list[TrialState]]:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "journal")))
    return [
        [t.state for t in optuna.load_study(study_name=study_name(b), storage=storage).trials] for b in sweep.budgets
    ]


def test_rows_first_then_the_budgets_in_turn(start: Callable[..., SweepSearcher]) -> None:
    searcher = start(n_fixed=2)
    assert searcher.jobs_left == 8
    jobs = drain(searcher)
    assert jobs[:2] == [{"fixed": 0}, {"fixed": 1}]
    assert [job["budget"] for job in jobs[2:]] == [0, 1, 0, 1, 0, 1]
    assert all(set(job["params"]) == set(SPACE) for job in jobs[2:])
    assert searcher.jobs_left == 0


def test_finished_ones_are_counted(start: Callable[..., SweepSearcher]) -> None:
    drain(start())
    assert start().jobs_left == 0
    again = start(trials=5)
    assert again.jobs_left == 4
    assert [job["budget"] for job in drain(again)] == [0, 1, 0, 1]
    assert start(trials=2).jobs_left == 0


def test_running_ones_of_a_killed_process_are_asked_again_with_the_same_values(
    start: Callable[..., SweepSearcher],
) -> None:
    killed = start()
    first = [killed.suggest(f"a{i}") for i in range(4)]  # two of every budget
    killed.on_trial_complete("a0", result={"accuracy[lr]": 0.5})
    resumed = start()
    assert resumed.jobs_left == 5
    jobs = drain(resumed)
    for budget, left in ((0, first[2:3]), (1, [first[1], first[3]])):
        asked = [job["params"] for job in jobs if job["budget"] == budget]
        assert asked[: len(left)] == [job["params"] for job in left]
    assert start().jobs_left == 0


def test_killed_twice_asks_the_same_again(start: Callable[..., SweepSearcher]) -> None:
    first = start().suggest("a")["params"]
    start()  # killed before it asked
    second = start()
    assert second.suggest("b") == {"budget": 0, "params": first}
    assert start().suggest("c") == {"budget": 0, "params": first}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_resumed_sampler_does_not_repeat_finished_trials(start: Callable[..., SweepSearcher], sampler: str) -> None:
    drain(start(trials=2, tuning={"sampler": sampler}))
    more = start(trials=4, tuning={"sampler": sampler})
    drain(more)
    values = _asked(more)
    assert len(values) == len(set(values)) == 4


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_resumed_sampler_does_not_repeat_interrupted_trials(
    start: Callable[..., SweepSearcher], sampler: str
) -> None:
    killed = start(tuning={"sampler": sampler})
    interrupted = [killed.suggest(f"a{i}") for i in range(4)]
    before = [job["params"] for job in interrupted if job["budget"] == 0]
    resumed = start(tuning={"sampler": sampler})
    asked = [job["params"] for job in drain(resumed) if job["budget"] == 0]
    assert asked[:2] == before
    assert asked[2] not in before


def _asked(searcher: SweepSearcher) -> list[float]:
    return [t.params[SIGMA] for t in searcher._studies[0]._ot_study.trials if t.state == TrialState.COMPLETE]


def test_a_failed_trial_is_not_counted_as_done(start: Callable[..., SweepSearcher], tmp_path: Path) -> None:
    searcher = start(trials=1)
    for i in range(2):
        searcher.suggest(f"a{i}")
        searcher.on_trial_complete(f"a{i}", error=True)
    assert start(trials=1).jobs_left == 2


def test_a_failed_trial_is_asked_again_as_it_was(start: Callable[..., SweepSearcher]) -> None:
    """What it asked may be charged, and the bill counts so many trials: no other takes its place."""
    searcher = start()
    failed = searcher.suggest("a")
    searcher.on_trial_complete("a", error=True)
    for name in ("b", "c"):
        searcher.suggest(name)
        searcher.on_trial_complete(name, result={"accuracy[lr]": 0.5})
    jobs = drain(start())
    assert failed in jobs and len(jobs) == 4, "six trials in all, two of them done"


def test_telling_twice_is_harmless(start: Callable[..., SweepSearcher]) -> None:
    searcher = start(n_fixed=1)
    searcher.suggest("row")
    searcher.on_trial_complete("row", result={"accuracy[lr]": 0.1})
    searcher.suggest("a")
    for _ in range(2):
        searcher.on_trial_complete("a", result={"accuracy[lr]": 0.5})
    searcher.on_trial_complete("unknown", error=True)
    assert start(n_fixed=1).jobs_left == 1 + 5


def test_a_trial_killed_while_it_was_being_drawn(start: Callable[..., SweepSearcher], tmp_path: Path) -> None:
    """One of its two values is in the journal, the other is not."""

    start()
    sweep = load_sweep(tmp_path / "tiny.yaml")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "journal")))
    study = optuna.load_study(study_name=study_name(sweep.budgets[0]), storage=storage)
    study.ask().suggest_float(SIGMA, 6.0, 12.0)
    jobs = drain(start())
    assert len(jobs) == 6 and all(set(job["params"]) == set(SPACE) for job in jobs)
    assert TrialState.RUNNING not in {state for row in states(sweep, tmp_path) for state in row}


def test_two_objectives_are_both_told(start: Callable[..., SweepSearcher], tmp_path: Path) -> None:
    objectives = {"fid[efficientnet-lite0]": "min", "accuracy[lr]": "max"}
    searcher = start(trials=1, objectives=objectives)
    searcher.suggest("a")
    searcher.on_trial_complete("a", result={"accuracy[lr]": 0.5, "fid[efficientnet-lite0]": 30.0})
    (trial,) = searcher._studies[0]._ot_study.trials
    told = dict(zip(trial.values, (d.name for d in searcher._studies[0]._ot_study.directions), strict=True))
    assert told == {30.0: "MINIMIZE", 0.5: "MAXIMIZE"}


def test_the_order_of_objectives_in_the_file_does_not_matter(start: Callable[..., SweepSearcher]) -> None:
    objectives = {"fid[efficientnet-lite0]": "min", "accuracy[lr]": "max"}
    drain_one = {"accuracy[lr]": 0.5, "fid[efficientnet-lite0]": 30.0}
    for order in (list(objectives), list(reversed(objectives))):  # the run's folder takes both for the same sweep
        searcher = start(
            trials=2,
            objectives={name: objectives[name] for name in order},
            budgets=[{"epsilon": 10, "delta": 1e-5}],
        )
        searcher.suggest(f"a{order}")
        searcher.on_trial_complete(f"a{order}", result=drain_one)
    first, second = searcher._studies[0]._ot_study.trials
    assert first.values == second.values


def test_without_a_search_one_trial_a_budget(start: Callable[..., SweepSearcher]) -> None:
    searcher = start(search={}, trials=10)
    assert searcher.jobs_left == 2
    assert drain(searcher) == [{"budget": b, "params": {"method.name": "privimage+d"}} for b in (0, 1)]


def test_without_a_search_a_finished_sweep_has_no_jobs(start: Callable[..., SweepSearcher]) -> None:
    drain(start(search={}, trials=10))
    assert start(search={}, trials=10).jobs_left == 0
