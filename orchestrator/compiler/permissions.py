"""``approve``, ``allow`` and ``deny`` of a tool: read, and checked against what the tool is called and takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.agents.builtin import FILE_OPERATIONS
from orchestrator.expr.rules import BadRule, read_rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.compiler.fields import Place
    from orchestrator.compiler.report import Path
    from orchestrator.expr.rules import Rule
    from orchestrator.graph.nodes import ToolDef
    from orchestrator.spec.tools import ToolBase
    from orchestrator.spec.types import ObjectType

_WORDS: Final = {"never": "false", "always": "true"}
_FORM: Final = "write `NAME`, or `NAME(argument: pattern, …)` with `*` for any text; `\\` before a sign that is meant"


def condition(data: Any, at: Path, place: Place) -> str:
    """When a call has to be approved, as the source of an expression over ``args``."""
    return _WORDS[data] if isinstance(data, str) and data in _WORDS else place.bare(data, at)


def approve_of(tool: ToolBase, place: Place) -> str | None:
    """The tool's ``approve``; None where nothing is written."""
    return None if tool.approve is None else condition(tool.approve, (*tool.at, "approve"), place)


def check_rules(tool: ToolBase, definition: ToolDef, given: ObjectType | None, place: Place) -> None:
    """Every rule means a call that there can be."""
    for key, rules in (("allow", tool.allow), ("deny", tool.deny)):
        for index, text in enumerate(rules or ()):
            at = (*tool.at, key, index)
            try:
                rule = read_rule(text)
            except BadRule as error:
                place.report.error("E480", f"this is no rule: {error}", at, hint=_FORM)
            else:
                _check(rule, definition, given, tool.with_ or (), at, place)


def _check(
    rule: Rule, definition: ToolDef, given: ObjectType | None, fixed: Iterable[str], at: Path, place: Place
) -> None:
    known = names_of(definition)
    if known is None:
        # A server lists its tools later; that they are its own is known now.
        if not rule.name.startswith((f"{definition.name}.", "*")):
            place.report.unknown("E233", "tool in a rule", rule.name, [f"{definition.name}.NAME"], at)
        return
    met = [name for name in known if rule.covers(name)]
    if not met:
        place.report.unknown("E233", "tool in a rule", rule.name, known, at)
        return
    arguments = _arguments(met, definition, given, fixed)
    for name, _ in rule.args:
        if arguments is not None and name not in arguments:
            place.report.unknown("E243", f"argument of `{rule.name}`", name, arguments, at)


def names_of(definition: ToolDef) -> list[str] | None:
    """What calls of a tool are named; None where only a server tells."""
    if definition.server is not None:
        tools = definition.server.tools
        return None if tools is None else [f"{definition.name}.{name}" for name in tools]
    return [f"{definition.name}.{name}" for name in definition.operations] or [definition.name]


def _arguments(
    names: Iterable[str], definition: ToolDef, given: ObjectType | None, fixed: Iterable[str]
) -> list[str] | None:
    """The arguments that some of the named calls take; None where that is not known."""
    if definition.operations:
        operations = [FILE_OPERATIONS[name.rpartition(".")[2]] for name in names]
        # A rule over `path` is of what a glob finds.
        return sorted({"path"} | {argument for one in operations for argument in one.input["properties"]})
    return None if given is None or not given.closed else sorted({*given.fields, *fixed})
