"""Words: how numbers and names are written wherever a person reads them. One owner of the dagger and its legend."""

from __future__ import annotations

import math

from privimage.metrics.metric import Metric

DAGGER = "†"
LEGEND = (
    f"{DAGGER} computed from the sensitive images without noise: a diagnostic that no epsilon here covers. "
    "Decide before you show such a number to anybody who may not see the images."
)
UNIT = "one image together with its label"
ADJACENCY = "add or remove one example: two data sets are neighbours if one has exactly one example more"
ARROWS = {"min": "↓", "max": "↑"}  # the better direction


def number(value: float | None, *, digits: int = 4) -> str:
    """A plain number, or a dash.

    >>> number(0.123456), number(33.0), number(None)
    ('0.1235', '33', '–')
    """
    return "–" if value is None else f"{value:.{digits}g}"


def epsilon(value: float | None) -> str:
    """An epsilon to five significant digits, rounded up so that no more was paid than is read; "none" without one.

    >>> epsilon(9.999512), epsilon(0.12), epsilon(None)
    ('9.9996', '0.12', 'none')
    """
    if value is None or math.isinf(value):
        return "none"
    if value == 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(value)) - 4)
    return f"{math.ceil(round(value / unit, 6)) * unit:.5g}"


def metric(example: Metric) -> str:
    """The name of a metric, with the dagger if its value is a non-private number."""
    return example.name + (DAGGER if example.non_private else "")


def listed(names: list[str]) -> str:
    """Names as a person writes them.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "nothing"


def count(n: int, one: str) -> str:
    """A count with its noun.

    >>> count(1, "trial"), count(2, "trial"), count(2, "query")
    ('1 trial', '2 trials', '2 queries')
    """
    many = f"{one[:-1]}ies" if one.endswith("y") else f"{one}{'es' if one.endswith('s') else 's'}"
    return f"{n} {one if n == 1 else many}"
