"""`privimage plan`: every epsilon that it prints, found in another way; no sensitive file opened, nothing written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from opacus.accountants import PRVAccountant, RDPAccountant
from quick import first

from privimage.paths import Root
from privimage.privacy.accounting import calibrate
from privimage.privacy.accounting.costs import AnyOf, BestOf, Cost
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Access, Budget, Event
from privimage.privacy.ledger import Ledger
from privimage.sweeps.cli import main
from privimage.sweeps.plan import COUNTS, QUANTILES, Plan, make_plan
from privimage.sweeps.sweep import load_sweep

Values = Callable[[], dict[str, Any]]
DELTA = 1e-5
LIST = {"method.query.sigma": {"choice": [8, 12]}, "method.finetune.steps": {"choice": [2, 4]}}
MODES: dict[str, dict[str, Any]] = {
    "explore": {"search": LIST, "trials": 3, "compare": ["dpdm"]},
    "explore, sweep": {
        "tuning": {"mode": "explore", "covers": "sweep"},
        "trials": 3,
    },
    "select": {"tuning": {"mode": "select", "eta": 1}, "objectives": {"dp-accuracy[lr]": "max"}, "trials": 4},
    "public": {"tuning": {"mode": "public", "stand_in": {"share": 0.3}}, "trials": 3},
}


def write(values: dict[str, Any], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def one_budget(values: dict[str, Any], mode: str) -> dict[str, Any]:
    return values | {"budgets": [{"epsilon": 5, "delta": DELTA}]} | MODES[mode]


def plan_of(values: dict[str, Any], folder: Path) -> Plan:
    return make_plan(load_sweep(write(values, folder)), root=Root(path=folder / "runs"))


def by_opacus(events: list[Event], *, renyi: bool = False) -> float:
    """Epsilon by numerical composition of privacy losses, to 0.01, or by RDP; the dearer split counts."""
    splits = [tuple((e.sigma, e.q, e.steps) for e in events if e.split == split) for split in ("train", "validation")]
    return max(_by_opacus(history, renyi) for history in splits if history)


@lru_cache
def _by_opacus(history: tuple[tuple[float, float, int], ...], renyi: bool) -> float:
    accountant = RDPAccountant() if renyi else PRVAccountant()
    counted = Counter(history)
    accountant.history = [(sigma, q, steps * times) for (sigma, q, steps), times in counted.items()]
    return float(accountant.get_epsilon(DELTA))


def spelled_out(costs: tuple[Cost, ...]) -> list[list[Event]]:
    """Every sequence of accesses that may come out if one option is always taken."""
    several = [cost.events for cost in costs if isinstance(cost, AnyOf)]
    length = max(map(len, several), default=1)
    ways = []
    for i in range(length):
        way: list[Event] = []
        for cost in costs:
            if isinstance(cost, AnyOf):
                way += [cost.events[min(i, len(cost.events) - 1)]] * cost.times
            else:
                assert isinstance(cost, Event)
                way.append(cost)
        ways.append(way)
    return ways


def bracketed(total: float, costs: tuple[Cost, ...]) -> None:
    """Above what any sequence costs by PRV (whose upper end is 0.01 off); below the RDP of the dearest order."""
    ways = spelled_out(costs)
    assert total >= max(map(by_opacus, ways)) - 0.05
    if len(ways) == 1:
        assert total <= by_opacus(ways[0]) + 0.01
        assert total <= by_opacus(ways[0], renyi=True) + 1e-6


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["explore", "explore, sweep", "public"])
def test_every_number_is_what_another_accountant_finds(mode: str, tiny_values: Values, tmp_path: Path) -> None:
    plan = plan_of(one_budget(tiny_values(), mode), tmp_path)
    assert plan.bill is not None and not plan.refused
    for quote, study in zip(plan.quotes, plan.bill.studies, strict=True):
        named = {f"sigma={e.sigma:g}, asked once": e for e in plan.bill.queries}
        named |= {f"one {e}": e for e in study.trainings}
        found = [(part, [e]) for part in quote.parts for what, e in named.items() if what in part.what]
        assert len(found) >= len(named)
        for part, events in found:
            assert by_opacus(events) - 0.05 <= part.epsilon <= by_opacus(events) + 0.01, part
            assert part.epsilon <= by_opacus(events, renyi=True) + 1e-6, part
        bracketed(quote.total, (*plan.bill.queries, *study.search))
    bracketed(plan.bill.epsilon(DELTA), plan.bill.costs)
    counted = [row.all_shown for row in plan.totals if row.budget == plan.quotes[0].budget]
    assert [row.trials for row in plan.totals] == sorted({*COUNTS, 3}) and counted == sorted(counted)


@pytest.mark.parametrize("changed", [{}, {"seeds": [0, 1]}, {"metrics": ["dp-accuracy[lr]"]}])
def test_the_table_has_the_total_of_the_sweep_in_it(
    changed: dict[str, Any], tiny_values: Values, tmp_path: Path
) -> None:
    """The number of trials is chosen from it: the settings that need the least noise count, and every seed."""
    plan = plan_of(one_budget(tiny_values(), "explore") | changed, tmp_path)
    (row,) = [row for row in plan.totals if row.trials == plan.sweep.trials]
    assert row.all_shown == plan.quotes[0].total
    one = next(part for part in plan.quotes[0].parts if part.what == "one trial, its shared answers included")
    assert 4.999 < one.epsilon <= 5


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_other_sizes_are_priced_with_the_noise_of_one_trial(tiny_values: Values, tmp_path: Path) -> None:
    rates = {"method.pretrain.lr": {"log_uniform": [1e-4, 1e-2]}}
    plan = plan_of(one_budget(tiny_values(), "explore, sweep") | {"search": rates}, tmp_path)
    budget, query = plan.sweep.budgets[0], Event(purpose="query", split="train", sigma=10)
    one = calibrate(budget=budget, access=Access(purpose="dp-sgd", q=0.2, steps=2), others=(query,))
    for row in (row for row in plan.totals if row.trials in (1, 5)):
        assert row.all_shown == pytest.approx(by_opacus([query, *[one] * row.trials]), abs=0.05)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_number_of_trials_that_is_counted_is_that_of_the_sweep(tiny_values: Values, tmp_path: Path) -> None:
    """A price for one trial fewer would be seen."""
    plan = plan_of(one_budget(tiny_values(), "explore") | {"search": {}, "seeds": [0, 1, 2]}, tmp_path)
    assert plan.bill is not None
    (query,), study = plan.bill.queries, plan.bill.studies[0]
    assert plan.quotes[0].total == pytest.approx(by_opacus([query, *study.trainings * 3]), abs=0.05)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_selection_costs_at_most_its_budget_and_more_than_its_trials(tiny_values: Values, tmp_path: Path) -> None:
    plan = plan_of(one_budget(tiny_values(), "select"), tmp_path)
    assert plan.bill is not None
    for quote, study in zip(plan.quotes, plan.bill.studies, strict=True):
        assert study.law == Law(eta=1, mean=4) and isinstance(study.search[0], BestOf)
        assert study.budget.epsilon - 1e-3 < quote.total <= study.budget.epsilon
        assert by_opacus([*plan.bill.queries, *study.trainings]) < quote.total
        best = next(part for part in quote.parts if part.what.startswith("best of K"))
        assert best.epsilon <= quote.total, "the dearer of two splits counts, and both are filled up to the budget"
    for row in plan.totals:
        assert row.quantiles == tuple(int(k) for k in Law(eta=1, mean=row.trials).quantile(QUANTILES))
        assert row.best_only < row.all_shown or row.trials <= 5, "at many trials the selection is the cheaper one"


def test_stages_are_counted_as_the_cache_would(tiny_values: Values, tmp_path: Path) -> None:
    plan = plan_of(one_budget(tiny_values(), "explore") | {"trials": 9}, tmp_path)
    assert {s.stage: (s.computed, s.needed) for s in plan.stages} == {
        "query-function": (1, 4),
        "histogram": (1, 4),
        "histogram-derived": (2, 4),
        "selection": (2, 4),
        "pretrained": (2, 4),
        "generator": (4, 4),
        "model": (4, 4),
        "samples": (4, 4),
        "nearest": (4, 4),
    }


def test_a_searched_field_without_effect_is_named(tiny_values: Values, tmp_path: Path) -> None:
    space = {"method.sample.guidance": {"choice": [0, 1]}, "method.select.ratio": {"choice": [0.3, 0.5]}}
    values = one_budget(tiny_values(), "explore") | {"search": space, "compare": []}
    values["method"] = values["method"] | {"name": "dpdm"}
    plan = plan_of(values, tmp_path)
    assert plan.ignored == ("method.select.ratio",)
    assert {s.stage: s.computed for s in plan.stages} == {"generator": 1, "model": 2, "samples": 2}


@pytest.mark.thorough
def test_a_root_that_is_not_there_is_a_refusal(tiny_values: Values, tmp_path: Path) -> None:
    for key, changed in (("data.sensitive", {}), ("data.public", {}), ("tuning.stand_in", {"mode": "public"})):
        values = one_budget(tiny_values(), "explore") | {"compare": []}
        if changed:
            values["tuning"] = changed | {"stand_in": {"name": "folder", "root": str(tmp_path / "gone")}}
        else:
            values["data"][key.removeprefix("data.")]["root"] = str(tmp_path / "gone")
        plan = plan_of(values, tmp_path)
        assert plan.refused and plan.refusal == f"{key}.root: {tmp_path / 'gone'}: no such folder"


@pytest.mark.parametrize(
    ("field", "asked"), [("method.query.function.lr", 0), ("method.finetune.q", 1)], ids=["shared", "training"]
)
def test_a_space_that_does_not_say_what_is_asked_is_a_refusal(
    field: str, asked: int, tiny_values: Values, tmp_path: Path
) -> None:
    plan = plan_of(tiny_values() | {"search": {field: {"uniform": [0.01, 0.1]}}}, tmp_path)
    assert plan.refused and plan.bill is None and not plan.totals and len(plan.asked_sigma) == asked
    assert len(plan.quotes) == 2
    for quote in plan.quotes:
        assert quote.refusal is not None and quote.refusal.startswith(f"search.{field}: decides what a trial asks")


@pytest.mark.parametrize("mode", first(MODES))
def test_no_sensitive_file_is_opened_and_nothing_is_written(
    mode: str, tiny_values: Values, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = one_budget(tiny_values(), mode)
    (tmp_path / "scans" / "a").mkdir(parents=True)
    (tmp_path / "scans" / "a" / "0.png").write_bytes(b"no image: whoever opens it fails")
    values["data"]["sensitive"]["root"] = str(tmp_path / "scans")
    file, root = write(values, tmp_path), tmp_path / "runs"
    monkeypatch.setattr("sys.argv", ["privimage", "plan", str(file), "--root", str(root)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    assert not root.exists()
    made = plan_of(values, tmp_path)
    assert made.bill is not None
    printed = re.match(r"State epsilon ([\d.]+) at delta 1e-05 beside (anything of the run|everything)", said)
    assert printed and float(printed[1]) == pytest.approx(made.bill.epsilon(DELTA), rel=1e-3)
    for quote in made.quotes:
        assert f"budget {quote.budget}" in said


def test_what_the_ledger_or_the_folder_would_refuse_is_a_refusal(tiny_values: Values, tmp_path: Path) -> None:
    values = one_budget(tiny_values(), "explore, sweep")
    ledger = Ledger(tmp_path / "runs" / "ledgers" / "tiny-v1.jsonl")
    ledger.path.parent.mkdir(parents=True)
    assert plan_of(values, tmp_path).paid == ()
    ledger.set_cap(Budget(epsilon=20, delta=DELTA))
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.suffix != ".yaml")
    plan = plan_of(values, tmp_path)
    assert not plan.refused and any("It admits one more access" in sentence for sentence in plan.paid)
    louder = plan_of(values | {"tuning": {"mode": "explore"}, "trials": 50}, tmp_path)
    assert louder.refused and louder.bill is not None
    assert louder.refusal is not None and "its shares add up" in louder.refusal and "fewer trials" in louder.refusal
    after = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.suffix != ".yaml")
    assert before == after
    folder = Root(path=tmp_path / "runs").run("tiny")
    folder.path.mkdir()
    begun = load_sweep(write(values, tmp_path)).model_copy(update={"trials": 7})
    folder.sweep.write_text(yaml.safe_dump(begun.model_dump(mode="json")))
    assert "another 'trials'" in str(plan_of(values, tmp_path).refusal)


def test_a_refusal_names_its_reason_and_ends_with_2(
    tiny_values: Values, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = tiny_values() | {"budgets": [{"epsilon": 0.2, "delta": DELTA}, {"epsilon": 5, "delta": DELTA}]}
    monkeypatch.setattr("sys.argv", ["privimage", "plan", str(write(values, tmp_path)), "--root", str(tmp_path / "r")])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().out
    assert ended.value.code == 2
    assert "REFUSED: " in said and "method.query.sigma" in said
    reason, end = [line for line in said.splitlines() if line][-2:]
    assert reason.startswith("REFUSED: ") and end == "The sweep would be refused, and nothing would be charged."
    assert "The sweep would be refused, and nothing would be charged." in said
    plan = plan_of(values, tmp_path)
    assert plan.refused and [quote.refusal is None for quote in plan.quotes] == [False, True]
    assert plan.quotes[1].budget == Budget(epsilon=5, delta=DELTA) and plan.quotes[1].total > 0


def test_what_a_row_sets_for_itself_is_said(tiny_values: Values, tmp_path: Path) -> None:
    """Also where the sweep's own method has no such field."""
    rows = ["dp-merf", {"method": "dp-mepf", "set": {"method.match.batch": 50}}]
    said = plan_of(tiny_values() | {"compare": rows}, tmp_path).settings
    assert [(row.method, row.values.get("method.match.steps")) for row in said] == [
        ("dp-merf", 6000),
        ("dp-mepf", 1500),
    ]
    assert said[1].values["method.match.batch"] == 50 and "method.match.batch" not in said[0].values


def test_data_that_are_missing_are_named_before_weights_that_are(tiny_values: Values, tmp_path: Path) -> None:
    values = tiny_values() | {"metrics": ["fid[inception]"]}
    values["data"]["public"]["root"] = str(tmp_path / "nowhere")
    why = plan_of(values, tmp_path).why
    assert why is not None and why.startswith("data.public.root")
