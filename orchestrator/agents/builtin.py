"""Tools that are built in, as models see them. Their schemas check what a model sends."""

from __future__ import annotations

from typing import Any, Literal

from orchestrator.frozen import frozen


@frozen
class BuiltIn:
    """What a built-in tool says of itself, its arguments as a JSON Schema, and what a second call would do."""

    description: str
    input: dict[str, Any]
    effect: Literal["read", "idempotent"] = "read"


def _object(required: dict[str, str], optional: dict[str, str] | None = None) -> dict[str, Any]:
    """A closed object of simple types."""
    properties: dict[str, Any] = {name: {"type": kind} for name, kind in (required | (optional or {})).items()}
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_RANGE = {"offset": "integer", "limit": "integer"}

FILE_OPERATIONS: dict[str, BuiltIn] = {
    "read": BuiltIn(
        "Read a text file. offset is the first line (from 1), limit the number of lines.",
        _object({"path": "string"}, _RANGE),
    ),
    "list": BuiltIn("List a folder, by default the root.", _object({}, {"path": "string"})),
    "glob": BuiltIn(
        "Find files whose path matches a pattern; ** stands for any folders.", _object({"pattern": "string"})
    ),
    "grep": BuiltIn(
        "Find lines that match a regular expression (RE2).", _object({"pattern": "string"}, {"path": "string"})
    ),
    "write": BuiltIn(
        "Write a whole text file, in place of what was there.",
        _object({"path": "string", "content": "string"}),
        "idempotent",
    ),
    "edit": BuiltIn(
        "Replace the one place where old stands in a file by new.",
        _object({"path": "string", "old": "string", "new": "string"}),
        "idempotent",
    ),
}

READ_RESULT = BuiltIn(
    "Read the rest of a tool result that was cut. offset and limit count characters.", _object({"id": "string"}, _RANGE)
)
