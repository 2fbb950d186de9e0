"""The names that an expression uses: each known where it stands, and each step an edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.expr.check import Namespace
from orchestrator.expr.parse import references
from orchestrator.spec.types import ObjectType

if TYPE_CHECKING:
    from orchestrator.compiler.report import Path, Report
    from orchestrator.compiler.scope import Frame, Scope
    from orchestrator.expr.nodes import Expr
    from orchestrator.expr.parse import Reference

_FIELDS: Final = {"inputs": ("E231", "input"), "secrets": ("E238", "secret")}
_ELSEWHERE: Final = {
    "steps": "named tools, agents and models see no steps: pass the value on by `with` or `prompt`",
    "secrets": "secrets may stand in `headers`, `env`, `auth`, `query`, `url` and `api_key` alone, or they could leak",
    "run": "rules of scripted models see `agent turn prompt last results inputs`",
    "item": "an item is seen inside a map's `do` and `key`, by the name in `as`",
    "index": "an index is seen inside a map's `do` and `key`",
    "error": "an error is seen in `on_error`, `on_failure` and `finally`",
    "args": "arguments are seen inside a tool's definition",
    "step": "a step is seen in its `undo`",
    "round": "a round is seen inside a loop",
}


def refer(report: Report, scope: Scope, expr: Expr, at: Path) -> bool:
    """Check each name that ``expr`` uses, and note its steps as edges. False where one of them is unknown."""
    known = [_refer(report, scope, found, at) for found in references(expr)]
    return all(known)


def _refer(report: Report, scope: Scope, found: Reference, at: Path) -> bool:
    span = (found.offset, found.end)
    if found.root not in scope.names:
        _unknown_root(report, scope, found.root, at, span)
        return False
    if found.root == "steps":
        return _step(report, scope, found, at)
    report.used.add((found.root, found.fields[0] if found.fields else ""))
    if found.root in _FIELDS and found.fields:
        code, what = _FIELDS[found.root]
        fields = scope.names[found.root]
        if isinstance(fields, (ObjectType, Namespace)) and found.fields[0] not in fields.fields:
            report.unknown(code, what, found.fields[0], fields.fields, at, span=span)
            return False
    return True


def _unknown_root(report: Report, scope: Scope, root: str, at: Path, span: tuple[int, int]) -> None:
    inputs = scope.names.get("inputs")
    if root in _ELSEWHERE:
        hint = "limits take `inputs` alone" if set(scope.names) == {"inputs"} else _ELSEWHERE[root]
        code = "E239" if root == "secrets" else "E235"
        report.error(code, f"`{root}` is not in scope here", at, span=span, hint=hint)
    elif isinstance(inputs, ObjectType) and root in inputs.fields:
        report.error("E235", f"unknown name `{root}`", at, span=span, hint=f"did you mean `inputs.{root}`?")
    elif scope.find(root) is not None:
        report.error("E235", f"unknown name `{root}`", at, span=span, hint=f"did you mean `steps.{root}.output`?")
    else:
        report.unknown("E235", "name", root, scope.names, at, span=span)


def _step(report: Report, scope: Scope, found: Reference, at: Path) -> bool:
    span = (found.offset, found.end)
    if not found.fields:
        report.error(
            "E235", "`steps` needs the name of one step behind it", at, span=span, hint="write steps.NAME.output"
        )
        return False
    name = found.fields[0]
    frame = scope.find(name)
    if frame is None:
        _unknown_step(report, scope, name, at, span)
        return False
    if frame.step == name:
        report.error("E401", f"the step `{name}` refers to itself", at, span=span, hint=_OWN)
        return False
    if not _visible(report, frame, name, at, span):
        return False
    frame.needs.add(name)
    return True


_OWN: Final = "a fallback sees what failed as `error`"


def _visible(report: Report, frame: Frame, name: str, at: Path, span: tuple[int, int] | None) -> bool:
    if name in frame.names.late and not frame.sees_late:
        hint = "steps of `finally` run when the others have ended: only they and `outputs` see each other"
        report.error("E236", f"the step `{name}` runs later, in `finally`", at, span=span, hint=hint)
        return False
    return True


def _unknown_step(report: Report, scope: Scope, name: str, at: Path, span: tuple[int, int] | None) -> None:
    inner = scope.elsewhere.get(name)
    if inner is not None:
        hint = "from outside only the output of the group, map or switch around it is seen"
        notes = (report.note("it stands here", inner),)
        report.error("E236", f"the step `{name}` is out of sight here", at, span=span, hint=hint, notes=notes)
        return
    known = [step for frame in reversed(scope.frames) for step in frame.names.at]
    report.unknown("E230", "step", name, known, at, span=span)


def need(report: Report, scope: Scope, name: str, at: Path) -> None:
    """Note an entry of ``needs``: a sibling in the same block."""
    frame = scope.frames[-1]
    if name == frame.step:
        report.error("E401", f"the step `{name}` needs itself", at)
    elif name in frame.names.at:
        if _visible(report, frame, name, at, None):
            frame.needs.add(name)
    elif scope.find(name) is not None:
        report.error("E236", f"the step `{name}` is no sibling", at, hint="let the group around this step need it")
    else:
        _unknown_step(report, scope, name, at, None)
