"""Going on in a folder: what would be asked a second time is refused, with the fix, before anything is charged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from asking import every

from privimage.errors import InputError
from privimage.paths import Root, RunFolder
from privimage.sweeps.modes.stand_in import final_trials
from privimage.sweeps.price import bill_of
from privimage.sweeps.resume import asked_sigma, check_same, keep_sigmas
from privimage.sweeps.sweep import Sweep, load_sweep
from privimage.sweeps.work import Terms

Values = Callable[[], dict[str, Any]]
PUBLIC = {"tuning": {"mode": "public", "stand_in": {"share": 0.3}}, "budgets": [{"epsilon": 5, "delta": 1e-5}]}


@pytest.fixture
def load(tmp_path: Path, tiny_values: Values) -> Callable[..., Sweep]:
    def make(**changed: Any) -> Sweep:
        file = tmp_path / "tiny.yaml"
        file.write_text(yaml.safe_dump(tiny_values() | changed, sort_keys=False))
        return load_sweep(file)

    return make


def begun(sweep: Sweep, folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    folder.sweep.write_text(yaml.safe_dump(sweep.model_dump(mode="json")))
    keep_sigmas(folder, asked_sigma(sweep, folder))


@pytest.mark.parametrize(("key", "more"), [("trials", {"trials": 3}), ("compare", {"compare": ["selection-only"]})])
def test_more_trials_and_rows_are_another_sweep(
    load: Callable[..., Sweep], tmp_path: Path, key: str, more: dict[str, Any]
) -> None:
    """Their number may follow from what was seen, and the price that is stated was fixed before."""
    folder = Root(path=tmp_path / "runs").run("tiny")
    begun(load(), folder)
    with pytest.raises(InputError, match=f"another '{key}', and its price was fixed before its first answer"):
        check_same(load(**more), folder)


def test_a_run_keeps_to_the_noise_at_which_it_asks(load: Callable[..., Sweep], tmp_path: Path) -> None:
    folder = Root(path=tmp_path / "runs").run("tiny")
    begun(load(), folder)
    closer = load(compare=[{"method": "selection-only", "set": {"method.query.sigma": 2}}])
    with pytest.raises(
        InputError, match=r"method\.query\.sigma: got 2 .* asks that question with 6; give at least that"
    ):
        asked_sigma(closer, folder)


def test_a_public_search_goes_on_until_it_has_ended(load: Callable[..., Sweep], tmp_path: Path) -> None:
    folder = Root(path=tmp_path / "runs").run("tiny")
    begun(load(**PUBLIC, trials=2), folder)
    check_same(load(**PUBLIC, trials=4), folder)
    folder.stand_in.path.mkdir()
    folder.stand_in.settings.write_text("[]")
    check_same(load(**PUBLIC, trials=2), folder)
    with pytest.raises(InputError, match=r"trials: got 4; the search of .* ended with 2"):
        check_same(load(**PUBLIC, trials=4), folder)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"trials": 0}, "another 'trials'"),
        ({"budgets": [{"epsilon": 2, "delta": 1e-5}]}, "another 'budgets'"),
        ({"compare": []}, "another 'compare'"),
    ],
)
def test_less_or_another_sweep_is_refused(
    load: Callable[..., Sweep], tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    folder = Root(path=tmp_path / "runs").run("tiny")
    begun(load(compare=["dpdm"]), folder)
    with pytest.raises(InputError, match=says):
        check_same(load(**({"compare": ["dpdm"]} | changed)), folder)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("sweep", "", r"sweep\.yaml: expected a mapping of keys, got NoneType; restore it"),
        ("sweep", "name: [", r"sweep\.yaml: line 1: not valid YAML"),
        ("sweep", "tuning: 3", r"sweep\.yaml: is no sweep of this version \((name|tuning): .*; restore it"),
        ("asked_sigma", "six", r"asked_sigma: damaged, and with another noise .*; restore it"),
        ("asked_sigma", "", r"asked_sigma: damaged"),
        ("asked_sigma", "6", r"asked_sigma: damaged"),  # of 6.25
        ("asked_sigma", '{"seal":"0123456789abcdef","asked_sigma": {}}', r"asked_sigma: damaged"),
    ],
)
def test_a_damaged_file_is_named_with_the_fix(
    load: Callable[..., Sweep], tmp_path: Path, name: str, text: str, says: str
) -> None:
    folder = Root(path=tmp_path / "runs").run("tiny")
    begun(load(), folder)
    getattr(folder, name).write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        check_same(load(), folder)
        asked_sigma(load(), folder)
    assert "choose another name" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[", "\0" * 9, "[]", "[3]", "{}"])
def test_damaged_settings_of_a_public_search_are_named_with_the_fix(
    load: Callable[..., Sweep], tmp_path: Path, text: str
) -> None:
    sweep, folder = load(**PUBLIC), Root(path=tmp_path / "runs").run("tiny").stand_in
    folder.path.mkdir(parents=True)
    folder.settings.write_text(text)
    terms = Terms(sweep=sweep, asked={}, bill=bill_of(sweep, asked_sigma=every(sweep, 6.0)))
    with pytest.raises(InputError, match=r"settings\.json: damaged, .*; restore it from a backup"):
        list(final_trials(terms, search=terms, folder=folder))
