"""What counts as a trial of the search: the very same trial, if it has a place in the space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_two_questions
from toy_packages import install

from privimage import record as records
from privimage.paths import Root
from privimage.privacy.ledger import Ledger
from privimage.schema import parse
from privimage.sweeps.past import searched
from privimage.sweeps.sweep import Sweep


class Told:
    """A work and a record as `searched` sees them: one whose trial is the very same for its values, or `id`."""

    def __init__(self, sweep: Sweep, method: str, settings: dict[str, Any], id: str = "same") -> None:
        self.sweep, self.method, self.settings = sweep, method, settings
        self.budget, self.seed, self.id = sweep.budgets[0], 0, id

    def searched_id(self, *_: Any) -> str:
        return "same"

    def setting(self, dotted: str) -> Any:
        return self.settings.get(dotted)


@pytest.mark.parametrize(
    ("search", "method", "settings", "counts"),
    [
        ({}, "privimage+d", {"method.name": "privimage+d"}, True),
        ({}, "selection-only", {"method.name": "selection-only"}, False),
        ({"method.select.ratio": {"choice": [0.1, 0.2]}}, "privimage+d", {"method.select.ratio": 0.1}, True),
        ({"method.select.ratio": {"choice": [0.1, 0.2]}}, "privimage+d", {"method.select.ratio": 0.3}, False),
        ({"method.select.ratio": {"uniform": [0.1, 0.2]}}, "privimage+d", {"method.select.ratio": 0.3}, False),
    ],
)
def test_a_row_without_a_place_in_the_space_is_none(
    tiny_values: Callable[[], dict[str, Any]], search: Any, method: str, settings: dict[str, Any], counts: bool
) -> None:
    told: Any = Told(parse(Sweep, tiny_values() | {"search": search}), method, settings)
    assert (searched(told, told) is not None) == counts


def test_another_trial_of_the_same_values_is_none(tiny_values: Callable[[], dict[str, Any]]) -> None:
    """Such as a comparison row with other noise, or one that sets a field that is not searched."""
    sweep, settings = parse(Sweep, tiny_values() | {"search": {}}), {"method.name": "privimage+d"}
    same: Any = Told(sweep, "privimage+d", settings)
    other: Any = Told(sweep, "privimage+d", settings, id="another")
    assert searched(same, same) == (0, settings) and searched(other, other) is None


def test_a_method_of_the_search_that_lacks_a_field_counts(
    tiny_values: Callable[[], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", Path(toy_two_questions.__file__).read_text(), monkeypatch, name="two")
    search = {
        "method.name": {"choice": ["privimage+d", "two"]},
        "method.select.ratio": {"choice": [0.1, 0.2]},
    }
    sweep = parse(Sweep, tiny_values() | {"search": search})
    told: Any = Told(sweep, "two", {"method.name": "two"})
    assert searched(told, told) == (0, {"method.name": "two", "method.select.ratio": None})
    other: Any = Told(sweep, "selection-only", {"method.name": "selection-only"})
    assert searched(other, other) is None, "it is no method of the search"


@pytest.mark.slow
def test_a_sweep_without_a_search_and_with_private_rows_ends(
    local_ray: None, tiny_values: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    from privimage.sweeps.run import run_sweep

    values = tiny_values() | {"search": {}, "compare": ["selection-only"], "trials": 1}
    values["budgets"] = values["budgets"][:1]
    root, charges = Root(path=tmp_path), []
    for _ in range(2):  # and again: its records stay, and nothing is charged
        outcome = run_sweep(parse(Sweep, values), root=root, address=None, quiet=True)
        assert not outcome.failures
        found = records.load(root.run("tiny").records)
        assert sorted((record.role, record.method) for record in found) == [
            ("compare", "selection-only"), ("search", "privimage+d")
        ]  # fmt: skip
        charges.append(Ledger(root.ledger("tiny-v1")).charges())
    assert charges[0] == charges[1] and len(charges[0]) == 2, "the query, and one training"
