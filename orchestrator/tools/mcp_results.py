"""What servers say, as results: lists of tools and answers to calls, with bounds. Plain JSON in, plain JSON out."""

from __future__ import annotations

from typing import Any, cast

from orchestrator.jsonish import dumps
from orchestrator.spec.values import schema_error
from orchestrator.tools.policy import head

MOST_TOOLS = 500
"""Tools of one server that a list holds; with more, the file has to name those that are used."""

MOST_LISTED = 1024 * 1024
"""Bytes of a whole list."""

DESCRIPTION = 4096
SCHEMA = 65_536
"""Bytes of a tool's description, which is cut, and of its input schema, beyond which the tool is left out."""

UNUSABLE = "orchestrator/unusable"
"""Under which the ``_meta`` of a tool that cannot be read says why."""

_NAME = 256
_HINTS = {"readOnlyHint": "read_only", "idempotentHint": "idempotent", "destructiveHint": "destructive"}


class BadList(Exception):
    """A list that cannot be used."""


def listed(tools: list[dict[str, Any]], wanted: list[str] | None) -> dict[str, Any]:
    """``{"tools": [{"name", "description", "input", "hints"?}], "left_out"?: [{"name", "why"}]}``, by name.

    ``tools`` as they came, all pages of them; ``wanted``: those that the file names. Raises BadList where one of these
    is not there, or the list is too large.
    """
    by_name = {str(tool["name"]): tool for tool in reversed(tools)}  # of two with one name the first
    names = sorted(by_name) if wanted is None else wanted
    missing = [name for name in names if name not in by_name]
    if missing:
        raise BadList(f"the server has no tool {missing[0]!r}; it has {_some(sorted(by_name))}")
    if len(names) > MOST_TOOLS:
        raise BadList(f"the server has {len(names)} tools, over {MOST_TOOLS}; name those that are used in `tools`")
    found: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for name in names:
        schema, why = _input(by_name[name])
        if why is None:
            found.append(_tool(by_name[name], schema))
        else:
            left_out.append({"name": head(name, _NAME), "why": why})
    result: dict[str, Any] = {"tools": found} | ({"left_out": left_out} if left_out else {})
    size = len(dumps(result).encode())
    if size > MOST_LISTED:
        raise BadList(
            f"the server's list has {size} bytes, over {MOST_LISTED}; name the tools that are used in `tools`"
        )
    return result


def _some(names: list[str]) -> str:
    shown = ", ".join(head(name, 60) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "none"


def _input(tool: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The schema of a tool's arguments, and why the tool cannot be offered, None where it can."""
    if not 0 < len(tool["name"]) <= _NAME:
        return {}, f"its name has {len(tool['name'])} characters"
    unusable = (tool.get("_meta") or {}).get(UNUSABLE)
    if unusable is not None:
        return {}, f"it cannot be read: {unusable}"
    schema = {key: value for key, value in tool["inputSchema"].items() if key != "$schema"}
    if len(dumps(schema).encode()) > SCHEMA:
        return {}, f"its input schema has over {SCHEMA} bytes"
    if schema.get("type") != "object":
        return {}, "its input is not an object"
    if schema_error(schema) is None:
        return schema, None
    # Patterns of other kinds than RE2's are common, and the server checks what it is sent itself.
    plain = _without_patterns(schema)
    return plain, schema_error(plain)


def _without_patterns(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_patterns(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_patterns(value)
        for key, value in cast("dict[str, Any]", schema).items()
        if not (key == "pattern" and isinstance(value, str)) and key != "patternProperties"
    }


def _tool(tool: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    description = str(tool.get("description") or tool.get("title") or tool["name"])
    if len(description.encode()) > DESCRIPTION:
        description = head(description, DESCRIPTION) + "…"
    hints: dict[str, Any] = tool.get("annotations") or {}
    known = {ours: hints[theirs] for theirs, ours in _HINTS.items() if isinstance(hints.get(theirs), bool)}
    found = {"name": tool["name"], "description": description, "input": schema}
    return found | ({"hints": known} if known else {})


def answered(result: dict[str, Any]) -> Any:
    """What a call gives: structured content, else its text, else all its parts, media by type and size alone."""
    structured = result.get("structuredContent")
    if structured is not None:
        return structured
    parts = [_part(part) for part in result.get("content", ())]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def said(result: dict[str, Any]) -> str:
    """The text of a result, for an error."""
    texts = [str(part["text"]) for part in result.get("content", ()) if part.get("type") == "text"]
    if not texts and result.get("structuredContent") is not None:
        return dumps(result["structuredContent"])
    return "\n".join(texts) or "the tool says that it failed, and not why"


def shape(error: Exception) -> str:
    """What is wrong with an answer: the first of what the SDK's models found, by its place."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    first: dict[str, Any] = errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}".removeprefix(": ")


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """One part of a result; bytes are said by their number."""
    match part:
        case {"type": "text", "text": text}:
            return {"type": "text", "text": text}
        case {"type": "resource", "resource": dict() as resource}:
            return {"type": "resource", **_bodiless(cast("dict[str, Any]", resource), "blob")}
        case _:
            return _bodiless(part, "data")


def _bodiless(part: dict[str, Any], body: str) -> dict[str, Any]:
    kept = {key: value for key, value in part.items() if key not in (body, "annotations", "_meta", "icons")}
    if isinstance(part.get(body), str):
        kept["size"] = len(part[body]) * 3 // 4 - part[body][-2:].count("=")
    return kept
