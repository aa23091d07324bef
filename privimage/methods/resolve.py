"""Resolve: from what a file says of a method to its configuration; what it leaves out is as suits the method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from privimage.errors import InputError
from privimage.methods.declared import fields_of
from privimage.methods.method import DEFAULT, METHODS, Method, MethodConfig, load
from privimage.schema import SAID, Frozen, parse, set_dotted


def resolve(values: Mapping[str, Any], *, where: str = "method") -> MethodConfig:
    """The configuration of the method that the values name, every field that they leave out as suits it.

    Raises InputError naming the dotted path, which begins with `where`.
    """
    name = values.get("name", DEFAULT)
    if not isinstance(name, str) or name not in METHODS.names():
        raise InputError(f"{where}.name: got {name!r:.80}; allowed: {', '.join(METHODS.names())}")
    method = load(name)
    return parse(method.config, suited({**values, "name": name}, method), where=where)


def resolved(value: Any) -> Any:
    """As `resolve`, for a field of a model: what is no mapping is left for the model to refuse."""
    if not isinstance(value, Mapping):
        return value
    try:
        return resolve(value)
    except InputError as error:
        raise PydanticCustomError(SAID, "{why}", {"why": str(error)}) from None


def suited(values: Mapping[str, Any], method: Method) -> dict[str, Any]:
    """The values with the method's settings where they say nothing, null included."""
    return _filled(values, method.settings)


def as_meant(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an older configuration with what was meant then where they lack fields that came later.

    See `Stage.since`. Raises InputError where the method is not installed.
    """
    stages = load(str(values.get("name", DEFAULT))).declaration.stages
    return _filled(values, {dotted: value for stage in stages for dotted, value in stage.since.items()})


def _filled(values: Mapping[str, Any], absent: Mapping[str, Any]) -> dict[str, Any]:
    """The values with those of dotted fields of which they say nothing."""
    filled = dict(values)
    for dotted, value in absent.items():
        if not _says(filled, dotted.split(".")):
            filled = set_dotted(filled, dotted, value)
    return filled


def _says(values: Any, path: list[str]) -> bool:
    """Whether the values hold anything at the path; a model, or what is no mapping, says everything."""
    if not path or not isinstance(values, Mapping):
        return True
    return path[0] in values and _says(values[path[0]], path[1:])


def replaced(config: MethodConfig, fields: Mapping[str, Any]) -> MethodConfig:
    """The configuration with some dotted fields replaced."""
    values: dict[str, Any] = config.model_dump()
    for dotted, value in fields.items():
        values = set_dotted(values, dotted, value)
    return resolve(values)


def by_channels(config: MethodConfig, rules: Mapping[str, Callable[[int], Any]], channels: int | None) -> MethodConfig:
    """The configuration with what `rules` make of the channels where these dotted fields are null: see `settled`.

    A field that nothing of the method reads is left alone.
    """
    found = {name: value for name, value in fields_of(config).items() if name in rules}
    left = [name for name in rules if found[name] is None and config.member.declaration.uses(name)]
    if not left:
        return config
    if channels is None:
        raise InputError(
            f"{' and '.join(f'method.{name}' for name in left)}: null follows from the number of channels; name "
            "data.public.channels (1 grey, 3 colour), or give values"
        )
    return replaced(config, {name: rules[name](channels) for name in left})


def unread(config: MethodConfig, *, network: str) -> MethodConfig:
    """The configuration with the query function as it suits the method where nothing reads what is said of it.

    That is so where `network`, the field that says whose features are taken, names another network, and no stage but
    those that it decides comes after the query function. Else what is said of it would ask anew, and nothing would
    differ.
    """
    if fields_of(config).get(network) in (None, "query"):
        return config
    stages = config.member.declaration.stages
    if any("query-function" in (stage.after or ()) and not stage.names(network) for stage in stages):
        return config
    values: dict[str, Any] = config.model_dump()
    del values["query"]["function"]
    return resolve(values)


def adopted(values: Mapping[str, Any], *, method: Method, other: Method) -> dict[str, Any]:
    """Of values that were written for the other method, in a sweep that runs both, what this one takes too."""
    kept = dict(values) if method.config is other.config else fitting(values, method.config)
    for dotted in method.foreign(other):
        kept = _without(kept, dotted.split("."))
    return kept


def _without(values: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The values without what stands at the path."""
    first, *rest = path
    if first not in values or (rest and not isinstance(values[first], Mapping)):
        return values
    left = {name: value for name, value in values.items() if name != first}
    return left | {first: _without(dict(values[first]), rest)} if rest else left


def fitting(values: Mapping[str, Any], config: type[Frozen]) -> dict[str, Any]:
    """Of values that were written for another method what this configuration knows too."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        inner = config.model_fields[name].annotation if name in config.model_fields else None
        if isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, Frozen):
            kept[name] = fitting(value, inner)
        elif name in config.model_fields:
            kept[name] = value
    return kept
