"""What a condition says about null, and where references to secrets may stand. Both look at the tree alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from orchestrator.expr.nodes import Binary, Call, Conditional, Expr, ListLiteral, Literal, MapLiteral, Unary, walk
from orchestrator.expr.parse import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Path: TypeAlias = "tuple[str, ...]"
"""A root and its fields: ``steps.find.output`` is ``("steps", "find", "output")``."""

NOTHING: frozenset[Path] = frozenset()


def known_when(expr: Expr, truth: bool) -> frozenset[Path]:
    """The paths that are not null where ``expr`` is ``truth``: of ``x != null``, ``has(x)``, ``x == 'a'`` and their
    like."""
    match expr:
        case Unary(operator="!"):
            return known_when(expr.operand, not truth)
        case Binary(operator="&&") if truth:
            return known_when(expr.left, True) | known_when(expr.right, True)
        case Binary(operator="||") if not truth:
            return known_when(expr.left, False) | known_when(expr.right, False)
        case Binary(operator=("==" | "!=") as operator):
            return _compared(expr, truth is (operator == "=="))
        case Call(name="has", args=(arg,)) if truth:
            return _prefixes(arg)
        case _:
            return NOTHING


def _compared(expr: Binary, same: bool) -> frozenset[Path]:
    for side, other in ((expr.left, expr.right), (expr.right, expr.left)):
        if isinstance(other, Literal) and same is (other.value is not None):
            return _prefixes(side)
    return NOTHING


def _prefixes(expr: Expr) -> frozenset[Path]:
    path = path_of(expr) or ()
    return frozenset(path[: length + 1] for length in range(len(path)))


def misused_secrets(expr: Expr, *, text: bool = False) -> Iterator[Expr]:
    """The references to secrets that stand where their value would be looked at: it can only be joined to text.

    With ``text`` the whole becomes text. A list or an object does so as JSON, in which no reference is found again.
    """
    path = path_of(expr)
    if path is not None:
        return
    match expr:
        case Binary(operator="+", left=left, right=right):
            parts = [left, right]
        case Binary(operator="==" | "!=") if any(
            isinstance(s, Literal) and s.value is None for s in (expr.left, expr.right)
        ):
            parts = [expr.left, expr.right]
        case Conditional():
            parts = [expr.condition, expr.then, expr.otherwise]
        case Call(name="default" | "has", args=args):
            parts = list(args)
        case ListLiteral(items=items) if not text:
            parts = list(items)
        case MapLiteral(entries=entries) if not text:
            parts = [value for _, value in entries]
            for key, _ in entries:
                yield from _secrets(key)
        case _:
            yield from _secrets(expr)
            return
    for part in parts:
        yield from misused_secrets(part, text=text)


def _secrets(expr: Expr) -> Iterator[Expr]:
    for node in walk(expr):
        path = path_of(node)
        if path is not None and path[0] == "secrets" and len(path) == 2:
            yield node
