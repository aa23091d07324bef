"""A bill counts the different private questions that a space can ask: no more, or post-processing is paid for; no
fewer, or a sweep would ask what nobody priced.

The oracle is the keys: all configurations of a small space are resolved, and the keys under which their trainings,
queries and scores would be charged are counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from asking import every
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage import metrics
from privimage.data.sets import PrivateSet, PublicSet, SensitiveData
from privimage.methods.declared import Declaration
from privimage.privacy.accounting.costs import AnyOf
from privimage.privacy.accounting.law import Law
from privimage.privacy.bill import Bill, Study
from privimage.privacy.budget import Event
from privimage.privacy.wall import places
from privimage.run_trial import context_of
from privimage.schema import digest, parse
from privimage.sweeps import count
from privimage.sweeps.price import bill_of, least_sigmas, row_noise, search_of, shared_by_all
from privimage.sweeps.sweep import Sweep
from privimage.trial import Trial

DELTA = 1e-5
SPACE: dict[str, list[Any]] = {  # each twice: the first value is that of the sweep's own method
    "method.name": ["privimage+d", "privimage+m", "pdp-diffusion", "dpdm", "random-selection", "selection-only"],
    "method.means.sigma": [8, None],
    "method.pool.views": [2, 3],
    "method.query.sigma": [8, 12],
    "method.query.k1": [1, 2],
    "method.select.ratio": [0.3, 0.6],
    "method.pretrain.lr": [1e-3, 2e-3],
    "method.finetune.steps": [2, 4],
    "method.finetune.lr": [0.3, 0.2, 0.1],
    "method.finetune.physical_batch": [512, 64],
    "method.sample.guidance": [1.2, 0.5],
    "method.sample.detail_below": [1.0, 0.0],
    "method.samples": [100, 200],
}
ASKED = 0.5  # the noise of shared answers: no more than any trial needs, also of what its budget allows
X, Y = np.zeros((40, 1, 16, 16), np.uint8), np.arange(40) % 3
PARTS: Any = {
    split: PrivateSet(x=X, y=Y, name="toy", id="toy", classes=("a", "b", "c"), split=split)  # type: ignore[arg-type]
    for split in ("train", "validation", "test")
}
SENSITIVE = SensitiveData(**PARTS)
PUBLIC = PublicSet(x=X, y=np.arange(40) % 20, name="public", classes=tuple(map(str, range(20))))


def sweep_of(**changed: Any) -> Sweep:
    values: dict[str, Any] = {
        "name": "small",
        "data": {"sensitive": {"name": "digits", "id": "toy"}, "public": {"name": "glyphs"}},
        "budgets": [{"epsilon": 5, "delta": DELTA}],
        "method": {
            "query": {"sigma": 8},
            "means": {"sigma": 8},
            "pool": {"views": 2},
            "select": {"ratio": 0.3},
            "finetune": {"steps": 2},
            "samples": 100,
        },
        "objectives": {"accuracy[lr]": "max"},
        "trials": 10_000,
    }
    return parse(Sweep, values | changed)


def priced(sweep: Sweep) -> Bill:
    return bill_of(sweep, asked_sigma=least_sigmas(sweep))


def keys(trial: Trial, kind: str, **more: Any) -> Iterator[str]:
    """The key under which the trial asks this, if it does."""
    if trial.method.member.declaration.upto(kind):
        stages: Any = None  # nothing is run
        context = context_of(trial, public=PUBLIC, sensitive=SENSITIVE, stages=stages)
        config, k2 = trial.method, {}
        if config.member.selects:
            k2 = {"select.ratio": config.select.k2(n_public=20, n_labels=3)}
        yield digest(replace(context, fields=k2).inputs.knowing(more).of(kind))  # type: ignore[arg-type]


def everything(sweep: Sweep, bill: Bill, study: Study) -> list[Trial]:
    """Every trial that the search may make at a budget."""
    choices = [[(dotted, value) for value in dimension.corners()] for dotted, dimension in sweep.search.items()]
    asked = every(sweep, ASKED)
    return [
        sweep.trial(budget=study.budget, seed=seed, asked_sigma=asked, noise=study.noise, overrides=dict(point))
        for point in itertools.product(*choices)
        for seed in sweep.seeds
    ]


def rows(sweep: Sweep, bill: Bill, study: Study) -> list[Trial]:
    return [
        sweep.row_trial(row, seed, budget, asked_sigma=every(sweep, ASKED), noise=row_noise(bill, budget))
        for row, seed, budget in sweep.rows()
        if budget == study.budget
    ]


def trainings(trials: list[Trial]) -> set[str]:
    return {key for t in trials if t.method.member.solved for key in keys(t, "generator")}


def scores(trials: list[Trial]) -> set[str]:
    found = ((t, {"metric": name, "event": t.events[-1].model_dump()}) for t in trials for name in t.scores)
    return {key for t, score in found for key in keys(t, "score", score=score)}


def answers(trials: list[Trial]) -> set[str]:
    """Of everything that trials share."""
    return {key for t in trials for stage, _ in t.method.member.declaration.sharing for key in keys(t, stage.kind)}


def counted(sweep: Sweep) -> None:
    """Raise AssertionError unless the bill of this space, tried whole, counts what its trials would be charged."""
    bill = bill_of(sweep, asked_sigma=every(sweep, ASKED))
    asked: set[str] = set()
    for study in bill.studies:
        searched, compared = everything(sweep, bill, study), rows(sweep, bill, study)
        assert study.trainings_asked + len(study.rows) == len(trainings(searched) | trainings(compared))
        assert study.scores_asked == len(scores(searched))
        used = {t.events[-1 - len(t.scores)] for t in searched if t.method.member.solved}
        for event in used:
            assert any(e.sigma <= event.sigma and e == event.model_copy(update={"sigma": e.sigma})
                       for e in study.trainings)  # fmt: skip
        asked |= answers([*searched, *compared])
    assert places(bill.queries) == len(asked)


@st.composite
def spaces(draw: st.DrawFn) -> Sweep:
    fields = draw(st.lists(st.sampled_from(list(SPACE)), max_size=4, unique=True))
    search = {
        f: {"choice": draw(st.lists(st.sampled_from(SPACE[f]), min_size=1, max_size=3, unique=True))} for f in fields
    }
    compare = draw(
        st.lists(
            st.sampled_from(["privimage+d", "privimage+m", "dpdm", "selection-only", "pdp-diffusion", "real"]),
            max_size=2,
            unique=True,
        )
    )
    again = [  # two rows that share a training
        {"method": "privimage+d", "set": {"method.sample.guidance": guidance, "method.finetune.lr": 0.2}}
        for guidance in (0.7, 0.9)
    ]
    return sweep_of(
        search=search,
        compare=compare + again[: draw(st.integers(0, 2))],
        seeds=draw(st.lists(st.integers(0, 2), min_size=1, max_size=2, unique=True)),
        budgets=[{"epsilon": e, "delta": DELTA} for e in draw(st.sampled_from([(5,), (5, 8)]))],
        metrics=draw(st.sampled_from([(), ("dp-accuracy[lr]",), ("dp-accuracy[lr]", "dp-accuracy[cnn]")])),
        trials=draw(st.sampled_from([0, 10_000])),
    )


@given(sweep=spaces())
@settings(max_examples=40, deadline=None)
@pytest.mark.thorough
def test_a_space_that_is_tried_whole_is_billed_to_the_question(sweep: Sweep) -> None:
    if sweep.trials == 0:
        sweep = sweep.model_copy(update={"search": {}, "trials": 1})  # one trial, of the sweep's own method
    counted(sweep)


@given(sweep=spaces(), trials=st.integers(1, 6), data=st.data())
@settings(max_examples=20, deadline=None)
@pytest.mark.thorough
def test_fewer_trials_than_settings_never_ask_more_than_is_billed(sweep: Sweep, trials: int, data: Any) -> None:
    sweep = sweep.model_copy(update={"trials": trials})
    bill = bill_of(sweep, asked_sigma=every(sweep, ASKED))
    asked: set[str] = set()
    for study in bill.studies:
        whole, n = everything(sweep, bill, study), len(sweep.seeds)
        tried = data.draw(st.lists(st.integers(0, len(whole) // n - 1), max_size=trials, unique=True))
        searched = [t for i in tried for t in whole[i * n : (i + 1) * n]]
        compared = rows(sweep, bill, study)
        assert len(trainings(searched) | trainings(compared)) <= study.trainings_asked + len(study.rows)
        assert len(scores(searched)) <= study.scores_asked
        asked |= answers([*searched, *compared])
    assert len(asked) <= places(bill.queries)


def test_methods_that_share_other_answers_are_billed_for_all_of_them() -> None:
    fields = ("method.name", "method.means.sigma", "method.pool.views", "method.sample.guidance")
    search = {field: {"choice": SPACE[field][:2]} for field in fields}
    sweep = sweep_of(search=search, budgets=[{"epsilon": e, "delta": DELTA} for e in (5, 8)])
    counted(sweep)
    asked = [event.purpose for event in priced(sweep).queries if isinstance(event, Event)]
    assert sorted(asked) == ["means", "means", "query"], "of two and of three views, whatever the noise"


def test_what_follows_from_the_data_is_the_question_that_it_is_when_named() -> None:
    """Seen before: null and the value that it stands for were two questions, and the means were paid twice."""
    named = {"method.pool.vary": ["strokes", None], "method.means.network": [None, "query"]}
    sweep = sweep_of(
        method=sweep_of().method | {"name": "privimage+m"},
        search={field: {"choice": values} for field, values in named.items()},
        compare=[{"method": "privimage+m", "set": {"method.pool.vary": None}}],
    )
    assert len([event for event in priced(sweep).queries if isinstance(event, Event)]) == 1
    assert (
        len(answers([trial for study in priced(sweep).studies for trial in everything(sweep, priced(sweep), study)]))
        == 1
    )


GUIDANCE = {"method.sample.guidance": {"uniform": [0, 2]}}


@pytest.mark.parametrize("noisiest", [True, False])
def test_what_every_trial_shares_is_that_of_the_method_that_shares_least(noisiest: bool) -> None:
    """By what it tells: nothing where one of them asks nothing that is shared."""

    def shared(*names: str) -> list[tuple[str, float]]:
        search = {"method.name": {"choice": list(names)}, "method.means.sigma": {"choice": [6, 30]}}
        sweep = sweep_of(search=search)
        events = shared_by_all(sweep, sweep.budgets[0], noisiest=noisiest)
        return [(event.purpose, event.sigma) for event in events]

    query, means = ("query", 8.0), ("means", 30.0 if noisiest else 6.0)
    assert shared("privimage+d") == [query] and shared("privimage+m") == [means]
    assert shared("privimage+d", "privimage+m") == [means if noisiest else query]
    assert shared("privimage+d", "privimage+m", "dpdm") == shared("dpdm") == []


@pytest.mark.parametrize("covers", ["trial", "sweep"])
def test_post_processing_alone_is_one_training(covers: str) -> None:
    tuning = {"mode": "explore", "covers": covers}
    bill = priced(sweep_of(search=GUIDANCE, trials=6, tuning=tuning))
    one = priced(sweep_of(trials=1, tuning=tuning))
    assert bill.costs == one.costs and 4.99 < bill.epsilon(DELTA) <= 5


def test_every_setting_of_post_processing_has_a_score_of_its_own() -> None:
    bill = priced(sweep_of(search=GUIDANCE, trials=6, metrics=["dp-accuracy[lr]"]))
    assert [cost.times for cost in bill.costs if isinstance(cost, AnyOf)] == [1, 6]
    assert metrics.is_private("dp-accuracy[lr]")


def test_a_field_that_the_method_ignores_asks_nothing_new() -> None:
    search = {"method.select.ratio": {"uniform": [0.1, 0.9]}, "method.pretrain.lr": {"log_uniform": [1e-4, 1e-2]}}
    sweep = sweep_of(method={"name": "dpdm"}, search=search, trials=50)
    assert priced(sweep).studies[0].trainings_asked == 1
    assert count.ignored(sweep) == tuple(search)
    assert not count.ignored(sweep_of(search=search))


def test_two_settings_are_two_trials_however_many_are_allowed() -> None:
    bill = priced(sweep_of(search={"method.finetune.lr": {"choice": [0.1, 0.3]}}, trials=50))
    two = priced(sweep_of(search={"method.finetune.lr": {"choice": [0.1, 0.3]}}, trials=2))
    assert bill.costs == two.costs and bill.studies[0].trials == 2


def test_a_range_is_as_many_questions_as_trials() -> None:
    search = {"method.finetune.lr": {"uniform": [0.1, 0.3]}}
    bill = priced(sweep_of(search=search, trials=7, seeds=[0, 1]))
    assert bill.studies[0].trainings_asked == 14 == bill.studies[0].trials


def test_a_selection_is_priced_by_its_law_alone() -> None:
    """Every trial of it has noise of its own, whatever it shares with another."""
    changed: dict[str, Any] = {"tuning": {"mode": "select"}, "objectives": {"dp-accuracy[lr]": "max"}, "trials": 4}
    one, free = (
        search_of(sweep, sweep.budgets[0])
        for sweep in (sweep_of(search=search, **changed) for search in ({}, GUIDANCE))
    )
    assert one == free and one.law == Law(mean=4) and one.trained is None


# ---- planted faults


def forget(field: str) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(patch: pytest.MonkeyPatch) -> None:
        real = Declaration.decides
        patch.setattr(Declaration, "decides", lambda self, f, kind: f != field and real(self, f, kind))

    return plant


def one_seed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(count.Reach, "depends", lambda self, on: False)


def rows_for_free(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("privimage.sweeps.price._asked_anyway", lambda *about: True)


def rows_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("privimage.sweeps.price._asked_anyway", lambda *about: False)


@pytest.mark.parametrize(
    "plant", [forget("finetune.lr"), forget("sample.guidance"), one_seed, rows_for_free, rows_twice]
)
@pytest.mark.thorough
def test_a_wrong_count_is_seen(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    search = {"method.finetune.lr": {"choice": [0.3, 0.2]}, "method.sample.guidance": {"choice": [1.2, 0.5]}}
    others = ["privimage+d", {"method": "privimage+d", "set": {"method.finetune.lr": 0.7}}]
    sweep = sweep_of(search=search, compare=others, seeds=[0, 1], metrics=["dp-accuracy[lr]"])
    counted(sweep)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        counted(sweep)
