"""The published JSON Schema of the language, made of the models, for editors and for validators of others."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any, Final, cast

from orchestrator.spec.document import Document
from orchestrator.spec.fields import Model, key_of

SCHEMA_FILE: Final = "schemas/pipeline.v1.schema.json"

_FACETS: Final = {
    "type": {"$ref": "#/$defs/Type"},
    "enum": {"type": "array", "minItems": 1},
    "schema": {"type": ["object", "boolean"], "description": "A JSON Schema, draft 2020-12"},
    "description": {"type": "string"},
    "default": {},
    "env": {"type": "string", "description": "A variable whose value is the default, where it is set"},
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "minLength": {"type": "integer", "minimum": 0},
    "maxLength": {"type": "integer", "minimum": 0},
    "pattern": {"type": "string", "minLength": 1},
    "minItems": {"type": "integer", "minimum": 0},
    "maxItems": {"type": "integer", "minimum": 0},
}
_FIELDS: Final = {
    "type": "object",
    "propertyNames": {"pattern": r"^[A-Za-z_][A-Za-z0-9_-]*\??$"},
    "additionalProperties": {"$ref": "#/$defs/Type"},
}
_TYPE: Final = {
    "description": "A type: `string`, `integer`, `T?`, `[T]`, `{a: T, b?: T}`, or `{type: T, …}` with facets",
    "oneOf": [
        {"type": "string", "pattern": r"^\s*([A-Za-z][A-Za-z0-9_]*\s*\??\s*$|[\[{])"},
        {"type": "array", "minItems": 1, "maxItems": 1, "items": {"$ref": "#/$defs/Type"}},
        {
            "type": "object",
            "if": {"anyOf": [{"required": ["type"]}, {"required": ["enum"]}, {"required": ["schema"]}]},
            "then": {"properties": _FACETS, "additionalProperties": False},
            "else": {
                "if": {"required": ["object"], "maxProperties": 1, "properties": {"object": {"type": "object"}}},
                "then": {"properties": {"object": _FIELDS}},
                "else": _FIELDS,
            },
        },
    ],
}


def pipeline_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a pipeline file."""
    from pydantic.json_schema import models_json_schema

    _, made = models_json_schema([(Document, "validation")])
    definitions: dict[str, Any] = {**_tidy(made["$defs"]), "Type": _TYPE}
    for model in _models(Model):
        if model.__name__ in definitions:
            _describe(model, definitions[model.__name__])
    whole = definitions.pop("Document")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A pipeline, version 1",
        **whole,
        "$defs": dict(sorted(definitions.items())),
    }


def _models(base: type[Model]) -> list[type[Model]]:
    return [one for child in base.__subclasses__() for one in (child, *_models(child))]


def _tidy(schema: Any) -> Any:
    """Without titles and null defaults, and with the one definition of a TYPE."""
    if isinstance(schema, list):
        return [_tidy(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    if "x-type" in schema:
        return {"$ref": "#/$defs/Type"}
    tidy: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", schema).items():
        if key == "properties":
            tidy[key] = {name: _tidy(item) for name, item in value.items()}
        elif not (key == "title" or (key == "default" and value is None)):
            tidy[key] = _tidy(value)
    if "patternProperties" in tidy:
        tidy["additionalProperties"] = False
    return tidy


def _describe(model: type[Model], definition: dict[str, Any]) -> None:
    """Give the properties of a model the texts that stand under its fields in the source."""
    for base in reversed(model.__mro__):
        if issubclass(base, Model) and base is not Model:
            for name, text in _texts(base).items():
                definition["properties"][key_of(name)]["description"] = text


def _texts(model: type[Model]) -> dict[str, str]:
    """The text under each field of a class. pydantic can collect them too, but does so at each start."""
    body = cast("ast.ClassDef", ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]).body
    texts: dict[str, str] = {}
    for before, after in zip(body, body[1:], strict=False):
        match before, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = text
            case _:
                pass
    return texts
