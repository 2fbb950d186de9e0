"""Whether the value of an expression fits the place that it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from orchestrator.errors import did_you_mean
from orchestrator.expr.kinds import conversion, leaving, shown
from orchestrator.expr.nodes import Call, Conditional, Expr, ListLiteral, Literal
from orchestrator.spec.types import EnumType, ListType, NullType, Type, assignable, bare, same_scalar, without_null

if TYPE_CHECKING:
    from orchestrator.expr.calls import Checking


def expect(checker: Checking, expr: Expr, type_: Type, expected: Type) -> None:
    """A problem where a value of the expression cannot stand for ``expected``. Constants are looked at one by
    one."""
    wanted = without_null(bare(expected))
    match expr:
        case Literal(value=value) if isinstance(wanted, EnumType) and value is not None:
            _enum_value(checker, value, wanted, expr)
        case Conditional():
            expect(checker, expr.then, checker.types[id(expr.then)], expected)
            expect(checker, expr.otherwise, checker.types[id(expr.otherwise)], expected)
        case Call(name="default", args=args) if len(args) > 1:
            for arg in args[:-1]:
                expect(checker, arg, without_null(bare(checker.types[id(arg)])), expected)
            expect(checker, args[-1], checker.types[id(args[-1])], expected)
        case ListLiteral(items=items) if isinstance(wanted, ListType):
            for item in items:
                expect(checker, item, checker.types[id(item)], wanted.item)
        case _:
            _conform(checker, expr, type_, expected)


def _enum_value(checker: Checking, value: object, wanted: EnumType, expr: Expr) -> None:
    if not any(same_scalar(cast("str", value), other) for other in wanted.values):
        known = tuple(str(other) for other in wanted.values)
        close = did_you_mean(str(value), known)
        hint = f"did you mean {close!r}?" if close else f"one of: {', '.join(known)}"
        checker.problem("E205", f"{value!r} is not one of the allowed values", expr, hint)


def _conform(checker: Checking, expr: Expr, type_: Type, expected: Type) -> None:
    left = leaving(type_)
    if assignable(left, expected):
        return
    if assignable(without_null(bare(left)), expected) and not isinstance(bare(left), NullType):
        checker.not_null(bare(left), expr, "this place")
        return
    checker.problem("E205", f"this is {shown(left)}, and {shown(expected)} is wanted", expr, conversion(left, expected))
