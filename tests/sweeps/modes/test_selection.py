"""Private selection without Ray: what is drawn once stays drawn, and what would void the bound is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import every

from privimage import record as records
from privimage.errors import BudgetExceeded, InputError, LostAnswer, TrialFailed
from privimage.paths import Root
from privimage.privacy.accounting.costs import BestOf
from privimage.privacy.covered import CoveredLedger
from privimage.privacy.ledger import Ledger
from privimage.schema import parse
from privimage.stores.file import FileStore
from privimage.sweeps.modes.select import Select
from privimage.sweeps.modes.selection import PrivateSelection
from privimage.sweeps.modes.stand_in import stand_in_sweep
from privimage.sweeps.price import bill_of
from privimage.sweeps.sweep import Sweep
from privimage.trial import Trial

Values = Callable[[], dict[str, Any]]
SELECT: dict[str, Any] = {
    "tuning": {"mode": "select"},
    "objectives": {"dp-accuracy[lr]": "max"},
    "budgets": [{"epsilon": 4, "delta": 1e-5}],
    "trials": 6,
}


class Bench:
    """A selection with a store and a ledger in a folder of its own."""

    def __init__(self, values: dict[str, Any], folder: Path) -> None:
        self.sweep = parse(Sweep, values)
        self.bill = bill_of(self.sweep, asked_sigma=every(self.sweep, 6.0))
        self.root = Root(path=folder)
        self.store, self.ledger = FileStore(self.root.store), Ledger(self.root.ledger("tiny-v1"))
        (study,) = self.bill.studies
        self.selection = PrivateSelection(self.sweep, study, self.bill, asked_sigma=every(self.sweep, 6.0))

    def begin(self) -> tuple[Trial, ...]:
        return self.selection.begin(ledger=self.ledger, store=self.store, inner=self.root.covered("tiny-v1"))


@pytest.fixture
def bench(tiny_values: Values, tmp_path: Path) -> Bench:
    return Bench(tiny_values() | copy.deepcopy(SELECT), tmp_path)


def never_drawn_again(bench: Bench) -> None:
    """Rule 7: the same trials after a restart, the charge once; and an error, not a new number, where they are lost."""
    first = bench.begin()
    assert bench.begin() == first and len(bench.ledger.charges()) == 1
    assert len({trial.id for trial in first}) == len(first), "each has noise of its own"
    (seed,) = (bench.store.root / "internal").glob("trials-*.seed")
    assert seed.stat().st_mode & 0o077 == 0
    seed.unlink()
    try:
        bench.begin()
    except LostAnswer:
        return
    raise AssertionError("K was drawn again")


def test_trials_are_never_drawn_again(bench: Bench) -> None:
    never_drawn_again(bench)


def charged_without_a_mark(patch: pytest.MonkeyPatch) -> None:
    """A fault beneath those that follow: the ledger does not know which draw was paid for, so it cannot refuse."""
    real = Ledger.charge
    patch.setattr(Ledger, "charge", lambda self, **values: real(self, **{**values, "noise": None}))


def test_another_draw_is_refused_by_the_ledger_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileStore, "has_entropy", lambda self, name: True)
    never_drawn_again(bench)


def test_a_number_of_trials_that_is_redrawn_is_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    charged_without_a_mark(monkeypatch)
    monkeypatch.setattr(FileStore, "has_entropy", lambda self, name: True)
    with pytest.raises(AssertionError, match="drawn again"):
        never_drawn_again(bench)


def test_a_fresh_draw_at_every_start_is_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    charged_without_a_mark(monkeypatch)
    real = FileStore.entropy
    monkeypatch.setattr(FileStore, "entropy", lambda self, name: (self.forget(name), real(self, name))[1])
    with pytest.raises(AssertionError):
        for _ in range(4):  # two draws may agree in number
            never_drawn_again(bench)


@pytest.mark.thorough
def test_the_number_and_the_settings_follow_the_law(tiny_values: Values, tmp_path: Path) -> None:
    counts, sigmas = [], []
    for i in range(60):
        trials = Bench(tiny_values() | copy.deepcopy(SELECT), tmp_path / str(i)).begin()
        counts.append(len(trials))
        sigmas += [trial.method.query.sigma for trial in trials]
    assert min(counts) == 1 < len(set(counts)), "K varies, and is 1 at least"
    assert 2.5 < sum(counts) / 60 < 12, "the mean of the law is 6"
    assert 6 <= min(sigmas) < 7 and 11 < max(sigmas) <= 12 and len(set(sigmas)) == len(sigmas)


def test_the_ledger_states_the_selection_and_not_its_trials(bench: Bench) -> None:
    trials = bench.begin()
    (charge,) = bench.ledger.charges()
    assert charge.events == (bench.selection.cost,) and isinstance(charge.events[0], BestOf)
    assert trials[0].id not in bench.ledger.path.read_text()
    assert bench.ledger.epsilon(1e-5) <= 4


def test_a_covered_access_needs_the_selection_and_keeps_to_its_price(bench: Bench) -> None:
    cost = bench.selection.cost
    covered = CoveredLedger(bench.ledger, inner=bench.root.covered("tiny-v1"), selection=bench.selection.id, cost=cost)
    with pytest.raises(LostAnswer, match="not charged"):
        covered.charge(id="a", what="x", events=cost.events[:1])
    bench.begin()
    assert covered.charge(id="a", what="x", events=cost.events[:1])
    assert not covered.charge(id="a", what="x", events=cost.events[:1]) and covered.charged("a")
    assert covered.charge(id="q", what="query", events=bench.bill.queries)
    assert [line.id for line in bench.ledger.charges()] == [bench.selection.id, "q"], "the query is outside"
    with pytest.raises(BudgetExceeded, match="is refused"):
        covered.charge(id="b", what="x", events=(cost.events[0].scaled(0.5),))


def test_no_winner_before_every_trial_has_ended(bench: Bench) -> None:
    with pytest.raises(TrialFailed, match="not all its trials"):
        bench.selection.finish(bench.begin(), folder=bench.root.run("tiny"))
    assert not bench.root.run("tiny").records.exists()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"objectives": {"accuracy[lr]": "max"}}, "one private score"),
        ({"objectives": {"fid[efficientnet-lite0]": "min"}}, "one private score"),
        ({"objectives": {"dp-accuracy[lr]": "max", "accuracy[lr]": "max"}}, "one private score"),
        ({"tuning": {"mode": "select", "sampler": "tpe"}}, "independent configurations"),
        ({"trials": 0}, "mean of the number of trials"),
    ],
)
def test_what_voids_the_bound_is_refused(tiny_values: Values, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse(Sweep, tiny_values() | copy.deepcopy(SELECT) | changed)


def only_sound_selections(values: dict[str, Any]) -> None:
    """Rule 7: neither a score without noise nor a sampler that learns from scores decides a selection."""
    for changed in ({"objectives": {"accuracy[lr]": "max"}}, {"tuning": {"mode": "select", "sampler": "tpe"}}):
        try:
            parse(Sweep, values | copy.deepcopy(SELECT) | changed)
        except InputError:
            continue
        raise AssertionError(f"accepted: {changed}")


def test_only_sound_selections_are_accepted(tiny_values: Values) -> None:
    only_sound_selections(tiny_values())


def test_a_score_without_noise_as_the_objective_is_seen(tiny_values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Select, "check", lambda self, sweep: None)
    with pytest.raises(AssertionError, match="objectives"):
        only_sound_selections(tiny_values())


def test_an_adaptive_sampler_is_seen(tiny_values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privimage.sweeps.modes.select.INDEPENDENT", ("random", "tpe"))
    with pytest.raises(AssertionError, match="tpe"):
        only_sound_selections(tiny_values())


def test_another_asked_sigma_is_another_selection(bench: Bench) -> None:
    (study,) = bench.bill.studies
    other = PrivateSelection(bench.sweep, study, bench.bill, asked_sigma=every(bench.sweep, 5.0))
    assert other.id != bench.selection.id, "its trials would be other accesses under the same charge"


def test_a_named_stand_in_is_public_and_cannot_be_given_as_the_sensitive_set(
    tiny_values: Values, image_folders: dict[str, Path]
) -> None:
    values = tiny_values()
    values["tuning"] = {"mode": "public", "stand_in": {"name": "folder", "root": str(image_folders["public"])}}
    searched = stand_in_sweep(parse(Sweep, values), labels=3)
    assert searched.data.stand_in and searched.data.sensitive.id == "public-folder"
    values["data"]["stand_in"] = True
    with pytest.raises(InputError, match=r"named in tuning\.stand_in"):
        parse(Sweep, values)


def test_records_of_all_trials_are_not_where_reports_look(bench: Bench) -> None:
    folder = bench.root.run("tiny")
    assert folder.internal_records.parent.name == "internal" and folder.internal_records != folder.records
    with pytest.raises(InputError, match="no records"):
        records.load(folder.records)
