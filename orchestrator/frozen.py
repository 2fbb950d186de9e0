"""Classes of values, as ``dataclasses`` makes them, made when they are used.

``dataclasses.dataclass`` writes and compiles up to seven methods for each class while its module is imported: half a
millisecond apiece, a third of the start of a command that has 160 of them and uses some. Here ``__init__`` is compiled
at the first instance, and the others are closures. What else works with dataclasses (``replace``, ``fields``,
``match``) works with these. Slots unless told otherwise.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field, FrozenInstanceError, field
from operator import attrgetter, ge, gt, le, lt
from typing import TYPE_CHECKING, Any, TypeVar, cast, dataclass_transform, overload

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["field", "frozen", "slotted"]

T = TypeVar("T")
_Fields = dict[str, "Field[Any]"]
_KIND: Any = vars(dataclasses)["_FIELD"]  # by which `fields` and `replace` know one


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T], /) -> type[T]: ...


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(*, kw_only: bool = False, slots: bool = True, order: bool = False) -> Callable[[type[T]], type[T]]: ...


def frozen(cls: type[Any] | None = None, /, *, kw_only: bool = False, slots: bool = True, order: bool = False) -> Any:
    """A class whose instances never change, compare by what they hold, and can be hashed."""

    def make(cls: type[Any]) -> type[Any]:
        return _made(cls, kw_only=kw_only, slots=slots, eq=True, change=False, order=order)

    return make if cls is None else make(cls)


@overload
@dataclass_transform(field_specifiers=(field,))
def slotted(cls: type[T], /) -> type[T]: ...


@overload
@dataclass_transform(field_specifiers=(field,))
def slotted(*, kw_only: bool = False, eq: bool = True) -> Callable[[type[T]], type[T]]: ...


def slotted(cls: type[Any] | None = None, /, *, kw_only: bool = False, eq: bool = True) -> Any:
    """A class whose instances may change; they compare by what they hold, unless ``eq`` is False."""

    def make(cls: type[Any]) -> type[Any]:
        return _made(cls, kw_only=kw_only, slots=True, eq=eq, change=True)

    return make if cls is None else make(cls)


def _made(cls: type[Any], *, kw_only: bool, slots: bool, eq: bool, change: bool, order: bool = False) -> type[Any]:
    inherited = _inherited(cls)
    every = inherited | _own(cls, kw_only=kw_only)
    space = dict(cls.__dict__)
    space["__dataclass_fields__"] = every
    space["__match_args__"] = tuple([name for name, each in every.items() if each.init and not each.kw_only])
    space.setdefault("__repr__", _repr([name for name, each in every.items() if each.repr]))
    if eq:
        _compare(space, every, change=change)
    if order:
        space |= {f"__{than.__name__}__": _order(than, every) for than in (lt, le, gt, ge)}
    if not change:
        space |= {"__setattr__": _refuse_set, "__delattr__": _refuse_del, "__setstate__": _set_state}
    for name in every.keys() - inherited.keys():
        default = every[name].default
        if slots or default is MISSING:
            space.pop(name, None)
        else:
            space[name] = default
    if slots:
        space["__slots__"] = tuple([name for name in every if name not in inherited])
    space.pop("__dict__", None)
    space.pop("__weakref__", None)
    again: Any = type(cls)
    made: type[Any] = again(cls.__name__, cls.__bases__, space)
    made.__qualname__ = cls.__qualname__
    _init_later(made, every, change=change)
    return made


def _inherited(cls: type[Any]) -> _Fields:
    found: _Fields = {}
    for base in reversed(cls.__mro__[1:]):
        found |= cast("_Fields", base.__dict__.get("__dataclass_fields__", {}))
    return found


def _own(cls: type[Any], *, kw_only: bool) -> _Fields:
    """The fields that the class itself declares."""
    found: _Fields = {}
    for name, kind in cls.__dict__.get("__annotations__", {}).items():
        if "ClassVar" in str(kind):
            continue
        default = cls.__dict__.get(name, MISSING)
        made: Any = default if isinstance(default, Field) else field() if default is MISSING else field(default=default)
        made.name, made.type, made._field_type = name, kind, _KIND  # noqa: SLF001  as dataclasses itself marks one
        if made.kw_only is MISSING:
            made.kw_only = kw_only
        found[name] = made
    return found


# --- methods ------------------------------------------------------------------------------------------------------


def _init_later(cls: Any, every: _Fields, *, change: bool) -> None:
    """Have the first instance compile ``__init__``."""

    def first(self: Any, *args: Any, **kwargs: Any) -> None:
        cls.__init__ = made = _init(cls, every, change=change)
        made(self, *args, **kwargs)

    cls.__init__ = first


def _init(cls: Any, every: _Fields, *, change: bool) -> Callable[..., None]:
    """``__init__`` as one would write it: a slot of a frozen instance is set by its own descriptor."""
    given = [each for each in every.values() if each.init]
    known: dict[str, Any] = {"_unset": MISSING, "_put": object.__setattr__}
    positional = [_parameter(each, known) for each in given if not each.kw_only]
    named = [_parameter(each, known) for each in given if each.kw_only]
    lines = [_assignment(cls, each, known, change=change) for each in every.values() if each.init or _has_default(each)]
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    parameters = ", ".join(["self", *positional, *(["*", *named] if named else [])])
    exec(f"def __init__({parameters}):\n " + "\n ".join(lines or ["pass"]), known)  # noqa: S102  the names are our own
    return known["__init__"]


def _parameter(each: Field[Any], known: dict[str, Any]) -> str:
    if each.default is not MISSING:
        known[f"_default_{each.name}"] = each.default
        return f"{each.name}=_default_{each.name}"
    return f"{each.name}=_unset" if each.default_factory is not MISSING else each.name


def _has_default(each: Field[Any]) -> bool:
    return each.default is not MISSING or each.default_factory is not MISSING


def _assignment(cls: Any, each: Field[Any], known: dict[str, Any], *, change: bool) -> str:
    name, value = each.name, each.name
    if not each.init:
        known[f"_default_{name}"], value = each.default, f"_default_{name}"
    if each.default_factory is not MISSING:
        known[f"_make_{name}"] = each.default_factory
        value = f"_make_{name}() if {name} is _unset else {name}" if each.init else f"_make_{name}()"
    if change:
        return f"self.{name} = {value}"
    slot: Any = getattr(cls, name, None)
    if hasattr(slot, "__set__"):
        known[f"_set_{name}"] = slot.__set__
        return f"_set_{name}(self, {value})"
    return f"_put(self, {name!r}, {value})"


def _compare(space: dict[str, Any], every: _Fields, *, change: bool) -> None:
    """``__eq__``, and a ``__hash__`` that goes with it, unless the class has its own."""
    equal = _values([name for name, each in every.items() if each.compare])
    hashed = _values([name for name, each in every.items() if (each.compare if each.hash is None else each.hash)])

    def same(self: object, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return equal(self) == equal(other)

    def number(self: object) -> int:
        return hash(hashed(self))

    if space.get("__hash__") is None:
        space["__hash__"] = None if change else number
    space.setdefault("__eq__", same)


def _order(than: Callable[[Any, Any], bool], every: _Fields) -> Callable[[Any, Any], bool]:
    values = _values([name for name, each in every.items() if each.compare])

    def compare(self: object, other: object) -> bool:
        return than(values(self), values(other)) if other.__class__ is self.__class__ else NotImplemented

    return compare


def _values(names: list[str]) -> Callable[[Any], Any]:
    """What gives the values under these names."""
    return attrgetter(*names) if names else lambda _: ()


def _repr(names: list[str]) -> Callable[[Any], str]:
    def show(self: object) -> str:
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        return f"{self.__class__.__qualname__}({shown})"

    return show


def _refuse_set(self: object, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_del(self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _set_state(self: object, state: Any) -> None:
    """What copies and pickles set: attributes, then slots."""
    for values in state if isinstance(state, tuple) else (state,):
        for name, value in (values or {}).items():
            object.__setattr__(self, name, value)
