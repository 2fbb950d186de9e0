"""Constants against the types that are wanted of them, in full: enums, patterns, bounds, lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from orchestrator.compiler.fields import Leaf
from orchestrator.spec.types import ObjectType, Type, bare, check_value, to_schema, without_null

if TYPE_CHECKING:
    from orchestrator.compiler.report import Path, Report


def is_constant(tree: Any) -> bool:
    """Whether no expression stands in it."""
    match tree:
        case Leaf():
            return False
        case dict():
            return all(is_constant(item) for item in cast("dict[str, Any]", tree).values())
        case list():
            return all(is_constant(item) for item in cast("list[Any]", tree))
        case _:
            return True


def fit_constant(report: Report, value: Any, at: Path, want: Type, noun: str) -> None:
    """Say all that keeps a constant from being of a type."""
    fields = without_null(bare(want))
    if isinstance(value, dict) and isinstance(fields, ObjectType):
        given = cast("dict[str, Any]", value)
        for name in given:
            if fields.closed and name not in fields.fields:
                report.unknown("E243", noun, name, fields.fields, (*at, name), key=True)
        for name, inner in fields.fields.items():
            if name not in given and name not in fields.optional:
                report.error("E242", f"the {noun} `{name}` is missing", at, key=True)
            elif name in given and not (given[name] is None and name in fields.optional):
                fit_constant(report, given[name], (*at, name), inner, "field")
        return
    for problem in check_value(to_schema(want), value):
        report.error("E241", f"this does not fit: {problem}", at)
