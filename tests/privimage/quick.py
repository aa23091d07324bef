"""Which members of a kind `make test` looks at: the rest are thorough, and CI runs them too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first(values: Iterable[Any], n: int = 1) -> list[Any]:
    """For `parametrize`: values, of which all behind the first n are thorough. Tuples are several arguments."""
    return [_marked(value, thorough=i >= n) for i, value in enumerate(values)]


def these(quick: Iterable[Any], values: Iterable[Any]) -> list[Any]:
    """For `parametrize`: values, of which all but the quick ones are thorough. Raises ValueError if one is none."""
    quick, values = [*quick], [*values]
    if missing := [value for value in quick if value not in values]:
        raise ValueError(f"{missing}: no such member")
    return [_marked(value, thorough=value not in quick) for value in values]


def _marked(value: Any, *, thorough: bool) -> Any:
    marks = [pytest.mark.thorough] * thorough
    return pytest.param(*value, marks=marks) if isinstance(value, tuple) else pytest.param(value, marks=marks)
