"""An evaluator of CEL to compare with, and the documented differences spelled out in CEL itself.

``translate`` gives an expression in CEL. Plainly it is the same text but for names of functions and the widening of
integers, which CEL asks to be written. With ``differences`` what docs/expressions.md lists as different is written
out as well: the comparison falls back on that where the plain form disagrees.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import math
import urllib.parse
from datetime import UTC, datetime, timedelta
from typing import Any

import cel
from cel.stdlib import add_stdlib_to_context, split

from orchestrator.expr.check import Checker
from orchestrator.expr.narrow import NOTHING
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
)
from orchestrator.spec.types import IntegerType, NumberType, StringType, Type, bare
from tests.unit.expr.generate import SCOPE

# The callbacks' errors are results here, not news.
logging.getLogger("cel").setLevel(logging.CRITICAL)

NOW = 1_767_225_600_000_000
NOW_TEXT = "2026-01-01T00:00:00Z"
_CEL_NAMES = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "modulo"}


def translate(expr: Expr, *, differences: bool) -> str:
    """CEL of an expression."""
    checker = Checker(SCOPE, NOTHING)
    checker.type(expr)
    return _Translator(checker.types, differences).of(expr)


class _Translator:
    def __init__(self, types: dict[int, Type], differences: bool) -> None:
        self.types = types
        self.differences = differences

    def kind(self, expr: Expr) -> Type:
        return bare(self.types.get(id(expr), StringType()))

    def of(self, expr: Expr, guarded: bool = False) -> str:
        match expr:
            case Literal(value=str(text)):
                return json.dumps(text, ensure_ascii=False)
            case Literal(value=float(number)):
                return f"({number!r})"
            case Literal(value=value):
                return (
                    {None: "null", True: "true", False: "false"}[value]
                    if value is None or isinstance(value, bool)
                    else f"({value})"
                )
            case Name():
                return expr.name
            case Select():
                return self.select(expr.target, json.dumps(expr.field), f".{expr.field}", guarded)
            case Index():
                index = self.of(expr.index)
                return self.select(expr.target, index, f"[{index}]", guarded)
            case Unary(operator="-") if self.differences:
                return f"op_negate({self.of(expr.operand)})"
            case Unary():
                return f"({expr.operator}({self.of(expr.operand)}))"
            case Binary():
                return self.binary(expr)
            case Conditional():
                return f"({self.of(expr.condition)} ? {self.of(expr.then)} : {self.of(expr.otherwise)})"
            case ListLiteral():
                return f"[{', '.join(self.of(item) for item in expr.items)}]"
            case MapLiteral():
                return "{" + ", ".join(f"{self.of(k)}: {self.of(v)}" for k, v in expr.entries) + "}"
            case Macro():
                return self.macro(expr)
            case Call():
                return self.call(expr)

    def select(self, target: Expr, field: str, plain: str, guarded: bool) -> str:
        inner = self.of(target, guarded)
        if self.differences:
            return f"{'guarded_item' if guarded else 'item'}({inner}, {field})"
        return f"({inner}){plain}"

    def binary(self, expr: Binary) -> str:
        operator = expr.operator
        null = [isinstance(side, Literal) and side.value is None for side in (expr.left, expr.right)]
        stops = operator in ("==", "!=") and any(null)
        left, right = self.of(expr.left, stops), self.of(expr.right, stops)
        if self.differences and operator == "&&":
            return f"({left} ? ({right} ? true : false) : false)"
        if self.differences and operator == "||":
            return f"({left} ? true : ({right} ? true : false))"
        if self.differences and operator in _CEL_NAMES:
            return f"op_{_CEL_NAMES[operator]}({left}, {right})"
        kinds = (self.kind(expr.left), self.kind(expr.right))
        if operator in _CEL_NAMES and {type(kind) for kind in kinds} == {IntegerType, NumberType}:
            left, right = (
                f"double({s})" if isinstance(k, IntegerType) else s for s, k in zip((left, right), kinds, strict=True)
            )
        return f"({left} {operator} {right})"

    def macro(self, expr: Macro) -> str:
        target = self.of(expr.target)
        if self.differences:
            target = f"items({target})"
        body = self.of(expr.body)
        if expr.name == "sort_by":
            return f"sort_by({target}, ({target}).map({expr.variable}, {body}))"
        where = f"{self.of(expr.where)}, " if expr.where is not None else ""
        return f"({target}).{expr.name}({expr.variable}, {where}{body})"

    def call(self, expr: Call) -> str:
        stops = expr.name in ("has", "default")
        args = [self.of(arg, stops) for arg in expr.args]
        match expr.name:
            case "has":
                return (
                    f"({args[0]} != null)"
                    if self.differences
                    else f"has({args[0]})"
                    if isinstance(expr.args[0], Select)
                    else f"({args[0]} != null)"
                )
            case "default":
                return f"({args[0]} != null ? {args[0]} : {args[1]})"
            case "size" if not self.differences:
                return f"size({args[0]})"
            case "string" | "int" | "double" if not self.differences:
                return f"{expr.name}({args[0]})"
            case "contains" if self.differences:
                return f"op_contains({', '.join(args)})"
            case "contains" | "startsWith" | "endsWith" | "matches":
                return f"({args[0]}).{expr.name}({args[1]})"
            case "timestamp" | "duration":
                return f"{expr.name}({args[0]})"
            case name:
                return f"{'op_' if name in ('size', 'string', 'int', 'double') else ''}{name}({', '.join(args)})"


def context(env: dict[str, Any]) -> cel.Context:
    """An environment of the oracle."""
    made = cel.Context(variables=env)
    add_stdlib_to_context(made)
    for name, function in REFERENCE.items():
        made.add_function(name, function)
    return made


def ask(source: str, where: cel.Context) -> tuple[bool, Any]:
    """Whether there is a value, and the value, in plain form."""
    try:
        return True, plain(cel.evaluate(source, where))
    except Exception as error:  # noqa: BLE001 - the oracle raises every class there is, and all mean the same here
        return False, error


def plain(value: Any) -> Any:
    """A value as it would leave an expression of ours; ValueError for what JSON has not."""
    match value:
        case float() if not math.isfinite(value):
            raise ValueError("not finite")
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case timedelta():
            return length_text(value)
        case datetime():
            return moment_text(value)
        case _:
            return value


def length_text(value: timedelta) -> str:
    rest = abs(value) // timedelta(microseconds=1)
    text = ""
    for unit, size in (
        ("d", 86400 * 10**6),
        ("h", 3600 * 10**6),
        ("m", 60 * 10**6),
        ("s", 10**6),
        ("ms", 1000),
        ("us", 1),
    ):
        text += f"{rest // size}{unit}" if rest >= size else ""
        rest %= size
    return ("-" if value < timedelta() else "") + (text or "0s")


def moment_text(value: datetime) -> str:
    utc = value.astimezone(UTC)
    fraction = f".{utc.microsecond:06d}".rstrip("0") if utc.microsecond else ""
    return f"{utc.year:04d}-{utc:%m-%dT%H:%M:%S}{fraction}Z"


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list() | tuple():
            return [_whole(item) for item in value]
        case dict():
            return {key: _whole(item) for key, item in value.items()}
        case _:
            return plain(value)


def _json(value: Any) -> str:
    return json.dumps(_whole(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _string(value: Any) -> str:
    if value is None:
        raise ValueError("null")
    return value if isinstance(value, str) else str(whole) if isinstance(whole := _whole(value), str) else _json(value)


def _check_int(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise OverflowError
    return value


def _arithmetic(operator: str) -> Any:
    def apply(a: Any, b: Any) -> Any:
        numbers = [isinstance(side, (int, float)) and not isinstance(side, bool) for side in (a, b)]
        if all(numbers):
            return _numbers(operator, a, b)
        if operator == "add" and type(a) is type(b) and isinstance(a, (str, list, timedelta)):
            return a + b
        times = {timedelta, datetime}
        if {type(a), type(b)} <= times and operator == "add" and not isinstance(a, datetime) | isinstance(b, timedelta):
            return b + a
        if {type(a), type(b)} <= times and operator == "add" and isinstance(b, timedelta):
            return a + b
        if (
            {type(a), type(b)} <= times
            and operator == "subtract"
            and not (isinstance(a, timedelta) and isinstance(b, datetime))
        ):
            return a - b
        raise TypeError(operator)

    return apply


def _numbers(operator: str, a: Any, b: Any) -> Any:
    whole = isinstance(a, int) and isinstance(b, int)
    match operator:
        case "add":
            result = a + b
        case "subtract":
            result = a - b
        case "multiply":
            result = a * b
        case "divide":
            if b == 0:
                raise ZeroDivisionError
            result = (abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)) if whole else a / b
        case _:
            if a != int(a) or b != int(b):
                raise TypeError(operator)
            _check_int(int(a) // int(b))
            return int(math.fmod(int(a), int(b))) if abs(a) < 2**50 and abs(b) < 2**50 else _modulo(int(a), int(b))
    if whole:
        return _check_int(result)
    return plain(float(result))


def _negate(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("negate")
    return -value if isinstance(value, float) else _check_int(-value)


def _modulo(a: int, b: int) -> int:
    return (abs(a) % abs(b)) * (-1 if a < 0 else 1)


def _item(guarded: bool) -> Any:
    def look_up(target: Any, key: Any) -> Any:
        if guarded and target is None:
            return None
        if isinstance(target, dict) and isinstance(key, str):
            return target.get(key)
        if (
            isinstance(target, list)
            and isinstance(key, (int, float))
            and not isinstance(key, bool)
            and key == int(key) >= 0
        ):
            return target[int(key)]
        raise TypeError("item")

    return look_up


def _int(value: Any) -> int:
    if isinstance(value, datetime):
        return math.floor((value - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    if isinstance(value, str):
        if not value.removeprefix("-").removeprefix("+").isdigit():
            raise ValueError(value)
        return _check_int(int(value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("int")
    return _check_int(int(value))


def _double(value: Any) -> float:
    if isinstance(value, timedelta):
        return value / timedelta(seconds=1)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError("double")
    if isinstance(value, str) and not value.replace("-", "").replace(".", "").isdigit():
        raise ValueError(value)
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("list")
    return value


def _slice(value: Any, start: int, stop: int) -> Any:
    if not isinstance(value, (str, list)):
        raise TypeError("slice")
    return value[max(start, 0) : max(stop, 0)]


def _size(value: Any) -> int:
    if not isinstance(value, (str, list, dict)):
        raise TypeError("size")
    return len(value)


def _ordered(values: list[Any]) -> list[Any]:
    if len({float if isinstance(value, int) and not isinstance(value, bool) else type(value) for value in values}) > 1:
        raise TypeError("order")
    if any(isinstance(value, (list, dict)) or value is None for value in values):
        raise TypeError("order")
    return values


def _sort_by(items: list[Any], keys: list[Any]) -> list[Any]:
    _ordered(keys)
    return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]


def _extreme(pick: Any) -> Any:
    def apply(*args: Any) -> Any:
        values = args[0] if len(args) == 1 and isinstance(args[0], list) else list(args)
        return pick(_ordered(values))

    return apply


def _join(items: list[Any], separator: str = "") -> str:
    if any(isinstance(item, (list, dict)) for item in items):
        raise TypeError("join")
    return separator.join(_string(item) for item in items)


def _distinct(items: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for item in items:
        if not any(_same(item, other) for other in kept):
            kept.append(item)
    return kept


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return _json(a) == _json(b) if type(a) is type(b) else a == b


def _sum(items: list[Any]) -> Any:
    if any(isinstance(item, bool) or not isinstance(item, (int, float)) for item in items):
        raise TypeError("sum")
    total = sum(items)
    return _check_int(total) if isinstance(total, int) else plain(total)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    return split(_text(text), _text(separator), limit)


def _keys(value: Any) -> list[str]:
    if not isinstance(value, dict):
        raise TypeError("keys")
    return sorted(value)


REFERENCE: dict[str, Any] = {
    # What CEL and its libraries have not, or have otherwise.
    "compact": lambda items: [item for item in _list(items) if item is not None],
    "lower": lambda text: _text(text).lower(),
    "upper": lambda text: _text(text).upper(),
    "json": _json,
    "parse_json": lambda text: plain(json.loads(_text(text))),
    "base64": lambda text: base64.b64encode(_text(text).encode()).decode(),
    "unbase64": lambda text: base64.b64decode(_text(text), validate=True).decode(),
    "url_encode": lambda text: urllib.parse.quote(_text(text), safe=""),
    "range": lambda *bounds: list(range(*bounds)),
    "slice": _slice,
    "keys": _keys,
    "values": lambda value: [value[key] for key in _keys(value)],
    "object": lambda pairs: {_text(key): value for key, value in pairs},
    "sort_by": _sort_by,
    "sort": lambda items: sorted(_ordered(_list(items))),
    "min": _extreme(min),
    "max": _extreme(max),
    "sum": lambda items: _sum(_list(items)),
    "join": lambda items, *separator: _join(_list(items), *map(_text, separator)),
    "distinct": lambda items: _distinct(_list(items)),
    "split": _split,
    "now": lambda: NOW_TEXT,
    "uuid": lambda: hashlib.sha256(str(datetime.now(UTC)).encode()).hexdigest()[:36],
    "hash": lambda value: hashlib.sha256(_json(value).encode()).hexdigest(),
    "flatten": lambda items: [x for item in _list(items) for x in (item if isinstance(item, list) else [item])],
    "op_negate": _negate,
    "items": lambda value: sorted(value) if isinstance(value, dict) else _list(value),
    "item": _item(False),
    "guarded_item": _item(True),
    "op_contains": lambda text, part: _text(part) in _text(text),
    "op_size": _size,
    "op_string": _string,
    "op_int": _int,
    "op_double": _double,
    **{f"op_{name}": _arithmetic(name) for name in _CEL_NAMES.values()},
}
