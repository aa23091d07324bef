"""The sweep file as a JSON Schema (draft 2020-12), for editors: what may stand where, with defaults and help.

Pydantic makes the schema of every model. What no model alone can say is put beside it: which fields a method or a
source has follows from its name, and what may be searched or set in a row are the fields of the methods. Members that
installed packages bring are in it. It accepts whatever the file may say, and no key that the file may not have; rules
about several keys are told when a sweep is planned.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from privimage import metrics
from privimage.data import PublicConfig, SensitiveConfig
from privimage.data.pair import DataConfig
from privimage.data.sources.source import SOURCES
from privimage.field_types import comments
from privimage.methods.method import DEFAULT, METHODS
from privimage.sweeps.modes.public import HELD_OUT, OF_THE_SET, StandIn
from privimage.sweeps.modes.tuning import MODES, USUAL
from privimage.sweeps.space import MOST_CHOICES
from privimage.sweeps.sweep import MOST_DELTA, Sweep

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
RANGES = {"uniform": "number", "log_uniform": "number", "integers": "integer"}


def sweep_schema() -> Schema:
    """The JSON Schema of a sweep file. Raises InputError if an installed member of a door cannot be loaded."""
    return _Schema().whole()


class _Schema:
    """The schema while it is made: `defs` of all models, and of what is chosen by a name."""

    def __init__(self) -> None:
        self.methods = METHODS.members()
        self.sources = SOURCES.members()
        named = {
            role.role: {name: role.chosen({"name": name}) for name, of in self.sources.items() if role.role in of.roles}
            for role in (SensitiveConfig, PublicConfig)
        }
        configs = dict.fromkeys(method.config for method in self.methods.values())
        roots = [Sweep, *configs, *self.sources.values(), *(one for role in named.values() for one in role.values())]
        models = dict.fromkeys(model for root in roots for model in _within(root))
        found, told = models_json_schema([(model, "validation") for model in models], schema_generator=_Untitled)
        self.defs: Schema = told["$defs"]
        self.names = {model: found[model, "validation"]["$ref"].rsplit("/", 1)[1] for model in models}
        for model, name in self.names.items():
            _describe(self.defs[name], model)
        self.named = {role: {name: self._ref(model) for name, model in of.items()} for role, of in named.items()}

    def whole(self) -> Schema:
        """The schema of the file."""
        sweep, data = (self.defs[self.names[model]] for model in (Sweep, DataConfig))
        methods = {name: {"$ref": self._method(name)} for name, method in self.methods.items() if method.private}
        whats = {name: method.what for name, method in self.methods.items()}
        self._put(sweep, "method", _by("name", methods, whats, absent=DEFAULT))
        sweep["properties"]["budgets"]["items"]["properties"] = {"delta": {"maximum": MOST_DELTA}}
        self._put(sweep, "search", self._search())
        self._put(sweep, "compare", {**sweep["properties"]["compare"], "items": self._row(whats)})
        self._put(sweep, "objectives", self._objectives())
        sweep["properties"]["metrics"]["items"] = {"enum": sorted(metrics.names())}
        modes = {mode: self._ref(model) for mode, model in MODES.items()}
        self._put(sweep, "tuning", _by("mode", modes, {}, absent=USUAL))
        for model in MODES.values():
            if "stand_in" in model.model_fields:
                self._put(self.defs[self.names[model]], "stand_in", self._stand_in())
        for role, cases in self.named.items():
            self._put(data, role, _by("name", cases, {name: self.sources[name].what for name in cases}))
        data["properties"]["stand_in"] = {"const": False}
        top = {"$schema": DIALECT, **sweep}
        return {**top, "$defs": _used(top, self.defs)}

    def _ref(self, model: type[BaseModel]) -> Schema:
        return {"$ref": f"#/$defs/{self.names[model]}"}

    def _put(self, within: Schema, key: str, schema: Schema) -> None:
        """Put a property in the place of what the model says of it, but for its description."""
        told = within["properties"][key].get("description")
        within["properties"][key] = schema if told is None else {"description": told, **schema}

    def _method(self, name: str) -> str:
        """Where the fields of a method are defined, with the defaults that suit it."""
        method = self.methods[name]
        base = self.names[method.config]
        if not method.settings:
            return f"#/$defs/{base}"
        own = copy.deepcopy(self.defs[base])
        for dotted, value in method.settings.items():
            self._default(own, dotted.split("."), value)
        key = f"{base}.{name}"
        self.defs[key] = own
        return f"#/$defs/{key}"

    def _default(self, schema: Schema, path: list[str], value: Any) -> None:
        head, *rest = path
        schema["required"] = [key for key in schema.get("required", ()) if key != head]
        field = schema["properties"][head]
        if rest:
            field |= copy.deepcopy(self._resolved(field))
            field.pop("$ref", None)
            self._default(field, rest, value)
        else:
            field["default"] = value

    def _resolved(self, schema: Schema) -> Schema:
        found = schema.get("$ref")
        return schema if found is None else self.defs[found.rsplit("/", 1)[1]]

    def _fields(self, at: str) -> Iterator[tuple[str, str, Schema]]:
        """Every field below a definition: its dotted name, where it is defined, and its schema; groups as well."""
        yield from self._below(at, self.defs[at.removeprefix("#/$defs/")])

    def _below(self, at: str, schema: Schema) -> Iterator[tuple[str, str, Schema]]:
        for name, field in schema["properties"].items():
            place = f"{at}/properties/{name}"
            yield name, place, field
            inner = self._resolved(field)
            if "properties" in inner:
                for dotted, where, found in self._below(field.get("$ref", place), inner):
                    yield f"{name}.{dotted}", where, found

    def _search(self) -> Schema:
        """Every field of a method, each with the dimensions that it can have."""
        known: dict[str, list[Schema]] = {}
        for at in dict.fromkeys(f"#/$defs/{self.names[method.config]}" for method in self.methods.values()):
            for dotted, place, field in self._fields(at):
                if "properties" not in self._resolved(field):
                    known.setdefault(f"method.{dotted}", []).append(_dimension(place, field))
        private = sorted(name for name, method in self.methods.items() if method.private)
        known["method.name"] = [_dimension(None, {"enum": private})]
        properties = {
            key: found[0] if all(one == found[0] for one in found) else {"anyOf": found} for key, found in known.items()
        }
        limit = self.defs[self.names[Sweep]]["properties"]["search"]["maxProperties"]
        return {"type": "object", "properties": properties, "additionalProperties": False, "maxProperties": limit}

    def _row(self, whats: Mapping[str, str]) -> Schema:
        """A comparison row: a name, or a name with fields of that method."""
        cases = {}
        for name in self.methods:
            at = self._method(name)
            fields = {f"method.{dotted}": {"$ref": place} for dotted, place, _ in self._fields(at) if dotted != "name"}
            key = f"set.{at.rsplit('/', 1)[1]}"
            self.defs[key] = {"type": "object", "properties": fields, "additionalProperties": False}
            cases[name] = {"properties": {"set": {"$ref": f"#/$defs/{key}"}}}
        row = _by("method", cases, whats)
        row["properties"]["set"] = {"type": "object", "description": "Dotted fields of that method."}
        return {"anyOf": [{"enum": sorted(self.methods)}, {**row, "additionalProperties": False}]}

    def _objectives(self) -> Schema:
        directions = {name: {"const": metrics.direction_of(name)} for name in sorted(metrics.names())}
        limits = self.defs[self.names[Sweep]]["properties"]["objectives"]
        return {**limits, "properties": directions, "additionalProperties": False}

    def _stand_in(self) -> Schema:
        """The public classes, or another set that can stand for a sensitive one, but for its size."""
        own = self.defs[self.names[StandIn]]
        cases: Schema = {HELD_OUT: {**own, "additionalProperties": False}}
        for name in self.named["sensitive"]:
            source = copy.deepcopy(self.defs[self.names[self.sources[name]]])
            fields = {key: field for key, field in source["properties"].items() if key not in OF_THE_SET}
            cases[name] = {**source, "properties": {**fields, **own["properties"]}}
        return _by("name", cases, {name: self.sources[name].what for name in self.named["sensitive"]}, absent=HELD_OUT)


class _Untitled(GenerateJsonSchema):
    """Pydantic's, without titles: they repeat the names."""

    def generate_definitions(self, inputs: Any) -> Any:
        found, defs = super().generate_definitions(inputs)
        return found, _untitled(defs)


def _untitled(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _untitled(one) for key, one in value.items() if key != "title" or not isinstance(one, str)}
        return {key: one for key, one in kept.items() if key != "default" or "$ref" not in kept}
    return [_untitled(one) for one in value] if isinstance(value, list) else value


def _within(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model and all models in the types of its fields."""
    yield model
    for field in model.model_fields.values():
        yield from _models_in(field.annotation)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _within(annotation)
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _describe(schema: Schema, model: type[BaseModel]) -> None:
    """Give the fields of a model as their help what stands beside them in its file, where they have none."""
    for name, told in comments(model).items():
        if name in schema.get("properties", {}):
            schema["properties"][name].setdefault("description", told)


def _by(key: str, cases: Mapping[str, Schema], whats: Mapping[str, str], *, absent: str | None = None) -> Schema:
    """What has other fields for every value of one of them; `absent` is the value that a file need not name."""
    chooser: Schema = {"enum": sorted(cases)}
    if whats:
        chooser["description"] = "\n".join(f"{name}: {whats[name]}" for name in sorted(cases) if name in whats)
    if absent is not None:
        chooser["default"] = absent
    branches = [
        {
            "if": {"properties": {key: {"const": name}}, **({} if name == absent else {"required": [key]})},
            "then": cases[name],
        }
        for name in sorted(cases)
    ]
    needed = {} if absent is not None else {"required": [key]}
    return {"type": "object", "properties": {key: chooser}, **needed, "allOf": branches}


def _dimension(place: str | None, field: Schema) -> Schema:
    """What a searched field may be: a choice of its values, or a range of its numbers."""
    value: Schema = field if place is None else {"$ref": place}
    choice = {"type": "array", "items": value, "minItems": 1, "maxItems": MOST_CHOICES, "uniqueItems": True}
    kinds = {one.get("type") for one in field.get("anyOf", [field]) if "enum" not in one and "const" not in one}
    forms: Schema = {"choice": choice}
    for form, type_ in RANGES.items():
        if "number" in kinds or ("integer" in kinds and type_ == "integer"):
            above = {"exclusiveMinimum": 0} if form == "log_uniform" else {}
            end = {"allOf": [value, {"type": type_, **above}]}
            forms[form] = {"type": "array", "items": end, "minItems": 2, "maxItems": 2}
    told = {"description": field["description"]} if "description" in field else {}
    one = {"minProperties": 1, "maxProperties": 1}
    return {**told, "type": "object", "properties": forms, "additionalProperties": False, **one}


def _used(schema: Schema, defs: Schema) -> Schema:
    """The definitions that a schema needs, by name."""
    needed: set[str] = set()
    open_ = [schema]
    while open_:
        fresh = {ref.split("/")[2] for ref in _refs(open_.pop())} - needed
        needed |= fresh
        open_ += [defs[name] for name in fresh]
    return {name: defs[name] for name in sorted(needed)}


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _refs(inner)
