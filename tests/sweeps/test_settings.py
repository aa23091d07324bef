"""Which settings a row and a method of the search run with: default < method < the method's own < the row's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import least

from privimage.methods.method import load
from privimage.paths import Root
from privimage.privacy.noise import Noise
from privimage.sweeps.plan import make_plan
from privimage.sweeps.sweep import Sweep, load_sweep

Write = Callable[..., Path]
FIELD = "method.sample.guidance"
WRITTEN = {"name": "privimage+d", "sample": {"guidance": 0.9}}


@pytest.fixture(autouse=True)
def suited() -> Iterator[None]:
    """Settings that the measured ones cannot hide: 0.2 for dpdm, 0.4 for privimage+d."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("dpdm", 0.2), ("privimage+d", 0.4)):
            patch.setitem(load(name).settings, "sample.guidance", value)  # type: ignore[arg-type]
        yield


def guidances(sweep: Sweep) -> list[float]:
    rows = (sweep.row_trial(row, s, b, noise=Noise()) for row, s, b in sweep.rows())
    return [trial.method.sample.guidance for trial in rows if trial.budget == sweep.budgets[0]]


def test_rows_of_another_method_have_its_settings_and_set_is_above_them(write_sweep: Write) -> None:
    rows: list[Any] = ["dpdm", {"method": "dpdm", "set": {FIELD: 0.1}}, "random-selection", "privimage+d"]
    assert guidances(load_sweep(write_sweep(method=WRITTEN, compare=rows))) == [0.2, 0.1, 0.9, 0.9]
    assert guidances(load_sweep(write_sweep(method={}, compare=rows, search={}))) == [0.2, 0.1, 1.2, 0.4]


def test_the_method_of_the_sweep_has_its_settings_below_what_is_written(write_sweep: Write) -> None:
    def base(method: dict[str, Any]) -> float:
        sweep = load_sweep(write_sweep(method=method, search={}))
        return sweep.example(budget=sweep.budgets[0]).method.sample.guidance

    assert [base({}), base({"name": "dpdm"}), base({"name": "random-selection"})] == [0.4, 0.2, 1.2]
    assert base(WRITTEN) == base(WRITTEN | {"name": "dpdm"}) == 0.9


def test_a_method_of_the_search_has_its_settings_unless_written_or_searched(write_sweep: Write) -> None:
    names = {"method.name": {"choice": ["privimage+d", "dpdm", "random-selection"]}}

    def tried(**changed: Any) -> list[float]:
        sweep = load_sweep(write_sweep(**changed))
        overrides = [{"method.name": name} for name in sweep.methods()]
        trials = [sweep.example(budget=sweep.budgets[0], overrides=each) for each in overrides]
        return [trial.method.sample.guidance for trial in trials]

    assert tried(method={}, search=names) == [0.4, 0.2, 1.2]
    assert tried(method={"sample": {"guidance": 0.9}}, search=names) == [0.9, 0.9, 0.9]
    sweep = load_sweep(write_sweep(method={}, search=names | {FIELD: {"choice": [0.3]}}))
    each = sweep.example(budget=sweep.budgets[0], overrides={"method.name": "dpdm", FIELD: 0.3})
    assert each.method.sample.guidance == 0.3


def test_the_query_is_asked_at_the_least_noise_of_any_row(write_sweep: Write) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(load("selection-only").settings, "query.sigma", 3.0)  # type: ignore[arg-type]
        sweep = load_sweep(write_sweep(compare=["selection-only"]))
    assert least(sweep) == 6
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(load("selection-only").settings, "query.sigma", 3.0)  # type: ignore[arg-type]
        assert least(sweep) == 3


def test_plan_shows_what_differs_and_nothing_else(write_sweep: Write, tmp_path: Path) -> None:
    rows = ["dpdm", "real", "selection-only"]
    plan = make_plan(load_sweep(write_sweep(method=WRITTEN, search={}, compare=rows)), root=Root(path=tmp_path))
    assert [(row.method, dict(row.values)) for row in plan.settings] == [("dpdm", {FIELD: 0.2})]
