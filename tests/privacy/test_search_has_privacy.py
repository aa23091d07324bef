"""Whatever a search may try has a guarantee: else its sampler learns from un-noised images, and its winner is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from asking import every
from quick import first

from privimage.errors import InputError
from privimage.methods.config import DiffusionConfig
from privimage.methods.method import METHODS, Method, load
from privimage.paths import RunFolder
from privimage.privacy.noise import Noise
from privimage.run_trial import run
from privimage.sweeps.modes.stand_in import final_trials
from privimage.sweeps.price import bill_of
from privimage.sweeps.sweep import Sweep, load_sweep
from privimage.sweeps.work import Terms

Write = Callable[..., Path]
NAMES = METHODS.names()
OTHERS = [name for name in NAMES if load(name).generates and not issubclass(load(name).config, DiffusionConfig)]
OPEN = ("nonpriv-g", "nonprivate-tune", "real")
SCORE = {"dp-accuracy[lr]": "max"}
MODES: dict[str, dict[str, Any]] = {
    "explore": {},
    "covers sweep": {"tuning": {"covers": "sweep"}, "budgets": [{"epsilon": 10, "delta": 1e-5}]},
    "select": {"tuning": {"mode": "select"}, "objectives": SCORE},
    "public": {"tuning": {"mode": "public"}},
}


def without_guarantee(sweep: Sweep) -> set[str]:
    """Methods that the search may try and that read training images without noise, by the events that they ask."""
    tried = [trial for dotted, trial in sweep.corner_trials() if dotted in (*sweep.search, "method")]
    noise = Noise(training=1.0)  # any: it is not solved for here
    asked = ((t.method.name, t.model_copy(update={"noise": noise}).asked.values()) for t in tried)
    return {name for name, found in asked if any(event.sigma == 0 for event in found)}


def loaded(file: Path, **overrides: Any) -> Sweep | None:
    try:
        return load_sweep(file, overrides={key.replace("__", "."): value for key, value in overrides.items()})
    except InputError as error:
        assert "\n" not in str(error) and "name it in compare" in str(error), error
        return None


@pytest.mark.thorough
@pytest.mark.parametrize("mode", MODES)
def test_every_search_that_is_accepted_has_a_guarantee(mode: str, write_sweep: Write) -> None:
    private = [name for name in NAMES if name not in OPEN]
    names = [name for name in NAMES if name not in OTHERS]  # which know other fields: not searched beside these
    pairs = [
        pair for pair in combinations(names, 2) if mode == "explore" or set(pair) & {*OPEN}
    ]  # no mode looks at two
    for listed in [*combinations(names, 1), *pairs]:
        sweep = loaded(write_sweep(search={"method.name": {"choice": list(listed)}}, **MODES[mode]))
        assert (sweep is not None) == set(listed).issubset(private), listed
        assert sweep is None or not without_guarantee(sweep)


@pytest.mark.parametrize("mode", first(MODES))
@pytest.mark.parametrize("name", NAMES)
def test_a_base_without_privacy_is_not_searched(mode: str, name: str, write_sweep: Write) -> None:
    other = name in OTHERS
    own = {"method": {"name": name, "samples": 40}} if other else {}
    for search in ({}, {"method.samples" if other else "method.query.sigma": {"choice": [60, 120]}}):
        sweep = loaded(write_sweep(**{"search": search, **own, **MODES[mode]}), method__name=name)
        assert (sweep is None) == (name in OPEN)
        assert sweep is None or not without_guarantee(sweep)


def test_the_check_sees_a_method_that_says_it_is_private(write_sweep: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: the two tests above do not rest on what a method says of itself."""
    monkeypatch.setattr(Method, "private", True)
    monkeypatch.setattr(Method, "_check_fixed", lambda *given: None)  # which would refuse a price without an end
    sweep = loaded(write_sweep(search={"method.name": {"choice": ["privimage+d", "nonprivate-tune"]}}))
    assert sweep is not None and without_guarantee(sweep) == {"nonprivate-tune"}


def test_the_line_names_key_value_and_fix(write_sweep: Write) -> None:
    for overrides, says in (
        ({"search": {"method.name": {"choice": ["privimage+d", "real"]}}}, "search.method.name: got real, which reads"),
        ({"search.method.name": {"choice": ["nonprivate-tune"]}}, "search.method.name: got nonprivate-tune, which"),
        ({"method.name": "real"}, "method.name: got real, which reads training images without noise"),
    ):
        with pytest.raises(InputError, match=r"compare, where it is a row to look at$") as caught:
            load_sweep(write_sweep(), overrides=overrides)
        assert str(caught.value).startswith(says)


@pytest.mark.parametrize("mode", MODES)
def test_comparison_rows_stay_allowed(mode: str, write_sweep: Write) -> None:
    sweep = load_sweep(write_sweep(compare=list(OPEN), **MODES[mode]))
    rows = [sweep.row_trial(*row, noise=Noise()) for row in sweep.rows()]
    assert [row.method.name for row in rows] == list(OPEN)


def test_no_other_way_leads_to_a_trial_of_the_search(write_sweep: Write, tmp_path: Path) -> None:
    """Settings that come from a journal or from a stand-in's file are held to the same rule; and so is running one."""
    sweep = load_sweep(write_sweep(tuning={"mode": "public"}, budgets=[{"epsilon": 10, "delta": 1e-5}]))
    asked: dict[str, Any] = {"seed": 0, "noise": Noise(), "overrides": {"method.name": "real"}}
    with pytest.raises(InputError, match=r"^method\.name: got real, which"):
        sweep.trial(budget=sweep.budgets[0], **asked)
    folder = RunFolder(path=tmp_path)
    folder.settings.write_text(json.dumps([{"method.name": "nonprivate-tune"}] * len(sweep.budgets)))
    terms = Terms(sweep=sweep, asked={}, bill=bill_of(sweep, asked_sigma=every(sweep, 6)))
    with pytest.raises(InputError, match=r"^method\.name: got nonprivate-tune, which"):
        list(final_trials(terms, search=terms, folder=folder))
    trial = sweep.trial(budget=sweep.budgets[0], search=False, **asked)
    nothing: Any = None
    with pytest.raises(InputError, match=r"^method\.name: got real, which"):
        run(trial, public=nothing, sensitive=nothing, stages=nothing, sweep="s", role="search")


@pytest.mark.parametrize("mode", ["explore", "covers sweep"])
def test_what_reads_training_images_without_noise_steers_no_search(mode: str, write_sweep: Write) -> None:
    name = "paper-fid[efficientnet-lite0]"
    with pytest.raises(
        InputError, match=r"objectives: paper-fid\[efficientnet-lite0\] reads the training images"
    ) as no:
        load_sweep(write_sweep(**MODES[mode] | {"objectives": {name: "min"}}))
    assert "name it in metrics" in str(no.value) and "\n" not in str(no.value)
    assert name in load_sweep(write_sweep(**MODES[mode], metrics=[name])).measured  # a look, of which nothing follows
