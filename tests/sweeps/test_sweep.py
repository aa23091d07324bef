from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import every, least

from privimage.errors import InputError
from privimage.privacy.noise import Noise
from privimage.sweeps.sweep import Sweep, load_sweep
from privimage.trial import Draw

Write = Callable[..., Path]


def load(write: Write, **changed: Any) -> Sweep:
    return load_sweep(write(**changed))


def test_overrides_replace_dotted_fields(write_sweep: Write) -> None:
    sweep = load_sweep(write_sweep(), overrides={"trials": 7, "method.query.sigma": 8, "resources.cpu": 0.5})
    assert sweep.trials == 7 and sweep.resources.cpu == 0.5
    assert sweep.method["query"] == {"sigma": 8, "function": {"steps": 5, "batch": 16}}  # its neighbours stay


def test_overrides_reach_keys_with_dots_and_entries_of_lists(write_sweep: Write) -> None:
    file = write_sweep(compare=["selection-only", {"method": "dpdm", "set": {"method.finetune.steps": 3}}])
    overrides = {
        "search.method.query.sigma": {"choice": [7, 9]},
        "search.method.select.ratio": {"choice": [0.5]},
        "budgets.0.epsilon": 3,
        "compare.1.set.method.finetune.steps": 4,
        "objectives.accuracy[mlp]": "max",
    }
    sweep = load_sweep(file, overrides=overrides)
    assert {key: dimension.corners() for key, dimension in sweep.search.items()} == {
        "method.query.sigma": (7, 9),
        "method.select.ratio": (0.5,),
    }
    assert [budget.epsilon for budget in sweep.budgets] == [3, 10]
    assert sweep.compare[1].set == {"method.finetune.steps": 4}
    assert list(sweep.objectives) == ["accuracy[lr]", "accuracy[mlp]"]


def test_every_corner_of_the_search_is_tried(write_sweep: Write) -> None:
    search = {
        "method.query.sigma": {"log_uniform": [6, 50]},
        "method.select.ratio": {"choice": [0.2, 0.5, 1.0]},
        "method.finetune.steps": {"integers": [1, 4]},
        "method.pretrain.lr": {"uniform": [0.001, 0.01]},
    }
    sweep = load(write_sweep, search=search)
    tried = {(dotted, _at(trial.model_dump(), dotted)) for dotted, trial in sweep.corner_trials() if dotted in search}
    assert tried == {
        *(("method.query.sigma", v) for v in (6.0, 50.0)),
        *(("method.select.ratio", v) for v in (0.2, 0.5, 1.0)),
        *(("method.finetune.steps", v) for v in (1, 4)),
        *(("method.pretrain.lr", v) for v in (0.001, 0.01)),
    }


def test_every_corner_is_tried_at_every_budget(write_sweep: Write) -> None:
    sweep = load(write_sweep)
    tried = {
        (trial.budget.epsilon, trial.method.query.sigma)
        for dotted, trial in sweep.corner_trials()
        if dotted == "method.query.sigma"
    }
    assert tried == {(1, 6.0), (1, 12.0), (10, 6.0), (10, 12.0)}


def _at(values: dict[str, Any], dotted: str) -> Any:
    for part in dotted.split("."):
        values = values[part]
    return values


def test_one_impossible_choice_is_found_and_named(write_sweep: Write) -> None:
    with pytest.raises(InputError, match=r"^search\.method\.select\.ratio: .*got 2"):
        load(write_sweep, search={"method.select.ratio": {"choice": [0.2, 2]}})


def test_a_fault_of_the_method_is_no_fault_of_a_row(write_sweep: Write) -> None:
    with pytest.raises(InputError, match=r"^method\.selct: unknown key, did you mean 'select'"):
        load_sweep(write_sweep(compare=["selection-only"]), overrides={"method.selct.ratio": 0.1})


def test_the_query_is_asked_at_the_smallest_sigma(write_sweep: Write) -> None:
    assert least(load(write_sweep)) == 6
    assert least(load(write_sweep, search={"method.query.sigma": {"choice": [20, 7, 30]}})) == 7
    assert least(load(write_sweep, search={})) == 10
    low = load(write_sweep, search={"method.query.sigma": {"choice": [20, 30]}}, compare=["selection-only"])
    assert least(low) == 10  # the row is run at the fixed part's 10


def test_a_searched_sigma_is_not_asked_below_its_space(write_sweep: Write, tiny_values: Any) -> None:
    method = tiny_values()["method"]
    del method["query"]["sigma"]
    assert least(load(write_sweep, method=method, search={"method.query.sigma": {"choice": [20, 30]}})) == 20


def test_rows_run_at_every_budget_only_if_they_use_it(write_sweep: Write) -> None:
    sweep = load(write_sweep, compare=["dpdm", "selection-only", "real"], seeds=[0, 1])
    trials = [sweep.row_trial(*row, noise=Noise()) for row in sweep.rows()]
    rows = [(t.method.name, t.budget.epsilon, t.seed) for t in trials]
    assert len(rows) == len(set(rows)) == 2 * (2 + 1 + 1)
    assert {e for name, e, _ in rows if name == "dpdm"} == {1, 10}
    assert len({t.id for t in trials}) == len(rows)


def test_the_trial_is_named_by_its_content(write_sweep: Write) -> None:
    sweep = load(write_sweep)

    def id_of(**changed: Any) -> str:
        kwargs = {"budget": sweep.budgets[0], "seed": 0, "asked_sigma": every(sweep, 6.0), "noise": Noise()} | changed
        return sweep.trial(**kwargs).id

    assert id_of() == id_of(overrides={"method.query.sigma": 10})  # the same, written twice
    others = [id_of(seed=1), id_of(budget=sweep.budgets[1]), id_of(overrides={"method.query.sigma": 11})]
    others += [id_of(noise=Noise(training=2))]
    others += [id_of(draw=Draw(selection="a", number=number)) for number in (0, 1)]  # the same settings, drawn twice
    assert len({id_of(), *others}) == 7


def test_objectives_come_first_and_once(write_sweep: Write) -> None:
    sweep = load(write_sweep, metrics=["accuracy[mlp]", "accuracy[lr]"])
    assert sweep.measured == ("accuracy[lr]", "accuracy[mlp]")


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("data", {"sensitive": {"name": "digits", "id": "other"}, "public": {"name": "glyphs"}}),
        ("budget", {"epsilon": 50, "delta": 1e-5}),
        ("noise.training", 0.5),
        ("asked_sigma", 1),
        ("metrics", ["dp-accuracy[lr]"]),
        ("method.name", "privimage+d"),
    ],
)
def test_a_row_may_replace_fields_of_the_method_only(write_sweep: Write, dotted: str, value: Any) -> None:
    """Else it would charge another ledger, or ask more than its price."""
    with pytest.raises(InputError, match=rf"compare\.0\.set.*{dotted}: a row replaces fields of method"):
        load(write_sweep, compare=[{"method": "dpdm", "set": {dotted: value}}])


def test_the_query_is_asked_for_the_method_that_needs_the_most(write_sweep: Write) -> None:
    method = {"name": "dpdm", "query": {"sigma": 20}}
    search = {"method.name": {"choice": ["dpdm", "privimage+d"]}, "method.query.sigma": {"uniform": [7, 50]}}
    sweep = load(write_sweep, method=method, search=search)
    assert least(sweep) == 7
    names = {
        (trial.method.name, trial.method.query.sigma) for dotted, trial in sweep.corner_trials() if "sigma" in dotted
    }
    assert names == {(name, sigma) for name in ("dpdm", "privimage+d") for sigma in (7, 50)}


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("samples", 10**12),
        ("pretrain.batch", 10**9),
        ("query.function.batch", 10**9),
        ("sample.batch", 10**9),
        ("sample.rho", 1e-3),
        ("finetune.K", 10**6),
        ("finetune.physical_batch", 10**9),
        ("finetune.P_mean", 1000),
        ("finetune.C", 1e300),
    ],
)
def test_what_no_machine_holds_is_refused_by_its_key(write_sweep: Write, dotted: str, value: Any) -> None:
    """Else memory ends, or numbers, in a trial whose access was charged."""
    *parents, last = dotted.split(".")
    method: dict[str, Any] = {last: value}
    for parent in reversed(parents):
        method = {parent: method}
    with pytest.raises(InputError, match=rf"method\.{parents[0] if parents else last}.*{last if parents else value}"):
        load(write_sweep, method={"name": "privimage+d", **method})


@pytest.mark.parametrize("given", [{"sigma_min": 100}, {"sigma_max": 0.5}])
def test_a_noise_level_that_does_not_go_with_what_suits_the_network_is_refused(given: dict[str, float]) -> None:
    overrides = {f"method.sample.{name}": value for name, value in given.items()}
    with pytest.raises(InputError, match=r"method\.sample: sigma_min [0-9.]+ must be below sigma_max"):
        Sweep.load("demo", set=overrides)


def test_rows_that_nothing_measures_are_told_of(write_sweep: Write) -> None:
    """They are trained and charged for no number: rows have no private score."""
    select = {"tuning": {"mode": "select"}, "objectives": {"dp-accuracy[lr]": "max"}, "compare": ["dpdm"]}
    assert "dp-accuracy[lr] measures none of them" in str(load(write_sweep, **select).unmeasured)
    assert load(write_sweep, **select, metrics=["accuracy[lr]"]).unmeasured is None
    assert load(write_sweep, **select | {"compare": []}).unmeasured is None


@pytest.mark.parametrize(("key", "value", "says"), [("channels", 3, "channels"), ("size", 64, "pixels a side")])
def test_sets_of_other_shapes_are_refused_where_the_file_tells(
    write_sweep: Write, tiny_values: Any, key: str, value: int, says: str
) -> None:
    data = tiny_values()["data"]
    data["sensitive"]["size"] = 28
    data["public"] |= {"size": 28, "channels": 1, key: value}
    with pytest.raises(InputError, match=f"public images have {value} {says} but sensitive ones (1|28)"):
        load(write_sweep, data=data)
