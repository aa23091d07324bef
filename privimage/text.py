"""Text: counts and lists as a person writes them, wherever something is said in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}  # for rich: "[" in a name is no markup


def listed(names: Sequence[str]) -> str:
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


def duration(seconds: float) -> str:
    """About how long, in the unit that is read most easily.

    >>> duration(0.2), duration(40), duration(400), duration(40_000)
    ('1 s', '40 s', '7 min', '11.1 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
