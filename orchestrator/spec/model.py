"""What the models of a file are made of: annotated fields, notes about their values, and rules over several fields.

A model is read by ``spec/reader.py``, which looks at the annotations of those fields alone that a file has, and made
into JSON Schema by ``spec/schema.py``. Unions are told apart by the shape of the value (text, list, mapping, …) and
never by trial, so a value has one problem, not one per member. Tags of unions start with NUL, which no YAML text holds:
they are dropped from locations without doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Set

Path: TypeAlias = "tuple[str | int, ...]"

T = TypeVar("T")


class Refused(Exception):
    """A value or a mapping breaks a rule of ours: a code of ``spec/codes.py``, a sentence, and where in it that is."""

    def __init__(self, code: str, message: str, /, **context: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.context = context


def key_of(name: str) -> str:
    """The key in the file of a model's field."""
    return name.removesuffix("_")


# --- notes --------------------------------------------------------------------------------------------------------


class Tag:
    """The shape of a value for which a member of a union is meant."""

    __slots__ = ("tag",)

    def __init__(self, tag: str) -> None:
        self.tag = tag


class Told:
    """A union whose members are told apart by a value's tag."""

    __slots__ = ("by",)

    def __init__(self, by: Callable[[Any], str]) -> None:
        self.by = by


class Parse:
    """What makes the value of a field, from anything. Raises Refused."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make


class Check:
    """What a value of the right kind has to pass. Raises Refused."""

    __slots__ = ("check",)

    def __init__(self, check: Callable[[Any], object]) -> None:
        self.check = check


class Bound:
    """How small and large a number may be, or how few and many entries there may be."""

    __slots__ = ("ge", "le", "least", "most")

    def __init__(
        self, *, ge: int | None = None, le: int | None = None, least: int | None = None, most: int | None = None
    ) -> None:
        self.ge = ge
        self.le = le
        self.least = least
        self.most = most


class Schema:
    """The JSON Schema of a value, where the annotation does not say it."""

    __slots__ = ("schema",)

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema


class Named:
    """The name that the published schema has for a kind of values that stands in many places."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


# --- models -------------------------------------------------------------------------------------------------------


def rule(check: T) -> T:
    """Have a method look at a mapping whose fields are right, each by itself. It raises Refused."""
    vars(check)["rule"] = True
    return check


class Model:
    """A frozen mapping of the file, closed, whose ``at`` is its path in the file's data.

    Python words get a trailing underscore: ``step.if_`` is the field ``if``. A field that may be left out has the
    default None, and yet may not be null: an empty field is a mistake, and not a field left out. ``known`` are the
    fields, each with the class that declares it; ``one`` those of which exactly one is needed (``class A(Model,
    one=("a", "b"))``).
    """

    __slots__ = ("__dict__", "at")

    known: ClassVar[Mapping[str, type[Model]]] = {}
    needed: ClassVar[frozenset[str]] = frozenset()
    rules: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    one: ClassVar[tuple[str, ...]] = ()
    at: Path

    def __init_subclass__(cls, *, one: tuple[str, ...] = ()) -> None:
        own = cls.__dict__.get("__annotations__", {})
        cls.known = {**cls.known, **dict.fromkeys(own, cls)}
        cls.needed = cls.needed.union([name for name in own if name not in cls.__dict__])
        if one:
            cls.one = one
            cls.rules = (*cls.rules, one_of)
        cls.rules = (*cls.rules, *[each for each in cls.__dict__.values() if hasattr(each, "rule")])

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Any:
        """A mapping with these fields, which are right."""
        made = cls.__new__(cls)
        vars(made).update(fields)
        made.place(())
        return made

    @property
    def given(self) -> Set[str]:
        """The fields that are there, in the order in which the class has them."""
        return vars(self).keys()

    def place(self, path: Path) -> None:
        """Say where the mapping stands. For ``spec/shape.py``, once."""
        object.__setattr__(self, "at", path)

    def data(self) -> dict[str, Any]:
        """What is there, as plain data by keys of the file."""
        return {key_of(name): _plain(value) for name, value in vars(self).items()}

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot set {name!r}: what a file says stays")


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        return value.data()
    return [_plain(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


def one_of(model: Model) -> None:
    """Refuse a mapping that does not have exactly one of some fields."""
    keys = [key_of(name) for name in model.given]
    given = [name for name in model.one if name in keys]
    if len(given) != 1:
        listed = " or ".join(f"`{name}`" for name in model.one)
        raise refuse("E109", f"exactly one of {listed} is needed", given[1] if given else None)


def refuse(code: str, message: str, field: str | None = None) -> Refused:
    """A problem of a mapping as a whole, that stands at one of its fields."""
    return Refused(code, message, field=field)


# --- shapes -------------------------------------------------------------------------------------------------------


def shape(value: Any) -> str:
    """The tag of a value's shape, for unions."""
    match value:
        case bool():
            return "\0flag"
        case str():
            return "\0text"
        case int() | float():
            return "\0number"
        case list():
            return "\0list"
        case dict():
            return "\0map"
        case _:
            return "\0nothing"


BY_SHAPE: Final = Told(shape)
TEXT: Final = Tag("\0text")
NUMBER: Final = Tag("\0number")
FLAG: Final = Tag("\0flag")
LIST: Final = Tag("\0list")
MAP: Final = Tag("\0map")
