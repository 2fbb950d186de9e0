"""How the OpenAI APIs are asked for output of a schema. Answers are checked against the full schema here anyway.

Source: the structured-outputs guide of the API. Under ``strict`` every property is required, every object closed,
the root an object, and ``allOf`` unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from orchestrator.jsonish import dumps
from orchestrator.providers.output_schema import accepted_schema

if TYPE_CHECKING:
    from collections.abc import Iterator


def named_schema(schema: dict[str, Any] | None) -> tuple[dict[str, Any] | None, str]:
    """The schema in the form that the APIs take, or the words that ask for it where it has none."""
    if schema is None:
        return None, ""
    accepted = accepted_schema(schema)
    if accepted is None or accepted.get("type") != "object" or any("allOf" in part for part in _parts(accepted)):
        return None, f"Your final answer is one JSON value and nothing else. It fits this JSON Schema:\n{dumps(schema)}"
    return accepted, ""


def is_strict(schema: dict[str, Any]) -> bool:
    """Whether the API can be held to it: an optional property has no form there."""
    return all(
        set(part.get("required", ())) == set(part["properties"]) for part in _parts(schema) if "properties" in part
    )


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and those inside of it."""
    if isinstance(schema, list):
        for item in cast("list[Any]", schema):
            yield from _parts(item)
    if not isinstance(schema, dict):
        return
    found = cast("dict[str, Any]", schema)
    yield found
    for key, item in found.items():
        if key in ("properties", "$defs"):
            yield from _parts(list(item.values()))
        elif key in ("items", "anyOf", "allOf"):
            yield from _parts(item)
