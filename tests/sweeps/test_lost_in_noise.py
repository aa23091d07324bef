"""A question whose noise hides its answer is said to be one, from public numbers alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from privimage.paths import Root
from privimage.sweeps.run import _prepared
from privimage.sweeps.sweep import load_sweep
from privimage.sweeps.work import Work, warnings


def prepared(path: Path, root: Path, **overrides: Any) -> Work:
    sweep = load_sweep(path, overrides=overrides)
    folder = Root(path=root).run(sweep.name)
    folder.path.mkdir(parents=True, exist_ok=True)
    return _prepared(sweep, folder, quiet=True)


def test_noise_above_the_images_of_a_label(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    """The largest of the noisy counts of 20 classes that no image names is about 2.4 sigma_s."""
    fixed = {"search": {}, "trials": 1}
    work = prepared(
        write_sweep(**fixed), tmp_path / "a", **{"method.query.sigma": 5.0, "budgets": [{"epsilon": 50, "delta": 1e-5}]}
    )
    assert warnings(work) == []
    each = len(work.sensitive.train) / 3
    least = each / math.sqrt(2 * math.log(20))

    def said(**overrides: Any) -> list[str]:
        changed = load_sweep(write_sweep(**fixed), overrides=overrides)
        return warnings(replace(work, sweep=changed))

    assert said(**{"method.query.sigma": 0.99 * least}) == []
    (line,) = said(**{"method.query.sigma": 1.01 * least})
    assert f"a label has about {each:.0f} images; keep it well below {least:.2g}" in line
    assert said(**{"search": {"method.query.sigma": {"uniform": [1, 1.01 * least]}}}) == [line]
    assert said(**{"method.query.sigma": 1.01 * least, "method.name": "dpdm"}) == []


def test_noise_above_the_images_of_a_label_in_sums(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    fixed: dict[str, Any] = {"search": {}, "trials": 1, "method": {"name": "privimage+m"}, "compare": []}
    work = prepared(write_sweep(**fixed), tmp_path / "a")
    assert work.sweep.example(budget=work.sweep.budgets[0]).method.model_dump()["means"]["sigma"] is None
    assert warnings(work) == [], "noise that the budget says"
    each = len(work.sensitive.train) / 3

    def said(**overrides: Any) -> list[str]:
        return warnings(replace(work, sweep=load_sweep(write_sweep(**fixed), overrides=overrides)))

    assert said(**{"method.means.sigma": 0.99 * each}) == []
    (line,) = said(**{"method.means.sigma": 1.01 * each})
    assert f"method.means.sigma: noise of up to {1.01 * each:g}" in line and f"about {each:.0f} images" in line
    assert said(search={"method.means.sigma": {"choice": [None, 1.01 * each]}}, trials=2) == [line]
    assert said(search={"method.means.sigma": {"choice": [None]}}) == []
    assert said(**{"method.means.sigma": 1.01 * each, "method.name": "dpdm"}) == []


def test_dp_sgd_after_means_with_a_network_that_gained_nothing_by_it(
    write_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    method = {"name": "privimage+md", "means": {"sigma": 5}}
    fixed: dict[str, Any] = {"search": {}, "trials": 1, "compare": [], "budgets": [{"epsilon": 10, "delta": 1e-5}]}
    work = prepared(write_sweep(**fixed, method={**method, "model": {"size": "dct-mlp-192"}}), tmp_path / "a")
    (line,) = warnings(work)
    assert "method.model.size: with dct-mlp-192" in line and "privimage+m leaves the whole budget" in line
    for other in ({**method, "model": {"size": "unet-xs"}}, {"name": "privimage+m"}, {"name": "privimage+d"}):
        assert warnings(replace(work, sweep=load_sweep(write_sweep(**fixed, method=other)))) == []
