"""The operators on two values that are there. Each raises EvalError where it has no result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.expr.errors import EvalError, WrongType
from orchestrator.expr.runtime import INT_MAX, INT_MIN, State, compare, equal, finite, integer, wrong
from orchestrator.expr.times import Duration, Timestamp, duration, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _numbers(a: Any, b: Any, operator: str) -> bool:
    """Whether both are integers (True) or numbers (False). WrongType for anything else."""
    kind_a, kind_b = type(a), type(b)
    if kind_a is int and kind_b is int:
        return True
    if (kind_a is int or kind_a is float) and (kind_b is int or kind_b is float):
        return False
    raise wrong(f"'{operator}'", a, b)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise EvalError("the number is too large") from None


def add(a: Any, b: Any, state: State) -> Any:
    """Numbers add; texts and lists join; a moment and a duration give a moment."""
    kind_a, kind_b = type(a), type(b)
    if kind_a is int and kind_b is int:
        total = a + b
        return total if INT_MIN <= total <= INT_MAX else integer(total)
    if kind_a is str and kind_b is str:
        state.fits(len(a) + len(b))
        return a + b
    if kind_a is list and kind_b is list:
        state.charge(len(a) + len(b))
        return state.made(a + b)
    if kind_a in _TIMES or kind_b in _TIMES:
        return _add_times(a, b)
    _numbers(a, b, "+")
    return finite(_float(a) + _float(b))


_TIMES: Final = (Timestamp, Duration)


def _add_times(a: Any, b: Any) -> Timestamp | Duration:
    try:
        match a, b:
            case Timestamp(), Duration():
                return timestamp(a.micros + b.micros)
            case Duration(), Timestamp():
                return timestamp(a.micros + b.micros)
            case Duration(), Duration():
                return duration(a.micros + b.micros)
            case _:
                raise wrong("'+'", a, b)
    except ValueError as error:
        raise EvalError(str(error)) from None


def subtract(a: Any, b: Any, state: State) -> Any:
    """Numbers subtract; two moments give a duration; a moment or a duration less a duration stays what it is."""
    del state
    try:
        match a, b:
            case Timestamp(), Timestamp():
                return duration(a.micros - b.micros)
            case Timestamp(), Duration():
                return timestamp(a.micros - b.micros)
            case Duration(), Duration():
                return duration(a.micros - b.micros)
            case _:
                pass
    except ValueError as error:
        raise EvalError(str(error)) from None
    return integer(a - b) if _numbers(a, b, "-") else finite(_float(a) - _float(b))


def multiply(a: Any, b: Any, state: State) -> Any:
    """The product of two numbers."""
    del state
    return integer(a * b) if _numbers(a, b, "*") else finite(_float(a) * _float(b))


def divide(a: Any, b: Any, state: State) -> Any:
    """Two integers give an integer, cut towards zero; else a number."""
    del state
    whole = _numbers(a, b, "/")
    if b == 0:
        raise EvalError("division by zero")
    if not whole:
        return finite(_float(a) / _float(b))
    quotient = abs(a) // abs(b)
    return integer(quotient if (a < 0) == (b < 0) else -quotient)


def remainder(a: Any, b: Any, state: State) -> Any:
    """What division leaves, with the sign of the left side; whole numbers only."""
    del state
    if not _numbers(a, b, "%"):
        if not (float(a).is_integer() and float(b).is_integer()):
            raise WrongType("'%' takes whole numbers")
        a, b = int(a), int(b)
    if b == 0:
        raise EvalError("division by zero")
    if a == INT_MIN and b == -1:
        # As in CEL: the quotient would not fit.
        raise EvalError("the integer has more than 64 bits")
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def negate(value: Any) -> Any:
    """``-x`` of a number."""
    if type(value) is int:
        return integer(-value)
    if type(value) is float:
        return -value
    raise wrong("'-'", value)


def contained(a: Any, b: Any, state: State) -> bool:
    """``a in b``: an item of a list, a key of an object."""
    if type(b) is list:
        state.charge(len(b))
        return any(equal(a, item, state) for item in b)
    if type(b) is dict:
        return type(a) is str and a in b
    raise wrong("'in'", b)


BINARY: Final[Mapping[str, Callable[[Any, Any, State], Any]]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
    "==": equal,
    "!=": lambda a, b, state: not equal(a, b, state),
    "<": lambda a, b, state: compare(a, b, "<") < 0,
    "<=": lambda a, b, state: compare(a, b, "<=") <= 0,
    ">": lambda a, b, state: compare(a, b, ">") > 0,
    ">=": lambda a, b, state: compare(a, b, ">=") >= 0,
    "in": contained,
}
"""Every operator on two values but ``&&`` and ``||``."""
