"""A JSON Schema in the subset that a model API can hold its answer to.

The constraints that the subset lacks (``minimum``, ``pattern``, ``maxItems`` …) move into the description, so that
the model still reads them; the answer is checked against the full schema here anyway. Source of the subset: the
structured-outputs page of the Claude API and the SDK's ``transform_schema`` (anthropic 2.12).
"""

from __future__ import annotations

from typing import Any, cast

from orchestrator.jsonish import dumps

_FORMATS = frozenset(["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"])
_SIMPLE = frozenset(["string", "integer", "number", "boolean", "null"])
_UNSAID = frozenset(("$schema", "$id", "$comment", "default", "examples", "title", "additionalProperties"))


class _Inexpressible(Exception):
    """The schema allows what no schema of the subset does, such as any value at all or an object with free keys."""


def accepted_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """``schema`` in the subset; None where it cannot be said there (free keys, any value, recursion, outside
    references).
    """
    try:
        defs = {name: part for key in ("$defs", "definitions") for name, part in schema.get(key, {}).items()}
        rest = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
        _refuse_recursion(rest, defs, ())
        out = _accepted(rest)
        if defs:
            out["$defs"] = {name: _accepted(part) for name, part in defs.items()}
    except _Inexpressible:
        return None
    return out


def _refuse_recursion(part: Any, defs: dict[str, Any], above: tuple[str, ...]) -> None:
    if isinstance(part, list):
        for item in cast("list[Any]", part):
            _refuse_recursion(item, defs, above)
    if not isinstance(part, dict):
        return
    for key, item in cast("dict[str, Any]", part).items():
        if key == "$ref" and isinstance(item, str):
            name = item.rpartition("/")[2]
            if item not in (f"#/$defs/{name}", f"#/definitions/{name}") or name not in defs or name in above:
                raise _Inexpressible
            _refuse_recursion(defs[name], defs, (*above, name))
        else:
            _refuse_recursion(item, defs, above)


def _accepted(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict):
        raise _Inexpressible
    left = dict(cast("dict[str, Any]", schema))
    if "$ref" in left:
        return {"$ref": f"#/$defs/{left['$ref'].rpartition('/')[2]}"}
    out = _shape(left)
    if said := left.pop("description", None):
        out["description"] = said
    unsaid = {key: value for key, value in left.items() if key not in _UNSAID}
    if unsaid:
        note = ", ".join(f"{key}: {dumps(value)}" for key, value in sorted(unsaid.items()))
        out["description"] = f"{out['description']}\n\n{{{note}}}" if "description" in out else f"{{{note}}}"
    return out


def _shape(left: dict[str, Any]) -> dict[str, Any]:
    """What decides the shape, taken out of ``left``."""
    kind = left.pop("type", None)
    if "const" in left:
        return {"const": _primitive(left.pop("const"))}
    if "enum" in left:
        return {"enum": [_primitive(value) for value in left.pop("enum")]}
    for key, said in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
        if key in left:
            return {said: [_accepted(part) for part in left.pop(key)]}
    if isinstance(kind, list):
        return _one_of_kinds(cast("list[str]", kind), left)
    if kind == "object":
        return _object(left)
    if kind == "array":
        return _array(left)
    if kind not in _SIMPLE:
        raise _Inexpressible
    if kind == "string" and left.get("format") in _FORMATS:
        return {"type": kind, "format": left.pop("format")}
    return {"type": kind}


def _one_of_kinds(kinds: list[str], left: dict[str, Any]) -> dict[str, Any]:
    """``{"type": ["string", "null"], "pattern": …}``: one variant per type, each with its own constraints."""
    description = left.pop("description", None)
    own = dict(left)
    left.clear()
    if description is not None:
        left["description"] = description
    return {"anyOf": [{"type": "null"} if kind == "null" else _accepted({**own, "type": kind}) for kind in kinds]}


def _object(left: dict[str, Any]) -> dict[str, Any]:
    free = left.pop("additionalProperties", None)
    properties: dict[str, Any] = left.pop("properties", {})
    # The subset closes every object. One without named keys would then have to be empty, and one with free keys could
    # not use them.
    if free not in (None, False, True) or (free is not False and not properties):
        raise _Inexpressible
    out: dict[str, Any] = {
        "type": "object",
        "properties": {name: _accepted(part) for name, part in properties.items()},
        "additionalProperties": False,
    }
    if "required" in left:
        out["required"] = left.pop("required")
    return out


def _array(left: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "array", "items": _accepted(left.pop("items", None))}
    if left.get("minItems") in (0, 1):
        out["minItems"] = left.pop("minItems")
    return out


def _primitive(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        raise _Inexpressible
    return value
