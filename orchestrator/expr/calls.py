"""The types of calls: what each function and macro takes, and what it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.errors import did_you_mean
from orchestrator.expr.errors import EvalError, WrongType
from orchestrator.expr.evaluate import run
from orchestrator.expr.kinds import ORDERS, Kinds, kinds_of
from orchestrator.expr.narrow import known_when
from orchestrator.expr.nodes import MACROS, Call, Expr, ListLiteral, Literal, Macro
from orchestrator.expr.runtime import DEFAULT_LIMITS, State
from orchestrator.expr.signatures import ALIASES, FUNCTIONS
from orchestrator.spec.types import (
    ANY,
    BOOLEAN,
    DURATION,
    INTEGER,
    NEVER,
    NUMBER,
    OPEN_OBJECT,
    STRING,
    TIMESTAMP,
    AnyType,
    EnumType,
    ListType,
    NullType,
    ObjectType,
    Type,
    bare,
    enum_base,
    field_type,
    join,
    may_be_null,
    nullable,
    without_null,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.expr.narrow import Path


class Checking(Protocol):
    """What the checker offers to this module."""

    @property
    def scope(self) -> Mapping[str, object]: ...

    bound: dict[str, Type]
    known: frozenset[Path]
    types: dict[int, Type]

    def problem(self, code: str, message: str, expr: Expr, hint: str | None = None) -> Type: ...
    def problem_at(self, code: str, message: str, offset: int, end: int, hint: str | None = None) -> Type: ...
    def type(self, expr: Expr, *, guarded: bool = False) -> Type: ...
    def sure(self, expr: Expr, *, what: str) -> Type: ...
    def not_null(self, type_: Type, expr: Expr, what: str) -> Type: ...
    def want(self, kind: Type, kinds: Kinds, expr: Expr, what: str) -> bool: ...


def call_type(checker: Checking, expr: Call) -> Type:
    """The type of a call, with its arguments checked."""
    name = expr.name
    signature = FUNCTIONS.get(name)
    if signature is None:
        return _unknown_function(checker, expr)
    if not signature.accepts(len(expr.args)):
        for arg in expr.args:
            checker.type(arg)
        given = f"{len(expr.args)} argument{'s' if len(expr.args) != 1 else ''}"
        checker.problem("E204", f"{name} does not take {given}", expr, f"write {signature.usage}")
        return _gives(name)
    if name in ("has", "default"):
        return _stopper(checker, expr)
    kinds = [_argument(checker, expr, index) for index in range(len(expr.args))]
    if any(kind is None for kind in kinds):
        return _gives(name)
    _constants(checker, expr)
    special = _RESULTS.get(name)
    return special(checker, expr, [kind for kind in kinds if kind is not None]) if special else _gives(name)


def _gives(name: str) -> Type:
    return _FIXED.get(name, ANY)


def _unknown_function(checker: Checking, expr: Call) -> Type:
    for arg in expr.args:
        checker.type(arg)
    known = (*FUNCTIONS, *MACROS)
    close = ALIASES.get(expr.name) or did_you_mean(expr.name, known)
    hint = f"did you mean {close}?" if close else "functions: " + " ".join(known)
    at = (expr.name_offset, expr.name_offset + len(expr.name))
    return checker.problem_at("E203", f"unknown function {expr.name!r}", *at, hint)


def _stopper(checker: Checking, expr: Call) -> Type:
    types = [checker.type(arg, guarded=True) for arg in expr.args]
    if expr.name == "has":
        return BOOLEAN
    result: Type = NEVER
    for type_ in types:
        inner = without_null(bare(type_))
        result = result if isinstance(inner, NullType) else join(result, inner)
    return nullable(result) if may_be_null(types[-1]) else result


def _argument(checker: Checking, expr: Call, index: int) -> Type | None:
    """The type of an argument without facets; None where it does not fit."""
    arg = expr.args[index]
    kinds = FUNCTIONS[expr.name].param(index)
    type_ = bare(checker.type(arg))
    if "any" in kinds:
        return type_
    if may_be_null(type_):
        type_ = checker.not_null(type_, arg, expr.name)
    if "value" in kinds:
        return type_
    if (
        isinstance(type_, ListType)
        and "list" in kinds
        and index == 0
        and expr.name in ("min", "max")
        and len(expr.args) > 1
    ):
        checker.problem("E205", f"{expr.name} takes one list, or values", arg)
        return None
    return type_ if checker.want(type_, kinds, arg, expr.name) else None


def _constants(checker: Checking, expr: Call) -> None:
    """A call of constants is tried at once, and so is a constant pattern."""
    tried = expr
    if expr.name == "matches" and isinstance(expr.args[1], Literal):
        tried = Call("matches", (Literal(""), expr.args[1]))
    if not tried.args or not all(isinstance(arg, Literal) for arg in tried.args):
        return
    try:
        run(tried, State({}, 0, "", DEFAULT_LIMITS, None))
    except WrongType:
        return
    except EvalError as error:
        checker.problem("E208", error.message, expr.args[-1], error.hint)


def _compact(_: Checking, __: Call, kinds: list[Type]) -> Type:
    return ListType(without_null(bare(_item(kinds[0]))))


def _item(list_: Type) -> Type:
    return list_.item if isinstance(list_, ListType) else ANY


def _same(_: Checking, __: Call, kinds: list[Type]) -> Type:
    return ListType(ANY) if isinstance(kinds[0], AnyType) else kinds[0]


def _join(checker: Checking, expr: Call, kinds: list[Type]) -> Type:
    item = bare(_item(kinds[0]))
    if may_be_null(item):
        checker.problem(
            "E206", "an item may be null, and join does not take null", expr.args[0], "compact(x) leaves nulls out"
        )
    elif not kinds_of(item) & set(ORDERS):
        hint = "x.map(item, json(item)) makes text of each"
        checker.problem("E205", f"join takes a list of scalars, not of {item}", expr.args[0], hint)
    return STRING


def _sum(checker: Checking, expr: Call, kinds: list[Type]) -> Type:
    item = bare(_item(kinds[0]))
    if may_be_null(item):
        checker.problem(
            "E206", "an item may be null, and sum does not take null", expr.args[0], "compact(x) leaves nulls out"
        )
        return NUMBER
    if "number" not in kinds_of(item):
        return checker.problem("E205", f"sum takes a list of numbers, not of {item}", expr.args[0])
    if isinstance(item, AnyType):
        return ANY
    return enum_base(item.values) if isinstance(item, EnumType) else item


def _ordered(checker: Checking, expr: Expr, item: Type, what: str) -> bool:
    """Whether the values of a type have one order; a problem where they have none."""
    item = bare(item)
    if may_be_null(item):
        hint = "compact(x) leaves nulls out"
        checker.problem("E206", f"a value may be null, and {what} does not take null", expr, hint)
        return False
    if not kinds_of(item) & set(ORDERS):
        checker.problem("E205", f"{what} takes numbers, texts, booleans, moments or durations, not {item}", expr)
        return False
    return True


def _extreme(checker: Checking, expr: Call, kinds: list[Type]) -> Type:
    if len(kinds) == 1:
        item = _item(kinds[0]) if isinstance(kinds[0], (ListType, AnyType)) else kinds[0]
        return item if _ordered(checker, expr.args[0], item, expr.name) else ANY
    result, orders = kinds[0], kinds_of(kinds[0])
    for kind in kinds[1:]:
        orders &= kinds_of(kind)
        result = join(result, kind)
    if not orders & set(ORDERS):
        return checker.problem("E207", f"{expr.name} compares values of one kind", expr)
    return result


def _slice(_: Checking, __: Call, kinds: list[Type]) -> Type:
    return STRING if isinstance(kinds[0], EnumType) else kinds[0]


def _flatten(checker: Checking, expr: Call, kinds: list[Type]) -> Type:
    item = bare(_item(kinds[0]))
    if may_be_null(item):
        checker.problem(
            "E206", "an item may be null, and flatten does not take null", expr.args[0], "compact(x) leaves nulls out"
        )
    inner = bare(without_null(item))
    return ListType(inner.item if isinstance(inner, ListType) else inner)


def _values(_: Checking, __: Call, kinds: list[Type]) -> Type:
    kind = kinds[0]
    if not isinstance(kind, ObjectType) or not kind.closed:
        return ListType(ANY)
    result: Type = NEVER
    for name in kind.fields:
        result = join(result, field_type(kind, name))
    return ListType(result)


def _object(checker: Checking, expr: Call, kinds: list[Type]) -> Type:
    keys = _pair_keys(checker, expr.args[0])
    if keys is None:
        item = bare(_item(kinds[0]))
        if not isinstance(item, (ListType, AnyType)):
            return checker.problem("E205", "object takes a list of [key, value]", expr.args[0])
        keys = [(expr.args[0], _item(item))]
    for at, key in keys:
        kind = checker.not_null(bare(key), at, "the key of an object")
        checker.want(kind, frozenset({"text"}), at, "the key of an object")
    return OPEN_OBJECT


def _pair_keys(checker: Checking, expr: Expr) -> list[tuple[Expr, Type]] | None:
    """The keys with their types where the pairs are written out; None where they come from elsewhere."""
    match expr:
        case ListLiteral(items=pairs):
            found = list(pairs)
        case Macro(name="map", body=pair):
            found = [pair]
        case _:
            return None
    keys: list[tuple[Expr, Type]] = []
    for pair in found:
        if not isinstance(pair, ListLiteral) or len(pair.items) != 2:
            return None
        keys.append((pair.items[0], checker.types[id(pair.items[0])]))
    return keys


def _sort(checker: Checking, expr: Call, kinds: list[Type]) -> Type:
    _ordered(checker, expr.args[0], _item(kinds[0]), "sort")
    return _same(checker, expr, kinds)


_FIXED: Final[Mapping[str, Type]] = {
    "size": INTEGER,
    "string": STRING,
    "int": INTEGER,
    "double": NUMBER,
    "bool": BOOLEAN,
    "contains": BOOLEAN,
    "startsWith": BOOLEAN,
    "endsWith": BOOLEAN,
    "matches": BOOLEAN,
    "split": ListType(STRING),
    "join": STRING,
    "trim": STRING,
    "lower": STRING,
    "upper": STRING,
    "replace": STRING,
    "json": STRING,
    "parse_json": ANY,
    "base64": STRING,
    "unbase64": STRING,
    "url_encode": STRING,
    "range": ListType(INTEGER),
    "keys": ListType(STRING),
    "object": OPEN_OBJECT,
    "timestamp": TIMESTAMP,
    "duration": DURATION,
    "now": STRING,
    "uuid": STRING,
    "hash": STRING,
    "has": BOOLEAN,
}
_RESULTS: Final[Mapping[str, Callable[[Checking, Call, list[Type]], Type]]] = {
    "compact": _compact,
    "join": _join,
    "min": _extreme,
    "max": _extreme,
    "sum": _sum,
    "slice": _slice,
    "flatten": _flatten,
    "distinct": _same,
    "values": _values,
    "object": _object,
    "sort": _sort,
}


def macro_type(checker: Checking, expr: Macro) -> Type:
    """The type of a macro, with its body checked for one item."""
    kind = checker.sure(expr.target, what=expr.name)
    item = _items_of(checker, kind, expr)
    if expr.variable in checker.bound or expr.variable in checker.scope:
        hint = "take another name: it would hide the one outside"
        checker.problem("E210", f"the name {expr.variable!r} is taken", expr, hint)
    bound, known = checker.bound, checker.known
    checker.bound = {**bound, expr.variable: item}
    checker.known = frozenset(path for path in known if path[0] != expr.variable)
    if expr.where is not None:
        checker.want(checker.sure(expr.where, what=expr.name), frozenset({"boolean"}), expr.where, expr.name)
        checker.known |= known_when(expr.where, True)
    result = _macro_result(checker, expr, item)
    checker.bound, checker.known = bound, known
    return result


def _items_of(checker: Checking, kind: Type, expr: Macro) -> Type:
    match kind:
        case ListType():
            return kind.item
        case ObjectType():
            return STRING
        case AnyType():
            return ANY
        case _:
            return checker.problem("E205", f"{expr.name} takes a list or an object, not {kind}", expr.target)


def _macro_result(checker: Checking, expr: Macro, item: Type) -> Type:
    if expr.name == "map":
        return ListType(checker.type(expr.body))
    if expr.name == "sort_by":
        _ordered(checker, expr.body, checker.type(expr.body), "sort_by")
        return ListType(item)
    checker.want(checker.sure(expr.body, what=expr.name), frozenset({"boolean"}), expr.body, expr.name)
    if expr.name != "filter":
        return BOOLEAN
    for path in sorted(known_when(expr.body, True)):
        if path[0] == expr.variable:
            item = _without_null_at(item, path[1:])
    return ListType(item)


def _without_null_at(type_: Type, path: Path) -> Type:
    """``type_`` where the field at ``path`` is not null."""
    kind = bare(type_)
    if not path:
        return without_null(kind)
    if not isinstance(kind, ObjectType) or path[0] not in kind.fields:
        return kind
    inner = _without_null_at(kind.fields[path[0]], path[1:])
    optional = kind.optional - ({path[0]} if len(path) == 1 else set())
    return ObjectType({**kind.fields, path[0]: inner}, optional, kind.closed)
