"""Text: counts and lists as a person writes them, wherever something is said in words."""

from __future__ import annotations

from collections.abc import Sequence


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
