from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from privimage.schema import digest
from privimage.sweeps.past import Ended
from privimage.sweeps.searcher import SweepSearcher, study_name
from privimage.sweeps.sweep import load_sweep
from privimage.sweeps.tried import Tried

SIGMA = "method.query.sigma"
SPACE = {SIGMA: {"uniform": [6, 12]}, "method.pretrain.lr": {"log_uniform": [1e-4, 1e-2]}}


def key(budget: int, params: dict[str, Any]) -> str:
    return digest({"budget": budget, "params": params})


class Starts:
    """Searchers as one process after another would make them: what has ended is remembered as the records would."""

    def __init__(self, tmp_path: Path, write_sweep: Callable[..., Path]) -> None:
        self.file, self._write = tmp_path / "tried.jsonl", write_sweep
        self.ended: list[list[Ended]] = [[], []]

    def __call__(self, *, n_fixed: int = 0, **changed: Any) -> SweepSearcher:
        values = {"search": SPACE, "trials": 3, "tuning": {"sampler": "random"}} | changed
        sweep = load_sweep(self._write(**values))
        return SweepSearcher(sweep, tried=self.file, n_fixed=n_fixed, key=key, ended=self.ended)

    def end(self, searcher: SweepSearcher, trial: str, job: dict[str, Any], **values: float) -> None:
        """A trial ends: its record is written, Tune tells the searcher."""
        result = values or {"accuracy[lr]": 0.5}
        if "params" in job:
            self.ended[job["budget"]].append(Ended(params=job["params"], values=result))
        searcher.on_trial_complete(trial, result=result)

    def drain(self, searcher: SweepSearcher, *, finish: bool = True) -> list[Any]:
        jobs = []
        for number in range(100):
            job = searcher.suggest(f"t{number}")
            if job == SweepSearcher.FINISHED:
                return jobs
            jobs.append(job)
            if finish:
                self.end(searcher, f"t{number}", job)  # type: ignore[arg-type]
        raise AssertionError("never finished")


@pytest.fixture
def start(tmp_path: Path, write_sweep: Callable[..., Path]) -> Starts:
    return Starts(tmp_path, write_sweep)


def params_of(jobs: Sequence[dict[str, Any]], budget: int = 0) -> list[dict[str, Any]]:
    return [job["params"] for job in jobs if job.get("budget") == budget]


def test_rows_first_then_the_budgets_in_turn(start: Starts) -> None:
    searcher = start(n_fixed=2)
    assert searcher.jobs_left == 8
    jobs = start.drain(searcher)
    assert jobs[:2] == [{"fixed": 0}, {"fixed": 1}]
    assert [job["budget"] for job in jobs[2:]] == [0, 1, 0, 1, 0, 1]
    assert all(set(job["params"]) == set(SPACE) for job in jobs[2:])
    assert searcher.jobs_left == 0


def test_finished_ones_are_counted(start: Starts) -> None:
    start.drain(start())
    assert start().jobs_left == 0
    again = start(trials=5)
    assert again.jobs_left == 4
    assert [job["budget"] for job in start.drain(again)] == [0, 1, 0, 1]
    assert start(trials=2).jobs_left == 0


def test_begun_ones_of_a_killed_process_are_asked_again_with_the_same_values(start: Starts) -> None:
    killed = start()
    first: list[Any] = [killed.suggest(f"a{i}") for i in range(4)]  # two of every budget
    start.end(killed, "a0", first[0])
    resumed = start()
    assert resumed.jobs_left == 5
    jobs = start.drain(resumed)
    for budget, left in ((0, first[2:3]), (1, [first[1], first[3]])):
        assert params_of(jobs, budget)[: len(left)] == [job["params"] for job in left]
    assert start().jobs_left == 0


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_an_interrupted_search_tries_what_an_undisturbed_one_would_have_tried(start: Starts, sampler: str) -> None:
    whole = start.drain(start(trials=6, tuning={"sampler": sampler}))
    start.file.unlink()
    start.ended = [[], []]
    jobs = []
    for stop in (3, 4):
        killed = start(trials=6, tuning={"sampler": sampler})
        found: list[Any] = [killed.suggest(f"a{i}") for i in range(stop)]
        start.end(killed, "a1", found[1])
        jobs += [found[1]]
    jobs += start.drain(start(trials=6, tuning={"sampler": sampler}))
    for budget in (0, 1):
        assert sorted(map(str, params_of(jobs, budget))) == sorted(map(str, params_of(whole, budget)))


def test_without_the_file_of_begun_ones_no_more_are_tried_than_were_priced(start: Starts) -> None:
    """Deleting it made a sweep of 4 trainings charge 6."""
    killed = start()
    found: list[Any] = [killed.suggest(f"a{i}") for i in range(4)]
    for i in (0, 1):
        start.end(killed, f"a{i}", found[i])
    start.file.unlink()
    jobs = start.drain(start())
    assert params_of(jobs)[0] == found[2]["params"], "the sampler draws what it drew before"
    assert all(len(study) == 3 for study in start.ended)


@pytest.mark.thorough
def test_damage_to_the_file_of_begun_ones_only_forgets(start: Starts) -> None:
    killed = start()
    jobs: list[Any] = [killed.suggest(f"a{i}") for i in range(4)]
    raw = start.file.read_bytes()
    (study, _) = (study_name(b) for b in load_sweep(start._write()).budgets)
    for at in range(0, len(raw), 7):
        start.file.write_bytes(raw[:at] + b"\0" * 40 + raw[at + 40 :])
        assert all(params in params_of(jobs) for params in Tried(start.file).begun(study))
        assert start().jobs_left == 6


def test_a_finite_space_ends_when_all_of_it_was_tried(start: Starts) -> None:
    """50 trials of 2 settings went on drawing, and repeats were counted as trials."""
    space = {"method.finetune.steps": {"choice": [2, 3]}, "method.finetune.K": {"integers": [1, 3]}}
    searcher = start(search=space, trials=50)
    assert searcher.jobs_left == 12
    for budget in (0, 1):
        assert len({str(params) for params in params_of(start.drain(searcher), budget)}) == (6 if budget == 0 else 0)
    assert [len({str(one.params) for one in study}) for study in start.ended] == [6, 6]
    assert start(search=space, trials=50).jobs_left == 0


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_resumed_sampler_repeats_nothing(start: Starts, sampler: str) -> None:
    start.drain(start(trials=2, tuning={"sampler": sampler}))
    start.drain(start(trials=4, tuning={"sampler": sampler}))
    values = [one.params[SIGMA] for one in start.ended[0]]
    assert len(values) == len(set(values)) == 4


def test_a_failed_trial_is_asked_again_as_it_was(start: Starts) -> None:
    """What it asked may be charged, and the bill counts so many trials: no other takes its place."""
    searcher = start()
    failed = searcher.suggest("a")
    searcher.on_trial_complete("a", error=True)
    for name in ("b", "c"):
        start.end(searcher, name, searcher.suggest(name))  # type: ignore[arg-type]
    jobs = start.drain(start())
    assert failed in jobs and len(jobs) == 4, "six trials in all, two of them done"


def test_telling_twice_is_harmless(start: Starts) -> None:
    searcher = start(n_fixed=1)
    searcher.suggest("row")
    searcher.on_trial_complete("row", result={"accuracy[lr]": 0.1})
    searcher.suggest("a")
    for _ in range(2):
        searcher.on_trial_complete("a", result={"accuracy[lr]": 0.5})
    searcher.on_trial_complete("unknown", error=True)


def optunas(searcher: SweepSearcher) -> list[optuna.trial.FrozenTrial]:
    found = searcher._studies[0]._search._ot_study.trials
    return [trial for trial in found if trial.state == TrialState.COMPLETE]


def test_two_objectives_are_both_told_whatever_their_order(start: Starts) -> None:
    objectives = {"fid[efficientnet-lite0]": "min", "accuracy[lr]": "max"}
    values = {"accuracy[lr]": 0.5, "fid[efficientnet-lite0]": 30.0}
    for order in (list(objectives), list(reversed(objectives))):  # the run's folder takes both for the same sweep
        searcher = start(trials=2, objectives={name: objectives[name] for name in order})
        start.end(searcher, "a", searcher.suggest("a"), **values)  # type: ignore[arg-type]
        directions = [d.name for d in searcher._studies[0]._search._ot_study.directions]
        for trial in optunas(searcher):
            told = dict(zip(trial.values, directions, strict=True))
            assert told == {30.0: "MINIMIZE", 0.5: "MAXIMIZE"}
    assert optunas(start(trials=2, objectives=objectives)), "what has ended is in the study of the next start"


def test_without_a_search_one_trial_a_budget(start: Starts) -> None:
    searcher = start(search={}, trials=10)
    assert searcher.jobs_left == 2
    assert start.drain(searcher) == [{"budget": b, "params": {"method.name": "privimage+d"}} for b in (0, 1)]
    assert start(search={}, trials=10).jobs_left == 0


def test_tunes_pickle_of_the_searcher_holds_nothing(start: Starts) -> None:
    """It lies in the run's folder, and what makes the trials knows the data."""
    assert pickle.loads(pickle.dumps(start())).__dict__ == {}
