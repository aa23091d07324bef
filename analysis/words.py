"""Words: how numbers and names are written wherever a person reads them. One owner of the dagger and its legend."""

from __future__ import annotations

import math
from collections.abc import Sequence

from privimage.metrics.metric import Metric
from privimage.plain_yaml import one_line
from privimage.privacy.accounting.law import Law
from privimage.privacy.guarantee import ADJACENCY as ADJACENCY  # part of these words, as are the four below
from privimage.privacy.guarantee import UNIT as UNIT
from privimage.privacy.statement import epsilon as epsilon
from privimage.text import count as count
from privimage.text import listed as listed

DAGGER = "†"
LEGEND = (
    f"{DAGGER} computed from the sensitive images without noise: a diagnostic that no epsilon here covers. "
    "Decide before you show such a number to anybody who may not see the images."
)
ARROWS = {"min": "↓", "max": "↑"}  # the better direction


def number(value: float | None, *, digits: int = 4) -> str:
    """A plain number, or a dash.

    >>> number(0.123456), number(33.0), number(None)
    ('0.1235', '33', '–')
    """
    return "–" if value is None else f"{value:.{digits}g}"


def plain(name: str) -> str:
    """A name that came from outside, as it may stand in a text: on one line, its control characters spelt out.

    >>> plain("a\\nb\\x1b[31m"), plain("é b")
    ('a\\\\nb\\\\x1b[31m', 'é b')
    """
    return one_line(name, most=1000)


def setting(value: object) -> str:
    """The value of a field of a configuration.

    >>> setting(0.05), setting(None), setting("spectral")
    ('0.05', '–', 'spectral')
    """
    return f"{value:.6g}" if isinstance(value, float) else "–" if value is None else str(value)


def bound(value: float | None) -> str:
    """An epsilon, or a dash where an accountant has no bound (which another one may well have).

    >>> bound(11.22), bound(math.inf)
    ('11.22', '–')
    """
    return "–" if value is None or math.isinf(value) else epsilon(value)


def share(value: float) -> str:
    """A share in percent to three significant digits, rounded up: no more was possible than is read.

    >>> share(0.0024944), share(1.0), share(0.001)
    ('0.25%', '100%', '0.1%')
    """
    if value <= 0:
        return "0%"
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{100 * math.ceil(round(value / unit, 6)) * unit:.3g}%"


def law(of: Law) -> str:
    """How the secret number K of trials was drawn, with two of its quantiles.

    >>> law(Law(mean=10))
    'K follows a logarithmic law with mean 10 (half of the time at most 4, nine times out of ten at most 26)'
    """
    if of.mean == 1:
        return "K is always 1"
    half, most = of.quantile([0.5, 0.9])
    name = str(of).removeprefix("K ~ ")
    return f"K follows a {name} (half of the time at most {half}, nine times out of ten at most {most})"


def metric(example: Metric) -> str:
    """The name of a metric, with the dagger if its value is a non-private number."""
    return example.name + (DAGGER if example.non_private else "")


def touched(metrics: Sequence[Metric]) -> str:
    """The splits of the sensitive set that these metrics read."""
    found = dict.fromkeys(t for metric in metrics for t in metric.touches if t.startswith("private-"))
    return listed([f"the {touch.removeprefix('private-')} split of the sensitive set" for touch in found])
