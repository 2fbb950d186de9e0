"""Switches: a case for every value, and a value for every case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.expr.check import shown
from orchestrator.expr.runtime import DEFAULT_LIMITS, State, to_text
from orchestrator.regex import regex
from orchestrator.spec.types import ANY, BooleanType, EnumType, IntegerType, bare, may_be_null, without_null

if TYPE_CHECKING:
    from orchestrator.compiler.drafts import Draft
    from orchestrator.compiler.report import Report
    from orchestrator.spec.types import Type

_INTEGER = regex(r"-?(0|[1-9][0-9]*)")


def check(report: Report, draft: Draft) -> None:
    """No ``default`` is for enums and booleans alone, with every value in a case; keys compare as text."""
    assert draft.over is not None
    subject, at = draft.over.type, (*draft.at, "switch")
    values = _values(subject)
    if values is None:
        if draft.otherwise is None and (report.whole or subject != ANY):
            hint = "add `default`, or switch over an enum or a boolean with a case for each value"
            report.error("E244", f"a switch over {shown(subject)} needs a `default`", at, hint=hint)
        if isinstance(without_null(bare(subject)), IntegerType):
            for key in draft.cases:
                if not _INTEGER.fullmatch(key):
                    report.error(
                        "E245", f"the case `{key}` cannot match an integer", (*draft.at, "cases", key), key=True
                    )
        return
    for key in draft.cases:
        if key not in values:
            report.unknown("E245", "case", key, values, (*draft.at, "cases", key), key=True)
    missing = [value for value in values if value not in draft.cases]
    if draft.otherwise is not None:
        if not missing and not may_be_null(subject):
            report.warn("W503", "`default` never runs: every value has its case", (*draft.at, "default"))
    elif missing:
        listed = ", ".join(f"`{value}`" for value in missing)
        report.error("E244", f"no case for {listed}", at, hint="add the cases, or a `default`")
    elif may_be_null(subject):
        report.error("E244", "no case for null", at, hint="add a `default`, or switch over default(x, …)")


def _values(subject: Type) -> list[str] | None:
    match without_null(bare(subject)):
        case BooleanType():
            return ["true", "false"]
        case EnumType(values=values):
            return [to_text(value, State({}, 0, "", DEFAULT_LIMITS, None)) for value in values]
        case _:
            return None
