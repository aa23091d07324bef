"""What counts as a trial of the search: the very same trial, if it has a place in the space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from privimage.paths import Root
from privimage.schema import parse
from privimage.sweeps.past import searched
from privimage.sweeps.sweep import Sweep


class Told:
    """A work and a record as `searched` sees them: one whose trial is the very same for its values."""

    def __init__(self, sweep: Sweep, method: str, settings: dict[str, Any]) -> None:
        self.sweep, self.method, self.settings = sweep, method, settings
        self.budget, self.seed, self.id = sweep.budgets[0], 0, "same"

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


@pytest.mark.slow
def test_a_sweep_without_a_search_and_with_private_rows_ends(
    local_ray: None, tiny_values: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    from privimage.sweeps.run import run_sweep

    values = tiny_values() | {"search": {}, "compare": ["selection-only"], "trials": 1}
    values["budgets"] = values["budgets"][:1]
    for _ in range(2):  # and again: its records stay
        outcome = run_sweep(parse(Sweep, values), root=Root(path=tmp_path), address=None, quiet=True)
        assert not outcome.failures
