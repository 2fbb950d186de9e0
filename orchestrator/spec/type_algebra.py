"""The types of the language as frozen values, and how they relate.

Import them from ``orchestrator.spec.types``. A type says what a JSON value looks like; ``TimestampType`` and
``DurationType`` exist only while an expression is evaluated, and leave it as text.
"""

from __future__ import annotations

import json
from dataclasses import replace
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never, cast

from orchestrator.frozen import field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Scalar: TypeAlias = "str | int | float | bool | None"


class _NoDefault(Enum):
    NO_DEFAULT = "no default"

    def __repr__(self) -> str:
        return "NO_DEFAULT"


NO_DEFAULT: Final = _NoDefault.NO_DEFAULT


@frozen
class Type:
    """The base of all types. ``str(type)`` is its shorthand, as an author would write it."""

    def __str__(self) -> str:
        return _text(self)


@frozen
class AnyType(Type):
    """Any JSON value; what is done with one is not checked before it runs."""


@frozen
class NeverType(AnyType):
    """What the items of ``[]`` are: the type that joins with any other to that other. It ends as ``any``."""


@frozen
class StringType(Type):
    """Text."""


@frozen
class IntegerType(Type):
    """A whole number; widens to ``number``."""


@frozen
class NumberType(Type):
    """A whole or a fractional number."""


@frozen
class BooleanType(Type):
    """true or false."""


@frozen
class NullType(Type):
    """The type of ``null`` alone."""


@frozen
class FileType(Type):
    """A stored file: ``{"$file": HASH, "name": text, "size": bytes, "media_type": text}`` at run time."""


@frozen
class TimestampType(Type):
    """A moment, while an expression is evaluated; RFC 3339 text outside."""


@frozen
class DurationType(Type):
    """A length of time, while an expression is evaluated; text such as ``1h30m`` outside."""


@frozen
class Nullable(Type):
    """``T?``: the inner type, or null. Build it with ``nullable``, which never nests."""

    inner: Type


@frozen
class ListType(Type):
    """``[T]``."""

    item: Type


@frozen
class ObjectType(Type):
    """``{a: T, b?: T}``. A field in ``optional`` may be missing, and is null then; an open object may have more."""

    fields: Mapping[str, Type] = field(hash=False)
    optional: frozenset[str] = frozenset()
    closed: bool = True


@frozen
class EnumType(Type):
    """One of a few scalar values."""

    values: tuple[Scalar, ...]


@frozen
class SchemaType(Type):
    """A JSON Schema as the author wrote it. What of its structure is plain is used for checking."""

    schema: Mapping[str, Any] = field(hash=False)


@frozen(kw_only=True)
class Facets:
    """What a facet form says beside its type. Lengths are in characters; ``default`` is a literal or ``NO_DEFAULT``."""

    description: str | None = None
    default: Any = field(default=NO_DEFAULT, hash=False)
    env: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    min_items: int | None = None
    max_items: int | None = None


@frozen
class Faceted(Type):
    """A type with facets: a description, a default, constraints. Build it with ``with_facets``, which never nests."""

    base: Type
    facets: Facets


ANY: Final = AnyType()
NEVER: Final = NeverType()
STRING: Final = StringType()
INTEGER: Final = IntegerType()
NUMBER: Final = NumberType()
BOOLEAN: Final = BooleanType()
NULL: Final = NullType()
FILE: Final = FileType()
TIMESTAMP: Final = TimestampType()
DURATION: Final = DurationType()
OPEN_OBJECT: Final = ObjectType({}, closed=False)

SIMPLE: Final[Mapping[str, Type]] = {
    "string": STRING,
    "integer": INTEGER,
    "number": NUMBER,
    "boolean": BOOLEAN,
    "any": ANY,
    "file": FILE,
}
"""The types that have a name in the language."""

FILE_FIELDS: Final[Mapping[str, Type]] = {"$file": STRING, "name": STRING, "size": INTEGER, "media_type": STRING}
"""What a ``file`` value holds at run time; ``size`` is in bytes."""

_NAMES: Final = {
    AnyType: "any",
    NeverType: "any",
    StringType: "string",
    IntegerType: "integer",
    NumberType: "number",
    BooleanType: "boolean",
    NullType: "null",
    FileType: "file",
    TimestampType: "timestamp",
    DurationType: "duration",
}


def nullable(inner: Type) -> Type:
    """``inner?``; a type that has null already stays as it is."""
    if isinstance(inner, (Nullable, AnyType, NullType)):
        return inner
    if isinstance(inner, Faceted):
        return Faceted(nullable(inner.base), inner.facets)
    return Nullable(inner)


def with_facets(base: Type, facets: Facets) -> Type:
    """``base`` with ``facets``, which win over facets that it has already."""
    if facets == Facets():
        return base
    if isinstance(base, Faceted):
        old = base.facets
        changed = {name: getattr(facets, name) for name in _FACET_NAMES if getattr(facets, name) != _FACET_EMPTY[name]}
        return Faceted(base.base, replace(old, **changed))
    return Faceted(base, facets)


_FACET_NAMES: Final = tuple(Facets.__dataclass_fields__)
_FACET_EMPTY: Final = {name: Facets.__dataclass_fields__[name].default for name in _FACET_NAMES}


def facets_of(type_: Type) -> Facets:
    """The facets of a type; empty ones where it has none."""
    return type_.facets if isinstance(type_, Faceted) else Facets()


def bare(type_: Type) -> Type:
    """The type without its facets; of a schema, the structure that is plain in it."""
    while True:
        match type_:
            case Faceted():
                type_ = type_.base
            case SchemaType():
                return _visible(type_)
            case _:
                return type_


def _visible(type_: SchemaType) -> Type:
    return _visible_text(json.dumps(type_.schema, sort_keys=True))


@lru_cache(maxsize=1024)
def _visible_text(text: str) -> Type:
    from orchestrator.spec.type_schema import from_schema

    return from_schema(json.loads(text))


def without_null(type_: Type) -> Type:
    """The type without null: ``T`` of ``T?``."""
    inner = bare(type_)
    return inner.inner if isinstance(inner, Nullable) else type_


def may_be_null(type_: Type) -> bool:
    """Whether null is known to be a value of the type (not so of ``any``, which is not checked)."""
    return isinstance(bare(type_), (Nullable, NullType))


def is_closed(type_: Type) -> bool:
    """Whether the type names every field that its values may have, at every depth."""
    inner = bare(type_)
    match inner:
        case Nullable():
            return is_closed(inner.inner)
        case ListType():
            return is_closed(inner.item)
        case ObjectType():
            return inner.closed and all(is_closed(item) for item in inner.fields.values())
        case AnyType():
            return False
        case _:
            return True


def enum_base(values: Iterable[Scalar]) -> Type:
    """The least type of all the values of an enum."""
    result: Type | None = None
    for value in values:
        kind = scalar_type(value)
        result = kind if result is None else join(result, kind)
    return ANY if result is None else result


def scalar_type(value: Scalar) -> Type:
    """The type of a scalar JSON value."""
    match value:
        case None:
            return NULL
        case bool():
            return BOOLEAN
        case int():
            return INTEGER
        case float():
            return NUMBER
        case str():
            return STRING
        case _:
            assert_never(value)


def same_scalar(a: Scalar, b: Scalar) -> bool:
    """JSON equality of scalars: 1 is 1.0, true is not 1."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def join(a: Type, b: Type) -> Type:
    """The least type that has the values of both; ``any`` where there is none."""
    if a == b:
        return a
    a, b = bare(a), bare(b)
    if isinstance(a, NeverType) or isinstance(b, NeverType):
        return b if isinstance(a, NeverType) else a
    if isinstance(a, NullType):
        return nullable(b)
    if isinstance(b, NullType):
        return nullable(a)
    if isinstance(a, Nullable) or isinstance(b, Nullable):
        return nullable(join(without_null(a), without_null(b)))
    return _join_bare(a, b)


def _join_bare(a: Type, b: Type) -> Type:
    match a, b:
        case (IntegerType() | NumberType(), IntegerType() | NumberType()):
            return a if a == b else NUMBER
        case ListType(), ListType():
            return ListType(join(a.item, b.item))
        case ObjectType(), ObjectType():
            return _join_objects(a, b)
        case EnumType(), EnumType():
            return EnumType((*a.values, *(v for v in b.values if not any(same_scalar(v, w) for w in a.values))))
        case EnumType(), _:
            return join(enum_base(a.values), b)
        case _, EnumType():
            return join(a, enum_base(b.values))
        case _:
            return a if a == b else ANY


def _join_objects(a: ObjectType, b: ObjectType) -> ObjectType:
    common = {name: join(a.fields[name], b.fields[name]) for name in a.fields if name in b.fields}
    optional = {name for name in common if name in a.optional or name in b.optional}
    if not (a.closed and b.closed):
        return ObjectType(common, frozenset(optional), closed=False)
    for one, other in ((a, b), (b, a)):
        alone = {name: kind for name, kind in one.fields.items() if name not in other.fields}
        common |= alone
        optional |= set(alone)
    return ObjectType(common, frozenset(optional))


def assignable(a: Type, b: Type) -> bool:
    """Whether a value of type ``a`` may stand where ``b`` is wanted. ``any`` may stand anywhere, anything for it."""
    if a == b:
        return True
    a, b = bare(a), bare(b)
    if isinstance(a, AnyType) or isinstance(b, AnyType):
        return True
    if isinstance(a, NullType):
        return may_be_null(b)
    if isinstance(a, Nullable):
        return isinstance(b, Nullable) and assignable(a.inner, b.inner)
    if isinstance(b, Nullable):
        return assignable(a, b.inner)
    match a, b:
        case IntegerType(), NumberType():
            return True
        case ListType(), ListType():
            return assignable(a.item, b.item)
        case ObjectType(), ObjectType():
            return _assignable_objects(a, b)
        case EnumType(), EnumType():
            return all(any(same_scalar(v, w) for w in b.values) for v in a.values)
        case EnumType(), _:
            return assignable(enum_base(a.values), b)
        case _:
            return a == b


def _assignable_objects(a: ObjectType, b: ObjectType) -> bool:
    for name, wanted in b.fields.items():
        if name not in a.fields:
            if a.closed and name not in b.optional:
                return False
            continue
        have = field_type(a, name)
        if name not in b.optional and name in a.optional and not may_be_null(wanted):
            return False
        if not assignable(have, nullable(wanted) if name in b.optional else wanted):
            return False
    return not b.closed or all(name in b.fields for name in a.fields)


def field_type(type_: ObjectType, name: str) -> Type:
    """The type of a field that ``type_`` names: nullable where it may be missing."""
    kind = type_.fields[name]
    return nullable(kind) if name in type_.optional else kind


def _text(type_: Type) -> str:
    match type_:
        case Nullable():
            return f"{type_.inner}?"
        case ListType():
            return f"[{type_.item}]"
        case ObjectType():
            parts = [f"{name}{'?' if name in type_.optional else ''}: {kind}" for name, kind in type_.fields.items()]
            return "{" + ", ".join(parts if type_.closed else [*parts, "..."]) + "}"
        case EnumType():
            return "enum(" + ", ".join(json.dumps(value, ensure_ascii=False) for value in type_.values) + ")"
        case Faceted():
            return str(type_.base)
        case SchemaType():
            visible = bare(type_)
            return str(visible) if not isinstance(visible, AnyType) else "schema"
        case _:
            return cast("dict[type[Type], str]", _NAMES)[type(type_)]
