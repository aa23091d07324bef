"""The type that a field has: what is written for it is taken as that type, or refused, wherever it stands."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

LARGEST = 2.0**63
SCALARS = (bool, int, float, str)


def as_written(annotation: Any, value: Any) -> Any:
    """The value itself. Raises ValueError where pydantic would make another of it than was written.

    That is: text or true for a number ("10", true), a number or text for true, 1e300 for a whole number.
    """
    origin, kinds = _kind(annotation)
    if isinstance(value, SCALARS):
        number = kinds & {int, float}
        if number and not isinstance(value, (int, float, *kinds)):
            raise ValueError("should be a number" + (", without quotes" if _is_number(value) else ""))
        if isinstance(value, bool) and number and bool not in kinds:
            raise ValueError("should be a number")
        if kinds == {bool} and not isinstance(value, bool):
            raise ValueError("should be true or false")
        if number == {int} and isinstance(value, float) and abs(value) >= LARGEST:
            raise ValueError("should be a whole number of 64 bits")
    elif origin is Annotated:
        as_written(get_args(annotation)[0], value)
    elif origin is tuple and isinstance(value, list | tuple):
        inner = get_args(annotation)
        of = inner[:1] * len(value) if inner[1:] == (...,) else inner
        for kind, item in zip(of, value, strict=False):  # another length is for pydantic to say
            as_written(kind, item)
    elif origin is dict and isinstance(value, Mapping):
        for item in value.values():
            as_written(get_args(annotation)[1], item)
    return value


def _kind(annotation: Any) -> tuple[Any, frozenset[type]]:
    """The origin of an annotation, and its plain types."""
    try:
        return _known_kind(annotation)
    except TypeError:  # what stands in Annotated need have no hash
        return _known_kind.__wrapped__(annotation)


@lru_cache(maxsize=4096)
def _known_kind(annotation: Any) -> tuple[Any, frozenset[type]]:
    return get_origin(annotation), frozenset(_scalars(annotation))  # the same few, asked for at every line of a file


def _scalars(annotation: Any) -> Iterator[type]:
    """The plain types that a value of this annotation may have, where it stands itself."""
    origin = get_origin(annotation)
    if annotation is Any:
        yield from SCALARS
    elif annotation in SCALARS:
        yield annotation
    elif origin is Literal:
        yield from map(type, get_args(annotation))
    elif origin is Annotated:
        yield from _scalars(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _scalars(member)


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class FieldType:
    """The type of one field of a model, with its bounds."""

    def __init__(self, info: FieldInfo) -> None:
        self._annotation = info.annotation
        bounded: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        self._adapter = TypeAdapter(bounded, config=ConfigDict(allow_inf_nan=False))
        kinds = set(_scalars(info.annotation)) if get_origin(info.annotation) is not Literal else set()
        self.real, self.whole = float in kinds, int in kinds and float not in kinds
        self.nullable = NoneType in get_args(info.annotation)

    def __call__(self, value: Any) -> Any:
        """The value as this type. Raises ValueError (pydantic's own, with its details) if it is none."""
        return self._adapter.validate_python(as_written(self._annotation, value))


def has_field(model: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a model has a field, or a group of fields, at this path of names."""
    info = model.model_fields.get(path[0])
    if info is None or len(path) == 1:
        return info is not None
    inner = info.annotation
    return isinstance(inner, type) and issubclass(inner, BaseModel) and has_field(inner, path[1:])


def field_type(model: type[BaseModel], path: list[str]) -> FieldType | None:
    """The type of the field at a path of names below a model, or None if no single field is there."""
    *above, last = path
    for name in above:
        info = model.model_fields.get(name)
        if info is None or not isinstance(info.annotation, type) or not issubclass(info.annotation, BaseModel):
            return None
        model = info.annotation
    info = model.model_fields.get(last)
    if info is None or (isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)):
        return None
    return FieldType(info)


@dataclass(frozen=True, eq=False)  # a part of types, which are hashed
class Constraint:
    """For Annotated, behind the bounds of a field: what its values must be, for the door for files and for editors.

    `check` raises ValueError in one line for a value that breaks it; `told` are the words of JSON Schema for the same.
    """

    check: Callable[[Any], None]
    told: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def checked(value: Any) -> Any:
            self.check(value)
            return value

        return core_schema.no_info_after_validator_function(checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), **self.told}


def spelt(pattern: str, *, use: str) -> Constraint:
    """The rule of texts that match the pattern from end to end; `use` says in words what to write."""

    def check(text: str) -> None:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"use {use}")

    return Constraint(check, {"pattern": f"^(?:{pattern})$"})


def _once(items: Sequence[Any]) -> None:
    for i, item in enumerate(items):
        if item in items[:i]:
            raise ValueError(f"entry {i} stands there already; give it once")


ONCE = Constraint(_once, {"uniqueItems": True})  # of lists


def one_of(names: Callable[[], Iterable[str]]) -> Callable[[dict[str, Any]], None]:
    """For `json_schema_extra` of a field: the names that it takes, as they are when a schema is made."""
    return lambda schema: schema.update(enum=sorted(names()))


def comments(model: type[BaseModel]) -> dict[str, str]:
    """The comments beside a model's fields in its file, by field: their help in an editor."""
    ours = (one for one in reversed(model.__mro__) if issubclass(one, BaseModel) and one is not BaseModel)
    return {field: told for one in ours for field, told in _own_comments(one).items()}


@lru_cache(maxsize=256)
def _own_comments(model: type[BaseModel]) -> dict[str, str]:
    try:
        source = inspect.cleandoc("\n" + inspect.getsource(model))
    except (OSError, TypeError):  # made while the program runs
        return {}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    beside = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    (tree,) = ast.parse(source).body
    fields = [node for node in tree.body if isinstance(node, ast.AnnAssign)] if isinstance(tree, ast.ClassDef) else []
    lines = {node.target.id: node.end_lineno for node in fields if isinstance(node.target, ast.Name)}
    return {field: beside[line] for field, line in lines.items() if line in beside}
