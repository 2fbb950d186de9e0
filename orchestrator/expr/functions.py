"""The functions of the language. Arguments have the kinds of their signatures, and none is absent, when they are
called.

Each takes the state of the evaluation and its arguments; what it makes is bounded by the limits in the state.
"""

from __future__ import annotations

import base64 as _base64
import binascii
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from urllib.parse import quote

from orchestrator import jsonish
from orchestrator.expr.errors import EvalError, NullValue, WrongType
from orchestrator.expr.runtime import (
    State,
    compare,
    equal,
    finite,
    integer,
    json_text,
    kind,
    order_of,
    sort_key,
    to_text,
    wrong,
)
from orchestrator.expr.times import Duration, Timestamp, parse_duration, parse_timestamp
from orchestrator.regex import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Items: TypeAlias = "list[Any]"
Function: TypeAlias = "Callable[..., Any]"

_INTEGER: Final = regex(r"[+-]?[0-9]{1,25}")
_DECIMAL: Final = regex(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TRUE: Final = ("true", "True", "TRUE", "t", "T", "1")
_FALSE: Final = ("false", "False", "FALSE", "f", "F", "0")


def _size(_: State, value: str | Items | dict[str, Any]) -> int:
    return len(value)


def _compact(_: State, items: Items) -> Items:
    return [item for item in items if item is not None]


def _string(state: State, value: Any) -> str:
    return state.text(to_text(value, state))


def _int(_: State, value: float | str | Timestamp) -> int:
    if isinstance(value, Timestamp):
        return value.micros // 1_000_000
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise EvalError(f"{_shown(value)} is not a whole number")
        return integer(int(value))
    return integer(int(finite(value)))


def _double(_: State, value: float | str | Duration) -> float:
    if isinstance(value, Duration):
        return value.micros / 1_000_000
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise EvalError(f"{_shown(value)} is not a number")
    try:
        return finite(float(value))
    except OverflowError:
        raise EvalError("the number is too large") from None


def _bool(_: State, value: bool | str) -> bool:
    if isinstance(value, bool):
        return value
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise EvalError(f"{_shown(value)} is neither true nor false")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _contains(_: State, text: str, part: str) -> bool:
    return part in text


def _starts_with(_: State, text: str, part: str) -> bool:
    return text.startswith(part)


def _ends_with(_: State, text: str, part: str) -> bool:
    return text.endswith(part)


def _matches(state: State, text: str, pattern: str) -> bool:
    from orchestrator.expr.patterns import searcher

    state.charge(len(text) >> 4)
    try:
        return searcher(pattern)(text)
    except ValueError as error:
        raise EvalError(str(error)) from None


def _split(state: State, text: str, separator: str, limit: int = -1) -> Items:
    if limit == 0:
        return []
    pieces = text.split(separator, limit - 1 if limit > 0 else -1) if separator else _characters(text, limit)
    state.charge(len(pieces))
    return pieces


def _characters(text: str, limit: int) -> list[str]:
    if limit < 0 or limit >= len(text):
        return list(text)
    return [*text[: limit - 1], text[limit - 1 :]]


def _join(state: State, items: Items, separator: str = "") -> str:
    for item in items:
        if order_of(item) is None:
            raise (
                NullValue("join does not take null", hint="compact(list) leaves nulls out")
                if item is None
                else (WrongType(f"join takes scalars, not {kind(item)}", hint="json(x) makes text of it"))
            )
    texts = [to_text(item, state) for item in items]
    state.fits(sum(map(len, texts)) + len(separator) * (len(texts) - 1))
    return separator.join(texts)


def _trim(_: State, text: str) -> str:
    return text.strip()


def _lower(_: State, text: str) -> str:
    return text.lower()


def _upper(state: State, text: str) -> str:
    return state.text(text.upper())


def _replace(state: State, text: str, old: str, new: str, limit: int = -1) -> str:
    found = text.count(old)
    times = found if limit < 0 else min(limit, found)
    state.fits(len(text) + times * (len(new) - len(old)))
    return text.replace(old, new, times)


def _json(state: State, value: Any) -> str:
    return json_text(value, state)


def _parse_json(state: State, text: str) -> Any:
    state.charge(len(text) >> 4)
    try:
        value = jsonish.clean(jsonish.loads(text))
    except ValueError as error:
        raise EvalError(f"this is not JSON: {error}") from None
    return state.made(value)


def _base64_of(state: State, text: str) -> str:
    return state.text(_base64.b64encode(text.encode("utf-8", "surrogatepass")).decode())


def _unbase64(_: State, text: str) -> str:
    try:
        return jsonish.clean_text(_base64.b64decode(text, validate=True).decode())
    except (binascii.Error, ValueError):
        raise EvalError("this is not base64 of UTF-8 text") from None


def _url_encode(state: State, text: str) -> str:
    return state.text(quote(text, safe=""))


def _least(_: State, *values: Any) -> Any:
    return _extreme("min", values, -1)


def _greatest(_: State, *values: Any) -> Any:
    return _extreme("max", values, 1)


def _extreme(name: str, values: tuple[Any, ...], sign: int) -> Any:
    items = cast("Items", values[0]) if len(values) == 1 and isinstance(values[0], list) else list(values)
    if not items:
        raise EvalError(f"{name} of an empty list", hint=f"give a value for none: {name}(list + [0])")
    sort_key(items, name)
    best = items[0]
    for item in items[1:]:
        if compare(item, best, name) == sign:
            best = item
    return best


def _sum(_: State, items: Items) -> int | float:
    total: int | float = 0
    for item in items:
        if type(item) is not int and type(item) is not float:
            raise wrong("sum", item)
        total = total + item
    return integer(total) if isinstance(total, int) else finite(total)


def _range(state: State, first: int, last: int | None = None) -> Items:
    start, stop = (0, first) if last is None else (first, last)
    state.charge(max(0, stop - start))
    return list(range(start, stop))


def _slice(_: State, value: str | Items, start: int, stop: int | None = None) -> Any:
    return value[max(start, 0) : len(value) if stop is None else max(stop, 0)]


def _flatten(state: State, items: Items) -> Items:
    flat: Items = []
    for item in items:
        if type(item) is list:
            state.charge(len(cast("Items", item)))
            flat.extend(cast("Items", item))
        else:
            flat.append(item)
    return flat


def _distinct(state: State, items: Items) -> Items:
    kept: Items = []
    seen: set[tuple[bool, Any]] = set()
    for item in items:
        if isinstance(item, (list, dict)):
            state.charge(len(kept))
            if not any(equal(item, other, state) for other in kept):
                kept.append(item)
        elif (key := (isinstance(item, bool), item)) not in seen:
            seen.add(key)
            kept.append(item)
    return kept


def _keys(_: State, value: dict[str, Any]) -> Items:
    return sorted(value)


def _values(_: State, value: dict[str, Any]) -> Items:
    return [value[key] for key in sorted(value)]


def _object(_: State, pairs: Items) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for pair in pairs:
        if not isinstance(pair, list):
            raise WrongType("object takes a list of [key, value]")
        if len(cast("Items", pair)) != 2:
            raise EvalError("object takes a list of [key, value]")
        key, value = cast("Items", pair)
        if not isinstance(key, str):
            raise wrong("the key of an object", key)
        made[key] = value
    return made


def _sort(_: State, items: Items) -> Items:
    sort_key(items, "sort")
    return sorted(items)


def _timestamp(_: State, value: str | Timestamp) -> Timestamp:
    if isinstance(value, Timestamp):
        return value
    try:
        return parse_timestamp(value)
    except ValueError as error:
        raise EvalError(str(error)) from None


def _duration(_: State, value: str | Duration) -> Duration:
    if isinstance(value, Duration):
        return value
    try:
        return parse_duration(value)
    except ValueError as error:
        raise EvalError(str(error)) from None


def _now(state: State) -> str:
    return str(Timestamp(state.now))


def _hash(state: State, value: Any) -> str:
    return jsonish.digest(json_text(value, state).encode("utf-8", "surrogatepass"))


IMPLEMENTATIONS: Final[Mapping[str, Function]] = {
    "size": _size,
    "compact": _compact,
    "string": _string,
    "int": _int,
    "double": _double,
    "bool": _bool,
    "contains": _contains,
    "startsWith": _starts_with,
    "endsWith": _ends_with,
    "matches": _matches,
    "split": _split,
    "join": _join,
    "trim": _trim,
    "lower": _lower,
    "upper": _upper,
    "replace": _replace,
    "json": _json,
    "parse_json": _parse_json,
    "base64": _base64_of,
    "unbase64": _unbase64,
    "url_encode": _url_encode,
    "min": _least,
    "max": _greatest,
    "sum": _sum,
    "range": _range,
    "slice": _slice,
    "flatten": _flatten,
    "distinct": _distinct,
    "keys": _keys,
    "values": _values,
    "object": _object,
    "sort": _sort,
    "timestamp": _timestamp,
    "duration": _duration,
    "now": _now,
    "hash": _hash,
}
"""All functions but ``has``, ``default`` and ``uuid``, which are compiled in place."""

MAKES: Final = frozenset(
    {"compact", "split", "range", "slice", "flatten", "distinct", "keys", "values", "object", "sort"}
)
"""The functions that make lists and objects, whose size and depth are measured."""


def kind_matches(value: Any, kinds: frozenset[str]) -> bool:
    """Whether a value is of one of the kinds of a parameter. A whole number may stand for an integer."""
    match value:
        case None:
            return "any" in kinds
        case _ if "any" in kinds or "value" in kinds:
            return True
        case bool():
            return "boolean" in kinds
        case int():
            return "integer" in kinds or "number" in kinds
        case float():
            return "number" in kinds or ("integer" in kinds and value.is_integer())
        case str():
            return "text" in kinds
        case _:
            return kind(value) in kinds
