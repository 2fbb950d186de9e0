"""What evaluation works on: absence, the state of one evaluation, its limits, equality, order and text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast, final

from orchestrator import jsonish
from orchestrator.expr.errors import EvalError, LimitReached, NullValue, WrongType
from orchestrator.expr.times import Duration, Timestamp
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@final
class Absent:
    """The type of ``ABSENT``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "absent"

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""The output of a step that has none. It travels through operators and functions."""

Value: TypeAlias = Any
"""JSON, a Timestamp, a Duration, ABSENT, or something with ``get_field``."""


class Fields(Protocol):
    """A value whose fields are looked up when they are used, such as the steps of a run."""

    def get_field(self, name: str) -> Any:
        """JSON, ABSENT or another Fields. EvalError where there can be no such field."""
        ...


@frozen
class Limits:
    """Bounds of one evaluation: ``steps`` of work, ``depth`` of nesting of a value, ``size`` in characters of JSON."""

    steps: int = 100_000
    depth: int = 64
    size: int = 1 << 20


DEFAULT_LIMITS: Final = Limits()
INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1


Run: TypeAlias = "Callable[[State], Any]"
"""A node, compiled."""


class State:
    """One evaluation: what it may see, and what it has used up. ``vars`` are the names that macros bind, by level."""

    __slots__ = ("calls", "env", "limits", "now", "seed", "steps", "stored", "vars")

    def __init__(
        self,
        env: Mapping[str, Any],
        now: int,
        seed: str,
        limits: Limits,
        stored: Callable[[dict[str, Any]], str] | None,
    ) -> None:
        self.env = env
        self.now = now
        self.seed = seed
        self.limits = limits
        self.stored = stored
        self.steps = limits.steps
        self.vars: list[Any] = []
        self.calls = 0

    def charge(self, steps: int) -> None:
        """Use up steps."""
        self.steps -= steps
        if self.steps < 0:
            raise LimitReached(f"the expression takes more than {self.limits.steps} steps")

    def fits(self, length: int) -> None:
        """That a text of so many characters may be made."""
        if length > self.limits.size:
            raise LimitReached(f"a text has at most {self.limits.size} characters")

    def text(self, text: str) -> str:
        """A text that was made, if it is not too long."""
        self.fits(len(text))
        return text

    def made(self, value: Any) -> Any:
        """A list or an object that was made, if it is not too large and not too deep."""
        measure(value, self.limits.size, self.limits.depth)
        return value


def measure(value: Any, size: int, depth: int) -> int:
    """What is left of ``size`` when ``value`` is taken from it, counted roughly as JSON. LimitReached below 0."""
    if type(value) is str:
        size -= len(value) + 2
    elif type(value) is list:
        if depth <= 0:
            raise LimitReached("a value nests too deep")
        size -= 2
        for item in cast("list[Any]", value):
            size = measure(item, size, depth - 1)
    elif type(value) is dict:
        if depth <= 0:
            raise LimitReached("a value nests too deep")
        size -= 2
        for key, item in cast("dict[str, Any]", value).items():
            size = measure(item, size - len(key) - 3, depth - 1)
    else:
        size -= 4
    if size < 0:
        raise LimitReached("a value is too large")
    return size


def kind(value: Any) -> str:
    """The name of a value's type, as the language calls it."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "list"
        case dict():
            return "object"
        case Timestamp():
            return "timestamp"
        case Duration():
            return "duration"
        case _:
            return "name of a group of values"


def wrong(what: str, *values: Any) -> WrongType:
    """The error of something that does not take these values."""
    if any(value is None for value in values):
        return NullValue(f"{what} does not take null")
    return WrongType(f"{what} does not take {' and '.join(kind(value) for value in values)}")


def integer(value: int) -> int:
    """A whole number of 64 bits."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvalError("the integer has more than 64 bits")


def finite(value: float) -> float:
    """A number that JSON has."""
    if value - value == 0:
        return value
    raise EvalError("the number is not finite")


def equal(a: Any, b: Any, state: State) -> bool:
    """JSON equality: 1 is 1.0, true is not 1, keys have no order."""
    kind_a, kind_b = type(a), type(b)
    if kind_a is list and kind_b is list:
        state.charge(len(a) if len(a) == len(b) else 0)
        return len(a) == len(b) and all(equal(x, y, state) for x, y in zip(a, b, strict=True))
    if kind_a is dict and kind_b is dict:
        state.charge(len(a) if len(a) == len(b) else 0)
        return len(a) == len(b) and all(key in b and equal(item, b[key], state) for key, item in a.items())
    if kind_a is bool or kind_b is bool:
        return a is b
    return a == b


_ORDERS: Final = {
    int: "number",
    float: "number",
    str: "text",
    bool: "boolean",
    Timestamp: "moment",
    Duration: "duration",
}


def order_of(value: Any) -> str | None:
    """The order that a value is compared in; None where it has none."""
    return _ORDERS.get(type(value))


def compare(a: Any, b: Any, operator: str) -> int:
    """-1, 0 or 1. WrongType where the two have no common order."""
    order = _ORDERS.get(type(a))
    if order is None or order != _ORDERS.get(type(b)):
        raise wrong(f"'{operator}'", a, b)
    return (a > b) - (a < b)


def sort_key(values: list[Any], what: str) -> None:
    """That all the values have one order. WrongType where they do not."""
    first = order_of(values[0]) if values else None
    for value in values:
        if order_of(value) is None or order_of(value) != first:
            raise wrong(what, values[0], value)


def is_file(value: Any) -> bool:
    """Whether a value is a stored file. Its name becomes a path: one that is no plain hash comes from elsewhere."""
    if type(value) is not dict:
        return False
    name: Any = cast("dict[str, Any]", value).get("$file")
    return isinstance(name, str) and name.isascii() and name.isalnum()


def number_text(value: float) -> str:
    """A number as text: a whole one has no fraction."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)


def to_text(value: Any, state: State) -> str:
    """A value as text: scalars plain, a file as the path of its stored copy, lists and objects as canonical JSON."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return number_text(value)
        case int() | Timestamp() | Duration():
            return str(value)
        case _ if is_file(value) and state.stored is not None:
            return state.stored(value)
        case list() | dict():
            return json_text(value, state)
        case _:
            raise wrong("text", value)


def json_text(value: Any, state: State) -> str:
    """Canonical JSON of a value; whole numbers in it have no fraction."""
    left = measure(value, state.limits.size, state.limits.depth)
    state.charge((state.limits.size - left) >> 6)
    return jsonish.dumps(plain(value))


def plain(value: Any) -> Any:
    """A value as it prints and leaves an expression: moments and durations as text, whole numbers as integers."""
    match value:
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)
        case list():
            return [plain(item) for item in cast("list[Any]", value)]
        case dict():
            return {key: plain(item) for key, item in cast("dict[str, Any]", value).items()}
        case Timestamp() | Duration():
            return str(value)
        case _:
            return value


def exported(value: Any) -> Any:
    """A value as it leaves an expression: moments and durations become text."""
    match value:
        case list():
            return [exported(item) for item in cast("list[Any]", value)]
        case dict():
            return {key: exported(item) for key, item in cast("dict[str, Any]", value).items()}
        case Timestamp() | Duration():
            return str(value)
        case _:
            return value


def secret_marker(name: str) -> str:
    """How a reference to a secret stands in evaluated text. NUL keeps it unforgeable: no clean text holds one."""
    return f"\0secret:{name}\0"
