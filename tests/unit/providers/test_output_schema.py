from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from orchestrator.providers.output_schema import accepted_schema

SHAPES = {"type", "properties", "required", "additionalProperties", "items", "minItems", "enum", "const"}
KEYWORDS = SHAPES | {"anyOf", "allOf", "$ref", "$defs", "format", "description"}


def closed(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    out = {"type": "object", "properties": properties, "additionalProperties": False}
    return out if required is None else {**out, "required": required}


def check_subset(schema: dict[str, Any], *, names: bool = False) -> None:
    for key, value in schema.items():
        assert names or key in KEYWORDS, key
        if key == "type" and not names:
            assert isinstance(value, str)
        if isinstance(value, dict):
            check_subset(value, names=key in ("properties", "$defs") and not names)
        if key in ("anyOf", "allOf"):
            for part in value:
                check_subset(part)
    if schema.get("type") == "object" and not names:
        assert schema["additionalProperties"] is False


GOOD = [
    ({"type": "string"}, ["x"]),
    ({"type": "string", "minLength": 2, "pattern": "^a", "format": "email"}, ["a@example.org"]),
    ({"type": "string", "format": "regex"}, ["a+"]),
    ({"type": "integer", "minimum": 0, "maximum": 9, "description": "A digit."}, [3]),
    ({"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3}, [[1.5]]),
    ({"type": "array", "items": {"type": "string"}, "minItems": 4}, [["a", "b", "c", "d"]]),
    ({"type": ["string", "null"], "maxLength": 3, "description": "Maybe."}, ["abc", None]),
    ({"anyOf": [{"type": "string", "pattern": "x"}, {"type": "null"}]}, ["x", None]),
    ({"oneOf": [{"type": "boolean"}, {"type": "integer", "multipleOf": 2}]}, [True, 4]),
    ({"type": "string", "enum": ["a", "b"]}, ["a"]),
    ({"enum": [1, None, "x"]}, [1, None]),
    ({"const": 7}, [7]),
    (closed(["a"], a={"type": "string"}, b={"type": "boolean"}), [{"a": "x"}, {"a": "x", "b": True}]),
    ({"type": "object", "properties": {"a": {"type": "null"}}}, [{"a": None}]),
    (closed(), [{}]),
    (closed(a=closed(b={"type": "array", "items": closed(c={"type": "integer"})})), [{"a": {"b": [{"c": 1}]}}]),
    ({**closed(a={"$ref": "#/$defs/T"}, b={"$ref": "#/$defs/T"}), "$defs": {"T": {"type": "string"}}}, [{"a": "x"}]),
    ({**closed(a={"$ref": "#/definitions/T"}), "definitions": {"T": closed()}}, [{"a": {}}]),
    ({"$ref": "#/$defs/T", "$defs": {"T": {"type": "integer", "exclusiveMinimum": 1}}}, [3]),
    ({"type": "string", "default": "x", "$schema": "https://json-schema.org/draft/2020-12/schema"}, ["x"]),
    ({"type": "integer", "minimum": 1, "not": {"const": 4}}, [3]),
]


@pytest.mark.parametrize(("schema", "values"), GOOD)
def test_a_schema_is_loosened_into_the_subset(schema: dict[str, Any], values: list[Any]) -> None:
    """What the full schema takes, the accepted one takes: no good answer is made impossible."""
    accepted = accepted_schema(schema)
    assert accepted is not None
    check_subset(accepted)
    for value in values:
        assert jsonschema_rs.is_valid(schema, value)
        assert jsonschema_rs.is_valid(accepted, value)


def test_what_the_subset_lacks_is_said_in_words() -> None:
    accepted = accepted_schema({"type": "integer", "minimum": 1, "maximum": 10, "description": "A number"})
    assert accepted == {"type": "integer", "description": "A number\n\n{maximum: 10, minimum: 1}"}
    assert accepted_schema({"type": "string", "pattern": "^a"}) == {"type": "string", "description": '{pattern: "^a"}'}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"description": "anything"},
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "string"}},
        {"type": "object", "additionalProperties": True},
        {"type": "array"},
        {"type": "array", "items": {}},
        closed(a={}),
        {"enum": [{"a": 1}]},
        {"const": [1]},
        {"type": ["object", "null"]},
        {"anyOf": [{"type": "string"}, {}]},
        {"type": "array", "items": True},
        {"type": "tuple"},
        {"$ref": "https://example.org/schema.json"},
        {"$ref": "#/$defs/Missing"},
        {"$ref": "#/properties/a", "properties": {"a": {"type": "string"}}},
        {"$ref": "#/$defs/T", "$defs": {"T": closed(next={"$ref": "#/$defs/T"})}},
        {"$ref": "#/$defs/A", "$defs": {"A": closed(b={"$ref": "#/$defs/B"}), "B": closed(a={"$ref": "#/$defs/A"})}},
    ],
)
def test_what_cannot_be_said_in_the_subset_is_not_said_wrongly(schema: dict[str, Any]) -> None:
    assert accepted_schema(schema) is None


def test_the_schema_itself_is_left_alone() -> None:
    schema = {**closed(["a"], a={"type": ["string", "null"], "minLength": 1}), "$defs": {"T": {"type": "null"}}}
    before = repr(schema)
    accepted_schema(schema)
    assert repr(schema) == before
