"""Methods: what a record's method says of itself, and what it stands for in a comparison.

A record may be of a method that is not installed here: then nothing is known of it but its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, get_args

from privimage.errors import InputError
from privimage.methods.method import METHODS, Method, MethodRole
from privimage.methods.resolve import as_meant, resolve
from privimage.record import Record


@lru_cache(maxsize=256)
def _of(name: str) -> Method | None:
    try:
        return METHODS.load(name)
    except InputError:
        return None


def what(record: Record) -> str:
    """What the method is, in a few words; empty if that is not known."""
    method = _of(record.method)
    return "" if method is None else method.what


def role(name: str) -> MethodRole:
    """What the method of that name stands for."""
    method = _of(name)
    return "method" if method is None else method.role


def rank(name: str) -> int:
    """Its place in a table, by what it stands for: the lower the further up."""
    return get_args(MethodRole).index(role(name))


def trained(name: str, *, sensitive: str, public: str) -> str:
    """The sentence that says what its generator was trained on; empty if it brings none of its own."""
    method = _of(name)
    return "" if method is None else method.trained.format(sensitive=sensitive, public=public)


def starts(name: str) -> str:
    """What drawing starts from where that is no public image; empty if it brings no sentence of its own."""
    method = _of(name)
    return "" if method is None else method.starts


def lacks(record: Record, *, beside: Record) -> str:
    """The part of the other one's method that this one is without; empty if they differ in more or in nothing."""
    method = _of(record.method)
    return "" if method is None else method.lacks.get(beside.method, "")


def uses(name: str, field: str) -> bool:
    """Whether a dotted field of its configuration determines anything that the method makes; all do where unknown."""
    method = _of(name)
    if method is None:
        return True
    asked = (ask.sigma for _, ask in method.declaration.asking)
    return method.declaration.uses(field) or field in asked


def whole(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of a method with every field of today: older records lack those that came later, and mean by
    that what was done then.

    As it was written where the method is not installed, or takes it no more.
    """
    try:
        return resolve(as_meant(values)).model_dump(mode="json")
    except InputError:
        return values


def by_budget(name: str, fields: Mapping[str, Any]) -> bool:
    """Whether some noise of the method follows from the budget, in a configuration with these dotted fields."""
    method = _of(name)
    return method is None or any(method.declaration.budgeted(stage.kind, fields) for stage in method.declaration.stages)


def of_role(wanted: MethodRole) -> list[str]:
    """The names of all methods that are installed here and stand for that."""
    return [name for name in METHODS.names() if role(name) == wanted]
