"""Values checked against a JSON Schema (draft 2020-12), and put in its shape."""

from __future__ import annotations

import json
import marshal
from collections import OrderedDict
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, cast

_MAX_DEPTH: Final = 64
_SPARED: Final = 20
"""So many values are looked at in passing before a process loads the library that checks any."""
_looked = count()

# Validators are costly to build and cheap to use; a run needs few of them.
_MAX_VALIDATORS: Final = 512
_NO_REFERENCES: Final = 2  # the newest format of `marshal` in which one value has one form
_validators: OrderedDict[bytes, Any] = OrderedDict()
_of_schema: OrderedDict[int, tuple[Mapping[str, Any], Any]] = OrderedDict()
"""By the identity of the schema, which lives as long as it is here: to make its text again takes longer than to check
most values. The schemas of a graph never change."""


def _validator(schema: Mapping[str, Any]) -> Any:
    seen = _of_schema.get(id(schema))
    if seen is not None:
        return seen[1]
    found = _by_text(schema)
    _of_schema[id(schema)] = (schema, found)
    if len(_of_schema) > _MAX_VALIDATORS:
        _of_schema.popitem(last=False)
    return found


def _by_text(schema: Mapping[str, Any]) -> Any:
    try:
        # Two schemas of one text may get two of these keys, and then a validator each.
        key = marshal.dumps(cast("Any", schema), _NO_REFERENCES)
    except ValueError:  # no plain values
        key = json.dumps(schema, sort_keys=True).encode()
    found = _validators.get(key)
    if found is None:
        import jsonschema_rs

        found = jsonschema_rs.Draft202012Validator(
            json.loads(json.dumps(schema)),
            pattern_options=jsonschema_rs.RegexOptions(),
            offline=True,
            validate_formats=False,
        )
        _validators[key] = found
        if len(_validators) > _MAX_VALIDATORS:
            _validators.popitem(last=False)
    return found


def schema_error(schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a JSON Schema, as a sentence; None where it can be used."""
    import jsonschema_rs

    try:
        _validator(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        message = getattr(error, "message", None) or str(error)
        return f"this is not a JSON Schema that can be used: {str(message).splitlines()[0]}"
    return None


def check_value(schema: Mapping[str, Any], value: Any) -> list[str]:
    """What is wrong with a value, each with the JSON pointer of its place first (none for the value itself)."""
    if not _validators and next(_looked) < _SPARED and _plainly_right(schema, value):
        return []
    validator = _validator(schema)
    if validator.is_valid(value):
        return []
    problems: list[str] = []
    for error in validator.iter_errors(value):
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in error.instance_path)
        problems.append(f"{pointer}: {error.message}" if pointer else str(error.message))
    return problems


def shape_value(schema: Mapping[str, Any], value: Any) -> Any:
    """``value`` in the shape of ``schema``: fields that a closed object has not, and optional ones that are null, are
    dropped; a number without a fraction is an integer where one is wanted. Other values stay as they are."""
    return _Shaper(schema).shape(schema, value, 0)


class _Shaper:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root

    def shape(self, schema: Any, value: Any, depth: int) -> Any:
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return value
        schema = cast("Mapping[str, Any]", schema)
        if "$id" in schema and schema is not self.root:
            return _Shaper(schema).shape(schema, value, depth)
        schema = self.resolve(schema)
        branch = self.branch(schema, value)
        if branch is not None:
            return self.shape(branch, value, depth + 1)
        if isinstance(value, dict):
            return self.object(schema, cast("dict[str, Any]", value), depth)
        if isinstance(value, list):
            items = None if "prefixItems" in schema else schema.get("items")
            return [self.shape(items, item, depth + 1) for item in cast("list[Any]", value)]
        if isinstance(value, float) and value.is_integer() and _wants_integer(schema):
            return int(value)
        return value

    def resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(_MAX_DEPTH):
            ref = schema.get("$ref")
            if not isinstance(ref, str) or not ref.startswith("#/"):
                break
            target: Any = self.root
            for part in ref[2:].split("/"):
                target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
            if not isinstance(target, Mapping):
                break
            schema = cast("Mapping[str, Any]", target)
        return schema

    def branch(self, schema: Mapping[str, Any], value: Any) -> Mapping[str, Any] | None:
        """The branch of a union that the value is shaped by: the only one that is not null."""
        branches = schema.get("anyOf", schema.get("oneOf"))
        if not isinstance(branches, list) or value is None:
            return None
        real = [item for item in cast("list[Any]", branches) if item != {"type": "null"}]
        return cast("Mapping[str, Any]", real[0]) if len(real) == 1 and isinstance(real[0], Mapping) else None

    def object(self, schema: Mapping[str, Any], value: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return value
        known = cast("Mapping[str, Any]", properties)
        closed = schema.get("additionalProperties") is False and not schema.get("patternProperties")
        required = cast("list[Any]", schema.get("required", []))
        shaped: dict[str, Any] = {}
        for name, item in value.items():
            if name in known:
                if item is not None or name in required:
                    shaped[name] = self.shape(known[name], item, depth + 1)
            elif not closed:
                shaped[name] = item
        return shaped


def _wants_integer(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "integer" or (isinstance(kind, list) and "integer" in kind and "number" not in kind)


# --- what is plainly right ----------------------------------------------------------------------------------------

_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
_SAID: Final = frozenset(("type", "title", "description", "default"))
_OF_OBJECTS: Final = _SAID | {"properties", "required", "additionalProperties"}


def _plainly_right(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value is certainly right: a scalar, or a flat object of scalars, as most arguments are. False says
    nothing.

    It spares a process that checks few values the library of JSON Schema.
    """
    if not isinstance(value, dict):
        return _is_scalar(schema, value)
    if schema.get("type") != "object" or not _OF_OBJECTS.issuperset(schema):
        return False
    given = cast("dict[str, Any]", value)
    properties, needed = schema.get("properties", {}), schema.get("required", [])
    if not (isinstance(properties, dict) and isinstance(needed, list)):
        return False
    known = cast("dict[str, Any]", properties)
    if any(name not in given for name in cast("list[Any]", needed)):
        return False
    if schema.get("additionalProperties", True) is not True and not known.keys() >= given.keys():
        return False
    return all(name not in known or _is_scalar(known[name], item) for name, item in given.items())


def _is_scalar(schema: Any, item: Any) -> bool:
    """Whether an item is certainly a scalar of this schema."""
    if not isinstance(schema, dict) or not _SAID.issuperset(cast("dict[str, Any]", schema)):
        return False
    return type(item) in _KINDS.get(str(cast("dict[str, Any]", schema).get("type")), ())
