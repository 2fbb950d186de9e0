"""Which steps may end well for what is around them, and yet have no output: absent there, null in a group's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from orchestrator.compiler.fields import Leaf
from orchestrator.expr.nodes import Binary, Call, Conditional, Literal, children
from orchestrator.expr.parse import path_of

if TYPE_CHECKING:
    from orchestrator.compiler.drafts import Draft
    from orchestrator.compiler.scope import Scope
    from orchestrator.expr.nodes import Expr


def may_be_absent(draft: Draft) -> bool:
    """A step with a condition, one whose failure is passed over, and one that leans on such a step."""
    if draft.node.condition is not None or draft.node.on_error == "continue":
        return True
    over = () if draft.over is None else (draft.over,)
    return any(leans(site.tree, site.scope) for site in (*draft.sites, *over))


def leans(tree: Any, scope: Scope) -> bool:
    """Whether a field is absent where a step that it refers to is. What asks, or gives another value, is not."""
    match tree:
        case Leaf():
            return any(not isinstance(part, str) and _leans(part, scope) for part in tree.parts)
        case dict():
            return any(leans(item, scope) for item in cast("dict[str, Any]", tree).values())
        case list():
            return any(leans(item, scope) for item in cast("list[Any]", tree))
        case _:
            return False


def _leans(expr: Expr, scope: Scope) -> bool:
    match expr:
        case Call(name="default" | "has"):
            return False
        case (
            Binary(operator="==" | "!=", left=Literal(value=None))
            | Binary(operator="==" | "!=", right=Literal(value=None))
        ):
            return False
        case Conditional():
            return _leans(expr.condition, scope)
        case _:
            path = path_of(expr)
            if path is None:
                return any(_leans(child, scope) for child in children(expr))
    if len(path) < 3 or path[0] != "steps" or path[2] not in ("output", "files"):
        return False
    frame = scope.find(path[1])
    return frame is not None and path[1] in frame.names.absent
