"""Which labels are drawn: all in turn, or those that are asked for, with a number or a share for each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from privimage.errors import InputError
from privimage.text import count

T = TypeVar("T")
DEFAULT = 1000
MOST = 10_000_000  # images of one call
EXAMPLE = "e.g. 3, or 0=100 and 7=50, or 0=20% and 7=80%"
Labels = Sequence[str | int] | Mapping[str | int, int] | Mapping[str, int] | Mapping[int, int]


def counts(asked: Labels, *, n: int | None, classes: Sequence[str]) -> dict[int, int]:
    """How many images of each label, in the order of labels; without `asked`, n of all labels in turn.

    `asked` maps labels to numbers of images; or each entry is a label, LABEL=NUMBER or LABEL=SHARE%. A label is the
    name of a class or its number; an int is always a number. Raises InputError if one is unknown or named twice, or
    numbers do not go together.

    >>> counts(["3"], n=10, classes=("a", "b", "c", "d"))
    {3: 10}
    >>> counts(["b=25%", "a=75%"], n=10, classes=("a", "b"))
    {0: 8, 1: 2}
    >>> counts({"b": 4, 0: 1}, n=None, classes=("a", "b"))
    {0: 1, 1: 4}
    """
    n = None if n is None else whole("n", n, most=MOST)
    if isinstance(asked, str | bytes) or not isinstance(asked, Iterable):
        raise InputError(
            f"labels: got {asked!r:.60}; expected a list, e.g. {[str(asked)[:20]]}, or a mapping to numbers"
        )
    asked = asked if isinstance(asked, Mapping) else list(asked)
    if not asked:
        return _shared({label: 1.0 for label in range(len(classes))}, DEFAULT if n is None else n)
    if isinstance(asked, Mapping):
        numbers = [(_named(name), whole(f"label {name}", each, least=0, most=MOST)) for name, each in asked.items()]
        return _numbers(_by_label(numbers, classes), n=n)
    entries = _by_label([_split(_named(entry), classes) for entry in asked], classes)
    kinds = {"%" if amount.endswith("%") else "n" if amount else "" for amount in entries.values()}
    if len(kinds) > 1:
        said = " ".join(map(str, asked))
        raise InputError(f"label: got {said}; give all of them alone, or a number, or a share; {EXAMPLE}")
    if kinds == {"n"}:
        return _numbers({label: int(amount) for label, amount in entries.items()}, n=n)
    shares = {label: float(amount.rstrip("%")) if amount else 1.0 for label, amount in entries.items()}
    if kinds == {"%"} and abs(sum(shares.values()) - 100) > 1e-6:
        raise InputError(f"label: the shares sum to {sum(shares.values()):g}%; they must sum to 100%")
    return _shared(shares, DEFAULT if n is None else n)


def whole(named: str, value: object, *, least: int = 1, most: int) -> int:
    """The value as int. Raises InputError, which calls it by the name, if it is no whole number between the ends.

    >>> whole("n", np.int64(3), most=9)
    3
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise InputError(f"{named}: got {value!r:.60}; expected a whole number from {least} to {most}")
    return int(value)


def _by_label(named: Sequence[tuple[str | int, T]], classes: Sequence[str]) -> dict[int, T]:
    """What is asked of every label, in the order of labels. Raises InputError if one is unknown or stands twice."""
    found: dict[int, T] = {}
    for name, asked in named:
        label = _label(name, classes)
        if label in found:
            raise InputError(f"label: got '{name}' twice; give it once")
        found[label] = asked
    return dict(sorted(found.items()))


def _numbers(numbers: dict[int, int], *, n: int | None) -> dict[int, int]:
    """So many images of each label; if n is given as well, these are to be n."""
    total = sum(numbers.values())
    if not 0 < total <= MOST or (n is not None and n != total):
        said = f"n is {n}; leave it out" if 0 < total <= MOST else f"at least 1 and at most {MOST} in all"
        raise InputError(f"label: these are {count(total, 'image')}; {said}")
    return {label: number for label, number in numbers.items() if number}


def _shared(shares: dict[int, float], n: int) -> dict[int, int]:
    """n divided by shares: every label gets what it is due, rounded down, and the largest remainders one more."""
    due = {label: n * share / sum(shares.values()) for label, share in shares.items()}
    found = {label: int(exact + 1e-9) for label, exact in due.items()}
    rest = sorted(due, key=lambda label: (found[label] - due[label], label))[: n - sum(found.values())]
    return {label: each + (label in rest) for label, each in found.items() if each or label in rest}


def order(wanted: dict[int, int]) -> NDArray[np.int64]:
    """The labels [n] in turn, as long as there are images of them left to draw.

    >>> order({0: 3, 2: 1}).tolist()
    [0, 2, 0, 0]
    """
    rounds = np.concatenate([np.arange(each) for each in wanted.values()])
    labels = np.repeat(np.array(list(wanted), np.int64), list(wanted.values()))
    return labels[np.lexsort((labels, rounds))]


def _named(label: object) -> str | int:
    """A label as it was asked for: a number where it is a whole number, else the word, which may be a name."""
    return int(label) if not isinstance(label, bool) and isinstance(label, Integral) else str(label)


def _split(entry: str | int, classes: Sequence[str]) -> tuple[str | int, str]:
    """(label, NUMBER or SHARE%) of an entry, the second empty where there is none; a class may have '=' in its name."""
    if isinstance(entry, int) or entry in classes:
        return entry, ""
    name, equals, amount = entry.rpartition("=")
    digits = amount.removesuffix("%")
    number = digits.isascii() and digits.isdigit() and len(digits) <= 12
    share = amount.endswith("%") and digits.replace(".", "", 1).isdigit() and digits.isascii() and len(digits) <= 12
    return (name, amount) if equals and (number or share) else (entry, "")


def _label(asked: str | int, classes: Sequence[str]) -> int:
    names, name = list(classes), str(asked)
    if isinstance(asked, str) and name in names:
        return names.index(name)
    if name.isascii() and name.isdigit() and len(name) <= 12 and int(name) < len(classes):
        return int(name)
    close = difflib.get_close_matches(name[:100], names, n=3) or names[:3]
    known = f"the labels are 0 to {len(classes) - 1}" + (f"; the nearest names are {', '.join(close)}" if close else "")
    raise InputError(f"label: got '{name[:100]}'; {known}; {EXAMPLE}")
