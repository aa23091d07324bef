"""Which labels are drawn: all in turn, or those that are asked for, with a number or a share for each."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privimage.errors import InputError

DEFAULT = 1000
MOST = 10_000_000  # images of one call
EXAMPLE = "e.g. --label 3, --label 0=100 --label 7=50, or --label 0=20% --label 7=80%"


def counts(asked: Sequence[str], *, n: int | None, classes: Sequence[str]) -> dict[int, int]:
    """How many images of each label, in the order of labels; without `asked`, n of all labels in turn.

    An entry of `asked` is a label, LABEL=NUMBER or LABEL=SHARE%, its label a number or the name of a class. Raises
    InputError if a label is unknown or named twice, or the numbers do not go together.

    >>> counts(["3"], n=10, classes=("a", "b", "c", "d"))
    {3: 10}
    >>> counts(["b=25%", "a=75%"], n=10, classes=("a", "b"))
    {0: 8, 1: 2}
    """
    if not asked:
        return _shared({label: 1.0 for label in range(len(classes))}, DEFAULT if n is None else n)
    wanted: dict[int, str] = {}
    for entry in asked:
        name, _, amount = entry.rpartition("=") if _is_amount(entry) else (entry, "", "")
        label = _label(name, classes)
        if label in wanted:
            raise InputError(f"--label: got '{entry}'; {name} stands there twice; give it once")
        wanted[label] = amount
    kinds = {"%" if amount.endswith("%") else "n" if amount else "" for amount in wanted.values()}
    if len(kinds) > 1:
        raise InputError(f"--label: got {' '.join(asked)}; give all of them alone, or a number, or a share; {EXAMPLE}")
    return _of_kind(kinds.pop(), dict(sorted(wanted.items())), n=n)


def _of_kind(kind: str, wanted: dict[int, str], *, n: int | None) -> dict[int, int]:
    if kind == "n":
        found = {label: int(amount) for label, amount in wanted.items() if int(amount) > 0}
        total = sum(found.values())
        if not 0 < total <= MOST or (n is not None and n != total):
            said = f"--n is {n}; leave it out" if 0 < total <= MOST else f"at least 1 and at most {MOST} in all"
            raise InputError(f"--label: these are {total} images; {said}")
        return found
    shares = {label: float(amount.rstrip("%")) if amount else 1.0 for label, amount in wanted.items()}
    if kind == "%" and abs(sum(shares.values()) - 100) > 1e-6:
        raise InputError(f"--label: the shares sum to {sum(shares.values()):g}%; they must sum to 100%")
    return _shared(shares, DEFAULT if n is None else n)


def _shared(shares: dict[int, float], n: int) -> dict[int, int]:
    """n divided by shares: every label gets what it is due, rounded down, and the largest remainders one more."""
    if not 1 <= n <= MOST:
        raise InputError(f"--n: got {n}; at least 1 and at most {MOST} images")
    due = {label: n * share / sum(shares.values()) for label, share in shares.items()}
    found = {label: int(exact + 1e-9) for label, exact in due.items()}
    rest = sorted(due, key=lambda label: (found[label] - due[label], label))[: n - sum(found.values())]
    return {label: count + (label in rest) for label, count in found.items() if count or label in rest}


def order(wanted: dict[int, int]) -> NDArray[np.int64]:
    """The labels [n] in turn, as long as there are images of them left to draw.

    >>> order({0: 3, 2: 1}).tolist()
    [0, 2, 0, 0]
    """
    rounds = np.concatenate([np.arange(count) for count in wanted.values()])
    labels = np.repeat(np.array(list(wanted), np.int64), list(wanted.values()))
    return labels[np.lexsort((labels, rounds))]


def _is_amount(entry: str) -> bool:
    """Whether an entry ends in =NUMBER or =SHARE%; a class may have '=' in its name."""
    _, equals, amount = entry.rpartition("=")
    digits = amount.removesuffix("%")
    whole = digits.isascii() and digits.isdigit() and len(digits) <= 12
    share = amount.endswith("%") and digits.replace(".", "", 1).isdigit() and digits.isascii() and len(digits) <= 12
    return bool(equals) and (whole or share)


def _label(name: str, classes: Sequence[str]) -> int:
    names = list(classes)
    if name in names:
        return names.index(name)
    if name.isascii() and name.isdigit() and len(name) <= 12 and int(name) < len(classes):
        return int(name)
    close = difflib.get_close_matches(name[:100], names, n=3) or names[:3]
    known = f"the labels are 0 to {len(classes) - 1}" + (f"; the nearest names are {', '.join(close)}" if close else "")
    raise InputError(f"--label: got '{name[:100]}'; {known}; {EXAMPLE}")
