"""Types as JSON Schema (draft 2020-12), and values checked against it; import it from ``orchestrator.spec.types``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from orchestrator.ids import digest_text
from orchestrator.spec.type_algebra import (
    ANY,
    BOOLEAN,
    FILE,
    FILE_FIELDS,
    INTEGER,
    NO_DEFAULT,
    NULL,
    NUMBER,
    STRING,
    AnyType,
    BooleanType,
    DurationType,
    EnumType,
    Faceted,
    Facets,
    FileType,
    IntegerType,
    ListType,
    Nullable,
    NullType,
    NumberType,
    ObjectType,
    SchemaType,
    StringType,
    TimestampType,
    Type,
    join,
    nullable,
    with_facets,
    without_null,
)

FACET_KEYWORDS: Final[Mapping[str, str]] = {
    "description": "description",
    "minimum": "minimum",
    "maximum": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
    "min_items": "minItems",
    "max_items": "maxItems",
}
"""Facets by the keyword that says the same in JSON Schema (``default`` goes beside them, ``env`` has none)."""

_FILE_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "$file": {"type": "string", "pattern": "^[0-9A-Za-z]+$"},
        "name": {"type": "string"},
        "size": {"type": "integer"},
        "media_type": {"type": "string"},
    },
    "required": list(FILE_FIELDS),
    "additionalProperties": False,
}
_SIMPLE_NAMES: Final[Mapping[str, Type]] = {
    "string": STRING,
    "integer": INTEGER,
    "number": NUMBER,
    "boolean": BOOLEAN,
    "null": NULL,
}
_MAX_DEPTH: Final = 64


def to_schema(type_: Type) -> dict[str, Any]:
    """The JSON Schema of a type. An optional field takes null too; a moment and a length of time are text."""
    match type_:
        case AnyType():
            return {}
        case StringType() | TimestampType() | DurationType():
            return {"type": "string"}
        case IntegerType():
            return {"type": "integer"}
        case NumberType():
            return {"type": "number"}
        case BooleanType():
            return {"type": "boolean"}
        case NullType():
            return {"type": "null"}
        case FileType():
            return json.loads(json.dumps(_FILE_SCHEMA))
        case Nullable():
            return _or_null(_inner(type_.inner))
        case ListType():
            return {"type": "array", "items": _inner(type_.item)}
        case ObjectType():
            return _object_schema(type_)
        case EnumType():
            return {"enum": list(type_.values)}
        case Faceted():
            return _faceted_schema(type_)
        case SchemaType():
            return dict(type_.schema)
        case _:
            raise TypeError(f"{type(type_).__name__} is no type of the language")


def _inner(type_: Type) -> dict[str, Any]:
    """The schema of a type inside another: an author's schema that refers to its own parts gets an id to do so by."""
    schema = to_schema(type_)
    base = type_.base if isinstance(type_, Faceted) else type_
    if isinstance(base, SchemaType) and "$id" not in schema and '"$ref"' in json.dumps(schema):
        text = json.dumps(schema, sort_keys=True)
        return {"$id": f"urn:orchestrator:{digest_text(text)}", **schema}
    return schema


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if set(schema) == {"enum"}:
        return {"enum": [*schema["enum"], None]}
    if isinstance(schema.get("type"), str) and "properties" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _object_schema(type_: ObjectType) -> dict[str, Any]:
    properties = {
        name: _inner(nullable(item) if name in type_.optional else item) for name, item in type_.fields.items()
    }
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    required = [name for name in type_.fields if name not in type_.optional]
    if required:
        schema["required"] = required
    if type_.closed:
        schema["additionalProperties"] = False
    return schema


def _faceted_schema(type_: Faceted) -> dict[str, Any]:
    schema = to_schema(type_.base)
    for field, keyword in FACET_KEYWORDS.items():
        value = getattr(type_.facets, field)
        if value is not None:
            schema[keyword] = value
    if type_.facets.default is not NO_DEFAULT:
        schema["default"] = type_.facets.default
    return schema


def from_schema(schema: Mapping[str, Any] | bool) -> Type:
    """The type of a JSON Schema as far as its structure is plain, ``any`` for the rest: it never says too much."""
    root = schema if isinstance(schema, Mapping) else {}
    return _Reader(root).read(schema, ())


class _Reader:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root

    def read(self, schema: Any, seen: tuple[str, ...]) -> Type:
        if not isinstance(schema, Mapping):
            return ANY
        schema = cast("Mapping[str, Any]", schema)
        if "$id" in schema and schema is not self.root:
            return _Reader(schema).read(schema, ())
        if "$ref" in schema:
            return self.reference(schema["$ref"], seen)
        type_ = self.structure(schema, seen)
        return with_facets(type_, self.facets(schema))

    def reference(self, ref: Any, seen: tuple[str, ...]) -> Type:
        if not isinstance(ref, str) or not ref.startswith("#/") or ref in seen:
            return ANY
        target: Any = self.root
        for part in ref[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or key not in target:
                return ANY
            target = cast("Mapping[str, Any]", target)[key]
        return self.read(target, (*seen, ref))

    def structure(self, schema: Mapping[str, Any], seen: tuple[str, ...]) -> Type:
        if "enum" in schema or "const" in schema:
            return _enum(schema.get("enum", [schema.get("const")]))
        kinds = schema.get("type")
        if isinstance(kinds, str):
            return self.kind(kinds, schema, seen)
        if isinstance(kinds, list):
            return self.union([self.kind(kind, schema, seen) for kind in cast("list[Any]", kinds)])
        branches = schema.get("anyOf", schema.get("oneOf"))
        if isinstance(branches, list):
            return self.union([self.read(branch, seen) for branch in cast("list[Any]", branches)])
        return ANY

    def union(self, types: list[Type]) -> Type:
        if not types:
            return ANY
        result = types[0]
        for other in types[1:]:
            result = join(result, other)
        return result

    def kind(self, kind: Any, schema: Mapping[str, Any], seen: tuple[str, ...]) -> Type:
        if kind == "array":
            # A tuple's items stand in prefixItems: `items` speaks of the others only.
            return ListType(ANY if "prefixItems" in schema else self.read(schema.get("items"), seen))
        if kind == "object":
            return self.object(schema, seen)
        return _SIMPLE_NAMES.get(kind, ANY) if isinstance(kind, str) else ANY

    def object(self, schema: Mapping[str, Any], seen: tuple[str, ...]) -> Type:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            properties = {}
        closed = schema.get("additionalProperties") is False and not schema.get("patternProperties")
        if closed and set(cast("Mapping[str, Any]", properties)) == set(FILE_FIELDS):
            return FILE
        listed = schema.get("required")
        required = cast("list[Any]", listed) if isinstance(listed, list) else []
        fields = {name: self.read(item, seen) for name, item in cast("Mapping[str, Any]", properties).items()}
        optional = frozenset(name for name in fields if name not in required)
        fields = {name: without_null(item) if name in optional else item for name, item in fields.items()}
        return ObjectType(fields, optional, closed)

    def facets(self, schema: Mapping[str, Any]) -> Facets:
        found = {field: schema[keyword] for field, keyword in FACET_KEYWORDS.items() if keyword in schema}
        return Facets(default=schema.get("default", NO_DEFAULT), **found)


def _enum(values: Any) -> Type:
    if not isinstance(values, list) or not values:
        return ANY
    listed = cast("list[Any]", values)
    if any(isinstance(value, (list, dict)) for value in listed):
        return ANY
    rest = tuple(value for value in listed if value is not None)
    if not rest:
        return NULL
    found = EnumType(rest)
    return nullable(found) if len(rest) < len(listed) else found
