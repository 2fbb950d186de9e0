"""Expressions: parsed once, checked against types, evaluated purely; ``values`` is what the compiler stores of them."""

from __future__ import annotations

from orchestrator.expr.errors import EvalError, LimitReached, NullValue, WrongType
from orchestrator.expr.evaluate import evaluate
from orchestrator.expr.lex import ExprSyntaxError
from orchestrator.expr.nodes import Expr
from orchestrator.expr.parse import Reference, parse, parse_template, references
from orchestrator.expr.runtime import ABSENT, Absent, Fields, Limits, secret_marker

__all__ = [
    "ABSENT",
    "Absent",
    "EvalError",
    "Expr",
    "ExprSyntaxError",
    "Fields",
    "LimitReached",
    "Limits",
    "NullValue",
    "Reference",
    "WrongType",
    "evaluate",
    "parse",
    "parse_template",
    "references",
    "secret_marker",
]
