"""No tree at all, however little sense it makes, brings down the checker, the evaluator or what stands around them."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.expr import ABSENT, EvalError, WrongType, evaluate, references
from orchestrator.expr.check import Namespace, check
from orchestrator.expr.nodes import (
    MACROS,
    Binary,
    Call,
    Conditional,
    Expr,
    Index,
    ListLiteral,
    Literal,
    Macro,
    MapLiteral,
    Name,
    Select,
    Unary,
)
from orchestrator.expr.parse import parse, unparse
from orchestrator.expr.runtime import Limits
from orchestrator.expr.signatures import FUNCTIONS
from orchestrator.jsonish import clean
from orchestrator.spec.types import ANY, INTEGER, STRING, Faceted, Facets, ListType, ObjectType, SchemaType, nullable
from tests.unit.expr.generate import SCOPE

EXAMPLES = 10_000 if os.environ.get("ORCH_PROVE") else 150

TYPES: dict[str, Any] = {
    **SCOPE,
    "any": ANY,
    "faceted": Faceted(nullable(INTEGER), Facets(minimum=1)),
    "schema": SchemaType({"type": ["array", "null"], "items": {"type": "object", "properties": {"a": {"const": 1}}}}),
    "file": ObjectType({"f": STRING}, frozenset({"f"})),
    "steps": Namespace({"a": ListType(Faceted(STRING, Facets(description="d")))}, "step"),
    "gone": ANY,
}
ENV: dict[str, Any] = {
    "i": 3, "j": 2, "x": 1.5, "y": 2.0, "s": "a,b", "t": "1h", "b": True, "n": None, "m": "x", "li": [1, 2], "ln": [0.5],
    "ls": ["a", "b"], "lni": [1, None], "lli": [[1], []], "o": {"a": 1, "s": "x"}, "lo": [{"a": 1, "s": "x"}], "e": "ship",
    "when": "2026-01-31T12:00:00Z", "any": {"a": [True]}, "faceted": None, "schema": [{"a": 1}], "file": {},
    "steps": {"a": ["x"]}, "gone": ABSENT,
}  # fmt: skip

LEAVES = st.one_of(
    st.sampled_from(sorted(TYPES)).map(Name),
    st.sampled_from([None, True, 0, 1, -1, 2**63 - 1, 0.5, "", "a", "1h", "(", "2026-01-31T12:00:00Z"]).map(Literal),
)
FIELDS = st.sampled_from(["a", "s", "q", "f", "zz"])
BOUND = st.sampled_from(["v", "w", "s"])


def _nest(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    operators = st.sampled_from(["||", "&&", "==", "!=", "<", ">=", "in", "+", "-", "*", "/", "%"])
    return st.one_of(
        st.builds(Select, inner, FIELDS),
        st.builds(Index, inner, inner),
        st.builds(Unary, st.sampled_from("!-"), inner),
        st.builds(Binary, operators, inner, inner),
        st.builds(Conditional, inner, inner, inner),
        st.builds(ListLiteral, st.lists(inner, max_size=2).map(tuple)),
        st.builds(MapLiteral, st.lists(st.tuples(inner, inner), max_size=2).map(tuple)),
        st.builds(Call, st.sampled_from(sorted(FUNCTIONS)), st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Macro, st.sampled_from(MACROS), inner, BOUND, inner | BOUND.map(Name)),
        st.builds(Macro, st.just("map"), inner, BOUND, inner, inner),
    )


TREES = st.recursive(LEAVES, _nest, max_leaves=8)


@pytest.mark.timeout(300)
@settings(max_examples=EXAMPLES, deadline=None)
@given(TREES)
def test_any_tree(tree: Expr) -> None:
    expr = parse(unparse(tree))
    checked = check(expr, TYPES, expected=ListType(STRING))
    for problem in checked.problems:
        assert 0 <= problem.offset <= problem.end <= expr.end
        assert problem.message
    assert all(one.root in TYPES or one.root in ("v", "w") for one in references(expr))
    value = _value(expr)
    if isinstance(value, EvalError):
        assert value.offset is not None
        assert value.message
    elif value is not ABSENT:
        assert clean(value) == value


def _value(expr: Expr) -> object:
    try:
        return evaluate(expr, ENV, now=0, seed="", limits=Limits(steps=1000, size=10_000))
    except EvalError as error:
        return error


@pytest.mark.timeout(300)
@settings(max_examples=EXAMPLES, deadline=None)
@given(TREES)
def test_what_passes_does_not_fail_on_types(tree: Expr) -> None:
    expr = parse(unparse(tree))
    scope = {name: type_ for name, type_ in TYPES.items() if name not in ("any", "gone")}
    if check(expr, scope).problems or "parse_json" in unparse(expr):
        return
    value = _value(expr)
    if isinstance(value, WrongType):
        # Types with nothing in common meet in any, which is not checked.
        assert "any" in _all_types(expr, scope), (unparse(expr), value.message)


def _all_types(expr: Expr, scope: dict[str, Any]) -> str:
    from orchestrator.expr.check import Checker

    checker = Checker(scope, frozenset())
    checker.type(expr)
    return " ".join(str(type_) + ("any" if "..." in str(type_) else "") for type_ in checker.types.values())
