"""The one door for what a file says: strict models, dotted overrides, errors that name key, value and fix."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)
from pydantic_core import ErrorDetails

from privimage.errors import InputError
from privimage.field_types import as_written
from privimage.plain_yaml import MOST_DEPTH, one_line, short


class Frozen(BaseModel):
    """Base of every configuration: immutable, no unknown keys, no NaN, "10" is no number. Fields are public."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        return as_written(cls.model_fields[str(info.field_name)].annotation, value)

    @classmethod
    def homes(cls) -> Iterator[tuple[str, type[BaseModel]]]:
        """Models below this one, each after the key that holds it: where a key may belong that this one lacks."""
        for name, field in cls.model_fields.items():
            if (inner := _model_in(field.annotation)) is not None:
                yield name, inner


def is_null(value: object) -> bool:
    """Whether a field says nothing: for `exclude_if` of those that are told only where they say something."""
    return value is None


class Grown(Frozen):
    """A configuration with fields that came later than what was kept under its name, or with places of files.

    Where it names something (`IDENTITY`), a field of `since` is left out if it has the value that means "as before",
    so that the names that there are stay; and `places` are left out: a file is known by its content.
    """

    since: ClassVar[Mapping[str, Any]] = {}
    places: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _told(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if info.context != IDENTITY:
            return values
        before = {name for name, value in self.since.items() if getattr(self, name) == value}
        return {name: value for name, value in values.items() if name not in before and name not in self.places}


IDENTITY = {"identity": True}  # context of a dump of which a name is made
Model = TypeVar("Model", bound=BaseModel)

SAID = "said"  # type of an error whose message names key and value itself
MOST_SAID = 600  # characters of a message; values in it may be as long as a file


def digest(value: Any) -> str:
    """Sha-256 (64 hex digits) of the canonical JSON of plain values and models.

    >>> digest({"b": 1, "a": (1, 2)}) == digest({"a": [1, 2], "b": 1})
    True
    """
    if isinstance(value, BaseModel):
        value = _plain(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", context=IDENTITY)
    raise TypeError(f"not plain data: {type(value).__name__}")


def parse(model: type[Model], values: Mapping[str, Any], *, where: str = "") -> Model:
    """An instance of `model`. Raises InputError naming the dotted path, the value, and what is allowed."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(one_line(_told(model, values, error, where), most=MOST_SAID)) from None


def _told(model: type[BaseModel], values: Any, error: ValidationError, where: str) -> str:
    first = _first(error.errors(include_url=False))
    path = [short(part) for part in _written(values, first["loc"], missing=first["type"] == "missing")]
    dotted = ".".join(([where] if where else []) + path) or "(top level)"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        at = _model_at(model, first["loc"][:-1], values)
        return f"{dotted}: unknown key{_meant(dotted, at)}; allowed: {', '.join(sorted(at.model_fields))}{more}"
    if first["type"] == SAID:
        return f"{first['msg']}{more}"
    if first["type"] == "missing":
        field = _model_at(model, first["loc"][:-1], values).model_fields.get(str(first["loc"][-1]))
        fix = f"give {field.description}" if field is not None and field.description else "it has no default"
        return f"{dotted}: missing; {fix}{more}"
    message = message_of(error)
    if not path and not where:  # a rule about several keys, which the message names
        return f"{message}{more}"
    return f"{dotted}: got {in_yaml(first['input'])}; {message}{more}"


def _first(errors: list[ErrorDetails]) -> ErrorDetails:
    """The error that is told; in place of a missing key one beside it that nobody knows, often the same misspelt."""
    first = errors[0]
    if first["type"] != "missing":
        return first
    unknown = (one for one in errors if one["type"] == "extra_forbidden" and one["loc"][:-1] == first["loc"][:-1])
    return next(unknown, first)


def message_of(error: ValidationError) -> str:
    """What is wrong with the first value, in words of YAML: it knows neither tuples nor models."""
    first = error.errors(include_url=False)[0]
    type, message, value = first["type"], first["msg"], first["input"]
    if type in ("tuple_type", "list_type"):
        example = repr([value])
        return "should be a list" + (f", e.g. {example}" if value is not None and len(example) <= 60 else "")
    if type in ("dict_type", "model_type"):
        return "should be a mapping of keys"
    return re.sub(r"^(Value error, |\w+ (?=should ))", "", message)


def in_yaml(value: Any) -> str:
    """A value in a message, near enough to how it is written."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else short(repr(value))


def _meant(dotted: str, model: type[BaseModel]) -> str:
    """Where the same key is one level below, or else the one that is spelt most like it."""
    *above, key = dotted.split(".")
    homes = model.homes() if issubclass(model, Frozen) else ()
    below = dict.fromkeys(".".join((*above, name, key)) for name, inner in homes if key in inner.model_fields)
    close = [*below] or difflib.get_close_matches(key, sorted(model.model_fields), n=1)
    return f", did you mean {' or '.join(repr(name) for name in close[:3])}?" if close else ""


def _model_at(model: type[BaseModel], location: tuple[int | str, ...], values: Any) -> type[BaseModel]:
    """The model that sits at `location` below `model`, as these values choose it (see `privimage.data.config`)."""
    current = model
    annotation: Any = None
    for part in location:
        if part not in current.model_fields:  # list indices and union tags carry no field
            current = _with_tag(annotation, part) or current
        else:
            annotation = current.model_fields[str(part)].annotation
            current = _model_in(annotation) or current
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list | tuple) and isinstance(part, int):
            values = values[part]
    chosen = getattr(current, "chosen", None)
    return current if chosen is None else chosen(values)


def _written(values: Any, location: tuple[int | str, ...], *, missing: bool) -> Iterator[str]:
    """The parts of a location that the user wrote: without the tags that pydantic adds for members of a union."""
    for i, part in enumerate(location):
        if isinstance(values, Mapping):
            if part not in values and not (missing and i == len(location) - 1):
                continue
            values = values.get(part)
        elif isinstance(values, list | tuple):
            if not isinstance(part, int):
                continue
            values = values[part] if part < len(values) else None  # one of a pair is missing
        else:  # below a scalar the user wrote nothing
            continue
        yield str(part)


def _with_tag(annotation: Any, tag: int | str) -> type[BaseModel] | None:
    """The member of a discriminated union that has this tag, or None."""
    for member in get_args(annotation):
        if any(isinstance(inner, Tag) and inner.tag == tag for inner in get_args(member)):
            return _model_in(member)
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def get_dotted(values: Mapping[str, Any], dotted: str) -> Any:
    """The value at a dotted path, or None when any part of the path is absent.

    >>> get_dotted({"method": {"query": {"sigma": 5}}}, "method.query.sigma")
    5
    """
    current: Any = values
    for part in dotted.split("."):
        if not isinstance(current, Mapping) or part not in current:
            return None
        current = current[part]
    return current


def set_dotted(values: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """A copy of `values` with the value at a dotted path replaced; missing levels are made, digits count in lists.

    >>> set_dotted({"a": {"b": 1}}, "a.c", 2)
    {'a': {'b': 1, 'c': 2}}
    >>> set_dotted({"a": [{"b": 1}, 5]}, "a.0.b", 2)
    {'a': [{'b': 2}, 5]}
    """
    return set_at(values, dotted.split("."), value)


def set_at(values: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """As `set_dotted`, for a path whose keys may have dots in them.

    Raises InputError if a list has no such entry, or there are more keys than a file has levels.
    """
    if len(path) > MOST_DEPTH:
        raise InputError(f"{short('.'.join(path))}: more than {MOST_DEPTH} levels")
    replaced: dict[str, Any] = _replaced(values, path, 0, value)
    return replaced


def _replaced(current: Any, path: Sequence[str], depth: int, value: Any) -> Any:
    """What stands at the first `depth` keys of the path, with the value at the whole path."""
    if depth == len(path):
        return value
    key = path[depth]
    if isinstance(current, list | tuple):
        below = list(current)
        i = _index(below, path, depth)
        below[i] = _replaced(below[i], path, depth + 1, value)
        return below
    copy = dict(current) if isinstance(current, Mapping) else {}
    copy[key] = _replaced(copy.get(key), path, depth + 1, value)
    return copy


def _index(entries: list[Any], path: Sequence[str], depth: int) -> int:
    """Which entry of a list a key means. Raises InputError if it means none."""
    key, dotted = path[depth], ".".join(path[: depth + 1])
    if not entries:
        raise InputError(f"{dotted}: the list is empty; give the whole of {'.'.join(path[:depth])}")
    if key not in map(str, range(len(entries))):
        raise InputError(f"{dotted}: got '{key}'; the list has the entries 0 to {len(entries) - 1}")
    return int(key)
