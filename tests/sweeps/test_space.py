from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import TypeAdapter, ValidationError

from privimage.sweeps.searcher import distribution
from privimage.sweeps.space import Dimension

ADAPTER: TypeAdapter[Any] = TypeAdapter(Dimension)


@pytest.mark.parametrize(
    ("written", "optunas", "corners"),
    [
        ({"choice": ["a", 2, 0.5, True]}, CategoricalDistribution(("a", 2, 0.5, True)), ("a", 2, 0.5, True)),
        ({"uniform": [0.1, 0.9]}, FloatDistribution(0.1, 0.9), (0.1, 0.9)),
        ({"log_uniform": [5, 100]}, FloatDistribution(5.0, 100.0, log=True), (5.0, 100.0)),
        ({"integers": [1, 8]}, IntDistribution(1, 8), (1, 8)),
    ],
)
def test_every_kind(written: dict[str, Any], optunas: Any, corners: tuple[Any, ...]) -> None:
    dimension = ADAPTER.validate_python(written)
    assert distribution(dimension) == optunas
    assert tuple(dimension.corners()) == corners
    assert [type(c) for c in dimension.corners()] == [type(c) for c in corners]
    assert ADAPTER.validate_python(dimension.model_dump()) == dimension  # as it comes back from a run's folder


@pytest.mark.parametrize(
    "bad",
    [
        {"choice": []},
        {"choice": [[1, 2]]},
        {"uniform": [1, 1]},
        {"uniform": [2, 1]},
        {"uniform": [1]},
        {"uniform": [1, float("nan")]},
        {"log_uniform": [0, 1]},
        {"log_uniform": [-1, 1]},
        {"log_uniform": [100, 5]},
        {"integers": [1, 2.5]},
        {"integers": [8, 1]},
        {"chioce": [1]},
        {"choice": [1], "uniform": [0, 1]},
        {},
    ],
)
def test_anything_else_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(bad)
