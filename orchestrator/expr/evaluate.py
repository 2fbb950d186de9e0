"""Evaluation: each node becomes a closure once, and is called with the state of one evaluation.

Strictly from left to right: ``&&`` and ``||`` look at their right side only when the left one leaves the answer open.
ABSENT travels through everything but ``default``, ``has``, ``== null``, ``!= null`` and a branch not taken. Inside
these four a path is guarded: a field or an index of null is null there, not an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never, cast

from orchestrator.expr.errors import EvalError, LimitReached, NullValue, WrongType
from orchestrator.expr.functions import IMPLEMENTATIONS, MAKES, kind_matches
from orchestrator.expr.macros import LOOPS
from orchestrator.expr.nodes import (
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
    walk,
)
from orchestrator.expr.operators import BINARY, negate
from orchestrator.expr.runtime import (
    ABSENT,
    DEFAULT_LIMITS,
    Absent,
    Fields,
    Limits,
    Run,
    State,
    exported,
    kind,
    measure,
    wrong,
)
from orchestrator.expr.signatures import FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ABSENT", "Absent", "EvalError", "Fields", "LimitReached", "Limits", "NullValue", "WrongType", "evaluate"]


def evaluate(
    expr: Expr,
    env: Mapping[str, Any],
    *,
    now: int,
    seed: str,
    limits: Limits = DEFAULT_LIMITS,
    stored: Callable[[dict[str, Any]], str] | None = None,
) -> Any:
    """The value of an expression: JSON, or ABSENT.

    ``env`` holds JSON, ABSENT or ``Fields`` by name; ``now`` is in microseconds since 1970; ``seed`` makes ``uuid()``;
    ``stored`` gives the path of a file value's stored copy. Raises EvalError.
    """
    value = run(expr, State(env, now, seed, limits, stored))
    kind_ = type(value)
    if kind_ is str or kind_ is int or value is ABSENT or value is None:
        return value
    if kind_ is dict or kind_ is list:
        return exported(value) if _has_times(expr) else value
    if isinstance(value, (bool, float)):
        return value
    value = exported(value)
    if not isinstance(value, str):
        message = f"{kind(value)} is no value: name one of its fields"
        raise WrongType(message, offset=expr.offset, end=expr.end)
    return value


def run(expr: Expr, state: State) -> Any:
    """The value of an expression as it is inside others: moments and durations are not text yet."""
    program = expr.cache
    if not program:
        program.append(_Compiler().compile(expr))
    return cast("Run", program[0])(state)


def _has_times(expr: Expr) -> bool:
    cache = expr.cache
    if len(cache) == 1:
        cache.append(any(isinstance(node, Call) and node.name in ("timestamp", "duration") for node in walk(expr)))
    return cast("bool", cache[1])


class _Compiler:
    """``levels`` are the names that macros bind around a node: name to place in ``State.vars``."""

    def __init__(self) -> None:
        self.levels: dict[str, int] = {}
        self.depth = 0

    def compile(self, expr: Expr, *, guarded: bool = False) -> Run:
        match expr:
            case Literal():
                value = expr.value
                return lambda state: value
            case Name():
                return self.name(expr)
            case Select():
                return _select(self.compile(expr.target, guarded=guarded), expr, guarded)
            case Index():
                return _index(self.compile(expr.target, guarded=guarded), self.compile(expr.index), expr, guarded)
            case Unary():
                return _unary(self.compile(expr.operand), expr)
            case Binary():
                return self.binary(expr)
            case Conditional():
                return self.conditional(expr)
            case ListLiteral():
                return _list([self.compile(item) for item in expr.items], expr)
            case MapLiteral():
                return _map([(self.compile(key), self.compile(value)) for key, value in expr.entries], expr)
            case Call():
                return self.call(expr)
            case Macro():
                return self.macro(expr)
            case _:
                assert_never(expr)

    def name(self, expr: Name) -> Run:
        name = expr.name
        if name in self.levels:
            level = self.levels[name]
            return lambda state: state.vars[level]

        def look_up(state: State) -> Any:
            try:
                return state.env[name]
            except KeyError:
                raise WrongType(f"unknown name {name!r}", offset=expr.offset, end=expr.end) from None

        return look_up

    def binary(self, expr: Binary) -> Run:
        operator = expr.operator
        if operator in ("&&", "||"):
            return _logic(self.compile(expr.left), self.compile(expr.right), expr)
        if operator in ("==", "!="):
            for one, other in ((expr.left, expr.right), (expr.right, expr.left)):
                if isinstance(other, Literal) and other.value is None:
                    return _is_null(self.compile(one, guarded=True), operator == "==")
        left, right, apply = self.compile(expr.left), self.compile(expr.right), BINARY[operator]

        def combine(state: State) -> Any:
            a = left(state)
            if a is ABSENT:
                return ABSENT
            b = right(state)
            if b is ABSENT:
                return ABSENT
            try:
                return apply(a, b, state)
            except EvalError as error:
                error.at(expr)
                raise

        return combine

    def conditional(self, expr: Conditional) -> Run:
        condition, then, otherwise = (self.compile(part) for part in (expr.condition, expr.then, expr.otherwise))

        def choose(state: State) -> Any:
            value = condition(state)
            if value is True:
                return then(state)
            if value is False:
                return otherwise(state)
            if value is ABSENT:
                return ABSENT
            raise wrong("a condition", value).at(expr.condition)

        return choose

    def call(self, expr: Call) -> Run:
        signature = FUNCTIONS.get(expr.name)
        if signature is None or not signature.accepts(len(expr.args)):
            message = f"there is no function {expr.name} of {len(expr.args)} arguments"

            def refuse(state: State) -> Any:
                raise WrongType(message, offset=expr.offset, end=expr.end)

            return refuse
        if expr.name == "has":
            return _is_null(self.compile(expr.args[0], guarded=True), False)
        if expr.name == "default":
            return _default([self.compile(arg, guarded=True) for arg in expr.args])
        if expr.name == "uuid":
            return _uuid(expr.offset)
        return _call([self.compile(arg) for arg in expr.args], expr)

    def macro(self, expr: Macro) -> Run:
        target = self.compile(expr.target)
        level, outer = self.depth, dict(self.levels)
        self.levels[expr.variable] = level
        self.depth += 1
        body = self.compile(expr.body)
        where = self.compile(expr.where) if expr.where is not None else None
        self.levels, self.depth = outer, level
        cost = sum(1 for _ in walk(expr.body))
        loop = LOOPS[expr.name]

        def over(state: State) -> Any:
            items = target(state)
            if type(items) is dict:
                items = sorted(items)
            elif items is ABSENT:
                return ABSENT
            elif type(items) is not list:
                raise wrong(expr.name, items).at(expr.target)
            variables = state.vars
            if len(variables) <= level:
                variables.extend([None] * (level + 1 - len(variables)))
            try:
                state.charge(cost * len(items))
                return loop(state, items, level, body, where, expr)
            except EvalError as error:
                error.at(expr)
                raise

        return over


def _select(target: Run, expr: Select, guarded: bool) -> Run:
    name = expr.field

    def select(state: State) -> Any:
        value = target(state)
        if type(value) is dict:
            return value.get(name)
        if value is ABSENT or (guarded and value is None):
            return value
        getter = getattr(value, "get_field", None)
        if getter is None:
            raise _no_field(value, name).at(expr)
        return getter(name)

    return select


def _no_field(value: Any, name: str) -> WrongType:
    if value is None:
        return NullValue(f"null has no field {name!r}", hint=f"give a value for null: default(x.{name}, ...)")
    return WrongType(f"{kind(value)} has no field {name!r}")


def _index(target: Run, index: Run, expr: Index, guarded: bool) -> Run:
    def look_up(state: State) -> Any:
        value = target(state)
        if value is ABSENT:
            return ABSENT
        at = index(state)
        if at is ABSENT or (guarded and value is None):
            return at if at is ABSENT else None
        try:
            return _item(value, at)
        except EvalError as error:
            error.at(expr)
            raise

    return look_up


def _item(value: Any, at: Any) -> Any:
    if type(value) is list:
        items = cast("list[Any]", value)
        if type(at) is float and at.is_integer():
            at = int(at)
        if type(at) is not int:
            raise wrong("the index of a list", at)
        if 0 <= at < len(items):
            return items[at]
        raise EvalError(f"index {at} of a list of {len(items)}", hint="indices count from 0")
    getter = getattr(value, "get" if type(value) is dict else "get_field", None)
    if getter is None:
        raise wrong("an index", value)
    if not isinstance(at, str):
        raise wrong("the key of an object", at)
    return getter(at)


def _unary(operand: Run, expr: Unary) -> Run:
    negation = expr.operator == "!"

    def apply(state: State) -> Any:
        value = operand(state)
        if value is ABSENT:
            return ABSENT
        if negation:
            if type(value) is bool:
                return not value
            raise wrong("'!'", value).at(expr)
        try:
            return negate(value)
        except EvalError as error:
            error.at(expr)
            raise

    return apply


def _logic(left: Run, right: Run, expr: Binary) -> Run:
    decided = expr.operator == "||"

    def apply(state: State) -> Any:
        value = left(state)
        if value is decided:
            return decided
        if value is ABSENT:
            return ABSENT
        if type(value) is not bool:
            raise wrong(f"'{expr.operator}'", value).at(expr.left)
        value = right(state)
        if type(value) is bool or value is ABSENT:
            return value
        raise wrong(f"'{expr.operator}'", value).at(expr.right)

    return apply


def _is_null(operand: Run, wanted: bool) -> Run:
    def test(state: State) -> bool:
        value = operand(state)
        return (value is None or value is ABSENT) is wanted

    return test


def _list(items: list[Run], expr: ListLiteral) -> Run:
    def make(state: State) -> Any:
        made: list[Any] = []
        for item in items:
            value = item(state)
            if value is ABSENT:
                return ABSENT
            made.append(value)
        return _made(made, state, expr)

    return make


def _map(entries: list[tuple[Run, Run]], expr: MapLiteral) -> Run:
    def make(state: State) -> Any:
        made: dict[str, Any] = {}
        for key_of, value_of in entries:
            key, value = key_of(state), ABSENT
            if key is not ABSENT:
                value = value_of(state)
            if value is ABSENT:
                return ABSENT
            if not isinstance(key, str):
                raise wrong("the key of an object", key).at(expr)
            if key in made:
                raise EvalError(f"the key {key!r} stands twice", offset=expr.offset, end=expr.end)
            made[key] = value
        return _made(made, state, expr)

    return make


def _made(value: Any, state: State, expr: Expr) -> Any:
    try:
        measure(value, state.limits.size, state.limits.depth)
    except EvalError as error:
        error.at(expr)
        raise
    return value


def _default(choices: list[Run]) -> Run:
    def choose(state: State) -> Any:
        value: Any = None
        for choice in choices:
            value = choice(state)
            if value is not None and value is not ABSENT:
                break
        return value

    return choose


def _uuid(offset: int) -> Run:
    from orchestrator.ids import derived_uuid

    def make(state: State) -> str:
        state.calls += 1
        return derived_uuid(f"{state.seed}\0{offset}\0{state.calls}")

    return make


def _call(args: list[Run], expr: Call) -> Run:
    signature, apply = FUNCTIONS[expr.name], IMPLEMENTATIONS[expr.name]
    kinds = [signature.param(index) for index in range(len(args))]
    makes = expr.name in MAKES

    def call(state: State) -> Any:
        values: list[Any] = []
        for arg in args:
            value = arg(state)
            if value is ABSENT:
                return ABSENT
            values.append(value)
        try:
            state.charge(1)
            for index, value in enumerate(values):
                if not kind_matches(value, kinds[index]):
                    raise wrong(expr.name, value)
                if type(value) is str:
                    state.charge(len(value) >> 8)
                elif type(value) is list or type(value) is dict:
                    state.charge(len(value))
                elif type(value) is float and "number" not in kinds[index] and "integer" in kinds[index]:
                    values[index] = int(value)
            result = apply(state, *values)
            return state.made(result) if makes else result
        except EvalError as error:
            error.at(expr)
            raise

    return call
