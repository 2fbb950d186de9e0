"""The published JSON Schema of the language, made of the models, for editors and for validators of others."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast, get_args, get_origin

from orchestrator.frozen import field, slotted
from orchestrator.spec.annotations import annotation_of, bare
from orchestrator.spec.document import Document
from orchestrator.spec.model import Bound, Model, Named, Schema, Told, key_of

if TYPE_CHECKING:
    from collections.abc import Callable

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
_WORDS: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}
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
    making = _Making()
    whole = making.model(Document)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A pipeline, version 1",
        **whole,
        "$defs": dict(sorted({**making.definitions, "Type": _TYPE}.items())),
    }


@slotted
class _Making:
    """Schemas of annotations. ``definitions`` gathers those of models and of named kinds of values."""

    definitions: dict[str, dict[str, Any]] = field(default_factory=dict[str, Any])

    def schema(self, annotation: Any) -> dict[str, Any]:
        origin = get_origin(annotation)
        if origin is Annotated:
            return self.noted(*get_args(annotation))
        if origin is list:
            return {"items": self.schema(get_args(annotation)[0]), "type": "array"}
        if origin is dict:
            return self.mapping(*get_args(annotation))
        if origin is Literal:
            values = get_args(annotation)
            return {**({"const": values[0]} if len(values) == 1 else {"enum": list(values)}), "type": "string"}
        if annotation is Any:
            return {}
        if issubclass(annotation, Model):
            return self.named(annotation.__name__, lambda: self.model(annotation))
        return {"type": _WORDS[annotation]}

    def named(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if name not in self.definitions:
            self.definitions[name] = {}  # for those that hold themselves
            self.definitions[name] = make()
        return {"$ref": f"#/$defs/{name}"}

    def noted(self, inner: Any, *notes: Any) -> dict[str, Any]:
        name = next((note.name for note in notes if isinstance(note, Named)), None)
        return self.bare(inner, *notes) if name is None else self.named(name, lambda: self.bare(inner, *notes))

    def bare(self, inner: Any, *notes: Any) -> dict[str, Any]:
        said = [note.schema for note in notes if isinstance(note, Schema)]
        if said:
            return dict(said[-1])
        if any(isinstance(note, Told) for note in notes):
            return {"oneOf": [self.schema(member) for member in get_args(inner)]}
        found = self.schema(inner)
        for bound in notes:
            if isinstance(bound, Bound):
                entries = "Properties" if get_origin(inner) is dict else "Items"
                limits = {"minimum": bound.ge, "maximum": bound.le, f"min{entries}": bound.least}
                limits[f"max{entries}"] = bound.most
                found |= {word: limit for word, limit in limits.items() if limit is not None}
        return _sorted(found)

    def mapping(self, name: Any, item: Any) -> dict[str, Any]:
        key, value = self.schema(name), self.schema(item)
        if "pattern" not in key:
            return {"additionalProperties": value or True, "type": "object"}
        return {
            "patternProperties": {key["pattern"]: value},
            "propertyNames": {"maxLength": key["maxLength"]},
            "type": "object",
            "additionalProperties": False,
        }

    def model(self, model: type[Model]) -> dict[str, Any]:
        texts: dict[str, str] = {}
        for base in reversed(model.__mro__):
            if issubclass(base, Model) and base is not Model:
                texts |= _texts(base)
        properties: dict[str, Any] = {}
        for name in model.known:
            found = self.schema(bare(annotation_of(model, name), notes=True))
            properties[key_of(name)] = {**found, "description": texts[name]} if name in texts else found
        return _sorted(
            {
                "additionalProperties": False,
                "description": model.__doc__,
                **({"oneOf": [{"required": [name]} for name in model.one]} if model.one else {}),
                "properties": properties,
                "required": [key_of(name) for name in model.known if name in model.needed],
                "type": "object",
            }
        )


def _sorted(schema: dict[str, Any]) -> dict[str, Any]:
    """In the order of words, but for what closes a mapping by patterns; without empty lists."""
    last = {"additionalProperties": False} if "patternProperties" in schema else {}
    return {key: schema[key] for key in sorted(schema) if key not in last and schema[key] != []} | last


def _texts(model: type[Model]) -> dict[str, str]:
    """The text under each field of a class."""
    body = cast("ast.ClassDef", ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]).body
    texts: dict[str, str] = {}
    for before, after in zip(body, body[1:], strict=False):
        match before, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = text
            case _:
                pass
    return texts
