"""How types behave under operators: what they may be, add up to, and be compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.spec.types import (
    ANY,
    DURATION,
    INTEGER,
    NUMBER,
    STRING,
    TIMESTAMP,
    AnyType,
    BooleanType,
    DurationType,
    EnumType,
    FileType,
    IntegerType,
    ListType,
    NeverType,
    Nullable,
    NullType,
    NumberType,
    ObjectType,
    StringType,
    TimestampType,
    Type,
    bare,
    enum_base,
    nullable,
    without_null,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Kinds: TypeAlias = "frozenset[str]"
"""What a value may be, in the words of signatures."""

ORDERS: Final = ("text", "number", "boolean", "timestamp", "duration")
"""The kinds that can be compared, each with itself."""

_EVERY: Final = frozenset(
    {"text", "integer", "number", "boolean", "list", "object", "file", "timestamp", "duration", "null"}
)
_KINDS: Final[Mapping[type[Type], Kinds]] = {
    StringType: frozenset({"text"}),
    IntegerType: frozenset({"integer", "number"}),
    NumberType: frozenset({"number"}),
    BooleanType: frozenset({"boolean"}),
    ListType: frozenset({"list"}),
    ObjectType: frozenset({"object"}),
    FileType: frozenset({"file"}),
    TimestampType: frozenset({"timestamp"}),
    DurationType: frozenset({"duration"}),
    NullType: frozenset({"null"}),
}


def kinds_of(type_: Type) -> Kinds:
    """The kinds that a value of a type may be; every one of ``any``. An integer is a number too."""
    match bare(type_):
        case AnyType():
            return _EVERY
        case EnumType(values):
            return kinds_of(enum_base(values))
        case Nullable(inner):
            return kinds_of(inner) | {"null"}
        case plain:
            return _KINDS[type(plain)]


def leaving(type_: Type) -> Type:
    """Moments and durations leave as text, and nothing is known of the items of ``[]``."""
    match type_:
        case TimestampType() | DurationType():
            return STRING
        case NeverType():
            return ANY
        case Nullable():
            return nullable(leaving(type_.inner))
        case ListType():
            return ListType(leaving(type_.item))
        case ObjectType():
            return ObjectType(
                {name: leaving(item) for name, item in type_.fields.items()}, type_.optional, type_.closed
            )
        case _:
            return type_


def shown(type_: Type) -> str:
    """A type in a message, short."""
    text = str(type_)
    if len(text) <= 40:
        return text
    return "a list" if isinstance(without_null(bare(type_)), ListType) else "an object"


def base(type_: Type) -> Type:
    """The type that an enum's values have; any other type as it is."""
    return enum_base(type_.values) if isinstance(type_, EnumType) else type_


ARITHMETIC: Final[Mapping[tuple[str, type[Type], type[Type]], Type]] = {
    **{(operator, IntegerType, IntegerType): INTEGER for operator in "+-*/%"},
    **{
        (operator, a, b): NUMBER
        for operator in "+-*/"
        for a, b in ((IntegerType, NumberType), (NumberType, IntegerType), (NumberType, NumberType))
    },
    ("+", StringType, StringType): STRING,
    ("+", TimestampType, DurationType): TIMESTAMP,
    ("+", DurationType, TimestampType): TIMESTAMP,
    ("+", DurationType, DurationType): DURATION,
    ("-", TimestampType, TimestampType): DURATION,
    ("-", TimestampType, DurationType): TIMESTAMP,
    ("-", DurationType, DurationType): DURATION,
}


def order_kinds(type_: Type) -> frozenset[str]:
    """The orders that values of a type may be compared in."""
    kinds = kinds_of(type_)
    return frozenset(kind for kind in ORDERS if kind in kinds)


def comparable(a: Type, b: Type) -> bool:
    """Whether a value of one may ever equal a value of the other."""
    a, b = bare(a), bare(b)
    if isinstance(a, NullType) or isinstance(b, NullType):
        return True
    if isinstance(a, Nullable) or isinstance(b, Nullable):
        both = isinstance(a, Nullable) and isinstance(b, Nullable)
        return both or comparable(without_null(a), without_null(b))
    if isinstance(a, ListType) and isinstance(b, ListType):
        return comparable(a.item, b.item)
    return bool(kinds_of(a) & kinds_of(b))


def conversion(a: Type, b: Type) -> str | None:
    kinds = kinds_of(without_null(bare(a))) | kinds_of(without_null(bare(b)))
    if len(kinds) > 3:
        return None
    if "text" in kinds and kinds & {"integer", "number"}:
        return "int(x) and double(x) make a number of text, string(x) makes text"
    if "text" in kinds and "timestamp" in kinds:
        return "timestamp(x) makes a moment of text"
    if "text" in kinds and "duration" in kinds:
        return "duration(x) makes a duration of text"
    return None
