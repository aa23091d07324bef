"""A method that asks two questions which all trials share: each at its own noise, neither anew with the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_two_questions
import toys
from toy_packages import install

from privimage.errors import BudgetExceeded, InputError
from privimage.methods.declared import Ask, Declaration, Stage
from privimage.methods.method import MethodConfig, load
from privimage.privacy.accounting import epsilon
from privimage.privacy.budget import Event
from privimage.privacy.noise import Noise
from privimage.record import Record
from privimage.stages import Stages
from privimage.sweeps import count
from privimage.sweeps.price import asked_by, bill_of, least_sigmas
from privimage.sweeps.sweep import load_sweep


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", Path(toy_two_questions.__file__).read_text(), monkeypatch, name="two")


def tried(folder: Path, asked: dict[str, float], **fields: Any) -> tuple[Record, Stages]:
    """The record of a trial of it, in a sweep that asks with this noise, by purpose."""
    what = toys.Trial.model_validate({**toys.VALUES, "method": {"name": "two", "samples": 30, **fields}})
    questions = {event.shared or "": asked[event.purpose] for event in what.asked.values()}
    return toys.ran(folder, what.asking(questions), public=toys.public_set(), sensitive=toys.sensitive_set())


def test_a_sweep_asks_each_at_its_own_least_noise(installed: None, write_sweep: Callable[..., Path]) -> None:
    rows: list[Any] = [{"method": "two", "set": {"method.mean": 7}}]
    search = {"method.counts": {"choice": [3, 5]}}
    sweep = load_sweep(write_sweep(method={"name": "two", "samples": 40}, search=search, compare=rows, trials=2))
    asked = least_sigmas(sweep)
    bill = bill_of(sweep, asked_sigma=asked)
    assert {event.purpose: event.sigma for event in bill.queries if isinstance(event, Event)} == {
        "label counts": 3, "mean image": 7
    }  # fmt: skip
    assert bill.costs == bill.queries, "there is nothing else to pay"
    assert sorted(asked_by(sweep, asked_sigma=asked)[0].model_dump().items()) == [
        ("counts", 3), ("mean", 7), ("name", "two"), ("samples", 40)
    ]  # fmt: skip
    kinds = ("counts", "counts-derived", "mean", "mean-derived", "samples")
    assert [count.most(sweep, kind, trials=2) for kind in kinds] == [1, 2, 1, 1, 2]


def test_trials_derive_what_needs_more_noise(installed: None, tmp_path: Path) -> None:
    least = {"label counts": 3.0, "mean image": 7.0}
    for counts in (3.0, 5.0):
        record, stages = tried(tmp_path, least, counts=counts)
        assert [event.sigma for event in record.events] == [counts, 9.0], "what it pays alone"
        assert [event.sigma for charge in stages.ledger.charges() for event in charge.events] == [3.0, 7.0]
        assert "mean-derived" in record.artefacts
        assert ("counts-derived" in record.artefacts) is (counts > 3)
    wider, answer = (stages.store.get(kind, record.artefacts[kind]) for kind in ("mean-derived", "mean"))
    assert wider is not None and answer is not None and (wider.arrays["mean"] != answer.arrays["mean"]).mean() > 0.99
    assert not list((stages.store.root / "internal").glob("derived*")), "or the noise could be taken off again"
    what = toys.Trial.model_validate({**toys.VALUES, "method": {"name": "two", "samples": 30, "counts": 3.0}})
    with pytest.raises(InputError, match="above the 3 that the trial needs"):
        what.asking(dict.fromkeys(what.questions, 4.0))


def test_neither_is_asked_anew_with_the_other(installed: None, tmp_path: Path) -> None:
    """A later sweep that needs a sharper answer to one question pays for that one alone."""
    tried(tmp_path, {"label counts": 3.0, "mean image": 7.0})
    record, stages = tried(tmp_path, {"label counts": 2.0, "mean image": 7.0})
    asked = [(charge.what, event.sigma) for charge in stages.ledger.charges() for event in charge.events]
    assert asked == [("label counts", 3.0), ("mean image", 7.0), ("label counts", 2.0)]
    assert {stage.name: stage.origin for stage in record.stages}["mean"] == "hit"
    record, stages = tried(tmp_path, {"label counts": 3.0, "mean image": 6.0})
    assert len(stages.ledger.charges()) == 4 and stages.ledger.charges()[-1].what == "mean image"


def test_chained_questions_are_asked_anew_with_the_first() -> None:
    """Unless they say that they do not follow from it."""
    first = Stage(kind="counts", world=("sensitive",), asks=Ask(purpose="counts", sigma="counts", shared=True))
    mean = Ask(purpose="mean", sigma="mean", shared=True)
    for after, chained in ((None, True), (("counts",), True), ((), False)):
        second = Stage(kind="mean", world=("sensitive",), after=after, asks=mean)
        declaration = Declaration(stages=(first, second, Stage(kind="samples")))
        assert declaration.refusal is None
        assert [stage.kind for stage in declaration.upto("mean")] == (["counts", "mean"] if chained else ["mean"])
        assert [stage.kind for stage in declaration.upto("samples")] == ["counts", "mean", "samples"]


def test_a_stage_cannot_come_after_what_is_not_before_it() -> None:
    stages = (Stage(kind="samples", after=("weights",)), Stage(kind="weights"))
    refusal = "stage samples: comes after weights, which is no stage before it"
    assert Declaration(stages=stages).refusal == refusal


def test_one_stage_in_two_methods_is_two_questions_where_it_asks_another_thing() -> None:
    """What an Ask says in constants is a part of the question: else one answer would serve both."""
    asks = [
        Ask(purpose="counts", sigma=3, shared=True),
        Ask(purpose="counts", sigma=3, shared=True, q=0.5),
        Ask(purpose="counts", sigma=3, shared=True, steps=2),
        Ask(purpose="sums", sigma=3, shared=True),
        Ask(purpose="counts", sigma=3, shared=True, split="validation"),
    ]
    stages = [Stage(kind="counts", world=("sensitive",), asks=ask) for ask in asks]
    identity = {"public": "p", "sensitive": "s"}
    found = [Declaration(stages=(stage,)).questions({}, identity)["counts"] for stage in stages]
    assert len(set(found)) == len(asks)
    louder = Stage(kind="counts", world=("sensitive",), asks=Ask(purpose="counts", sigma=9, shared=True))
    assert Declaration(stages=(louder,)).questions({}, identity)["counts"] == found[0], "its noise is no part of it"


SPENT = '''
"""A shared answer beside one whose noise follows from what that leaves of the budget."""

from privimage.methods.declared import Ask, Stage
from privimage.methods.method import Method, MethodConfig


class SpentConfig(MethodConfig):
    counts: float = 4.0


class Spent(Method):
    what = "what a shared answer leaves"
    config = SpentConfig
    stages = (
        Stage(kind="counts", world=("sensitive",), asks=Ask(purpose="counts", sigma="counts", shared=True)),
        Stage(kind="mean", world=("sensitive", "draw"), after=(), asks=Ask(purpose="mean")),
        Stage(kind="samples", fields=("samples",), world=("seed",)),
    )

    def images(self, context):
        raise NotImplementedError


spent = Spent()
'''


@pytest.fixture
def spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[MethodConfig]:
    install(tmp_path / "site", SPENT, monkeypatch, name="spent")
    return load("spent").config


def test_noise_from_the_budget_is_another_with_every_noise_of_a_shared_answer(
    spent: type[MethodConfig], write_sweep: Callable[..., Path]
) -> None:
    """So each is billed, though no stage names the field."""
    search = {"method.counts": {"choice": [3, 5, 8]}}
    file = write_sweep(method={"name": "spent"}, search=search, compare=[], trials=9)
    sweep = load_sweep(file)
    assert count.most(sweep, count.SOLVED, trials=9) == 3
    solved = [
        toys.Trial.model_validate({**toys.VALUES, "method": {"name": "spent", "counts": counts}}).asked["mean"].sigma
        for counts in (3, 5, 8)
    ]
    assert solved[0] > solved[1] > solved[2]


def test_shared_answers_that_spend_a_budget_name_their_fields(
    spent: type[MethodConfig], write_sweep: Callable[..., Path]
) -> None:
    what = toys.Trial.model_validate({**toys.VALUES, "method": {"name": "spent", "counts": 0.5}})
    with pytest.raises(BudgetExceeded, match=r"raise the budget, or give them more noise: method\.counts$"):
        what.asked  # noqa: B018
    tuning = {"mode": "explore", "covers": "sweep"}
    own: dict[str, Any] = {"method": {"name": "spent", "counts": 0.5}, "budgets": [{"epsilon": 1, "delta": 1e-5}]}
    sweep = load_sweep(write_sweep(**own, tuning=tuning, search={}, trials=1))
    with pytest.raises(BudgetExceeded, match=r"give them more noise: method\.counts"):
        bill_of(sweep, asked_sigma=least_sigmas(sweep))


def test_a_row_whose_training_no_seed_changes_is_billed_once(
    spent: type[MethodConfig], write_sweep: Callable[..., Path]
) -> None:
    both = [{"method": "spent"}, {"method": "spent", "set": {"method.counts": 8}}]
    sweep = load_sweep(write_sweep(compare=both, trials=0, seeds=[0, 1, 2]))
    for study in bill_of(sweep, asked_sigma=least_sigmas(sweep)).studies:
        assert [event.purpose for event in study.rows] == ["mean", "mean"]
    trained = load_sweep(write_sweep(compare=["dpdm"], trials=0, seeds=[0, 1, 2]))
    assert all(len(study.rows) == 3 for study in bill_of(trained, asked_sigma={}).studies)
    assert np.isfinite(bill_of(sweep, asked_sigma=least_sigmas(sweep)).epsilon(1e-5))


@pytest.mark.parametrize("tuning", [{"covers": "sweep"}, {"mode": "public", "stand_in": {"name": "digits"}}, {}])
def test_one_trial_asks_all_questions_of_its_method_and_is_billed_for_them(
    installed: None, write_sweep: Callable[..., Path], tuning: dict[str, Any]
) -> None:
    own: dict[str, Any] = {"method": {"name": "two", "counts": 6.0, "mean": 6.0}, "search": {}, "compare": []}
    sweep = load_sweep(write_sweep(**own, budgets=[{"epsilon": 2, "delta": 1e-5}], tuning=tuning, trials=1))
    asked = least_sigmas(sweep)
    trial = sweep.trial(budget=sweep.budgets[0], seed=0, asked_sigma=asked, noise=Noise())
    assert len(trial.events) == 2
    bill = bill_of(sweep, asked_sigma=asked)
    assert bill.epsilon(1e-5) == pytest.approx(epsilon(trial.events, 1e-5), abs=1e-9)


def test_noise_by_the_budget_is_asked_as_the_trial_needs_to_which_the_other_answer_leaves_most(
    installed: None, write_sweep: Callable[..., Path]
) -> None:
    own: dict[str, Any] = {"method": {"name": "two", "counts": None}, "compare": [], "trials": 9}
    search = {"method.mean": {"choice": [8, 30, 100]}}
    sweep = load_sweep(write_sweep(**own, search=search, budgets=[{"epsilon": 1, "delta": 1e-5}]))
    asked = least_sigmas(sweep)
    trials = [
        sweep.trial(budget=sweep.budgets[0], seed=0, asked_sigma=asked, noise=Noise(), overrides={"method.mean": mean})
        for mean in (8, 30, 100)  # or refused: it needs less noise than there is
    ]
    assert [trial.asked_sigma for trial in trials] == [asked] * 3 and len(asked) == 2
    assert asked == {question: min(trial.questions[question] for trial in trials) for question in asked}
