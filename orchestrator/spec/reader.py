"""Plain data -> models, by their annotations, or all that keeps it from being one.

Nothing is converted but whole numbers where fractions may stand. Annotations are looked at when a file has the field:
a language has many kinds of things, and a file a few of them.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypedDict, TypeVar, cast, get_args, get_origin

from orchestrator.spec.annotations import annotation_of, bare, tag_of
from orchestrator.spec.model import Bound, Check, Model, Parse, Refused, Told, key_of

if TYPE_CHECKING:
    from collections.abc import Callable

M = TypeVar("M", bound=Model)
Read: TypeAlias = "Callable[[Any], Any]"
Location: TypeAlias = "tuple[str | int, ...]"


class Fault(TypedDict):
    """What is wrong at one place. ``loc`` has tags of unions and ``[key]`` in it; ``type`` is a code of
    ``spec/codes.py``, or a word that ``spec/shape.py`` knows; ``ctx`` what the sentence needs."""

    type: str
    loc: Location
    input: Any
    ctx: dict[str, Any]
    msg: str


class _Wrong(Exception):
    """A value with its faults."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__()
        self.faults = faults

    def at(self, *where: str | int) -> list[Fault]:
        """The faults, seen from further out."""
        for fault in self.faults:
            fault["loc"] = (*where, *fault["loc"])
        return self.faults


def read(model: type[M], data: Any) -> tuple[M | None, list[Fault]]:
    """The model that data is, or its faults, in the order of fields."""
    try:
        return _reader(model)(data), []
    except _Wrong as wrong:
        return None, wrong.faults


def _wrong(kind: str, value: Any, where: Location = (), /, **context: Any) -> Fault:
    return {"type": kind, "loc": where, "input": value, "ctx": context, "msg": ""}


def _refusal(error: Refused, value: Any) -> _Wrong:
    return _Wrong([{"type": error.code, "loc": (), "input": value, "ctx": error.context, "msg": error.message}])


@cache
def _reader(annotation: Any) -> Read:
    """What reads a value of an annotation. It raises _Wrong."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _noted(*get_args(annotation))
    if origin is list:
        return _list(get_args(annotation)[0])
    if origin is dict:
        return _mapping(*get_args(annotation))
    if origin is Literal:
        return _listed(get_args(annotation))
    if annotation is Any:
        return lambda value: value
    if issubclass(annotation, Model):
        return _model(annotation)
    return _PLAIN[annotation]


def _noted(inner: Any, *notes: Any) -> Read:
    for note in notes:
        if isinstance(note, Parse):
            return _parsed(note)
        if isinstance(note, Told):
            return _union(inner, note)
    bounds = [note for note in notes if isinstance(note, Bound)]
    reader = _reader(inner)
    if bounds:
        reader = _bound(reader, bounds[0])
    checks = [note.check for note in notes if isinstance(note, Check)]
    return _checked(reader, checks) if checks else reader


def _parsed(note: Parse) -> Read:
    def read(value: Any) -> Any:
        try:
            return note.make(value)
        except Refused as error:
            raise _refusal(error, value) from None

    return read


def _checked(reader: Read, checks: list[Callable[[Any], object]]) -> Read:
    def read(value: Any) -> Any:
        made = reader(value)
        try:
            for check in checks:
                check(made)
        except Refused as error:
            raise _refusal(error, value) from None
        return made

    return read


def _bound(reader: Read, bound: Bound) -> Read:
    """Bounds of a number, or of how many entries there are."""

    def read(value: Any) -> Any:
        if bound.most is not None and isinstance(value, list) and len(cast("list[Any]", value)) > bound.most:
            raise _Wrong([_wrong("too_long", value, max_length=bound.most)])
        made = reader(value)
        if bound.least is not None and len(made) < bound.least:
            raise _Wrong([_wrong("too_short", value, min_length=bound.least, actual_length=len(made))])
        if bound.le is not None and made > bound.le:
            raise _Wrong([_wrong("less_than_equal", value, le=type(made)(bound.le))])
        if bound.ge is not None and made < bound.ge:
            raise _Wrong([_wrong("greater_than_equal", value, ge=type(made)(bound.ge))])
        return made

    return read


def _union(inner: Any, told: Told) -> Read:
    members = {tag_of(member): member for member in get_args(inner)}

    def read(value: Any) -> Any:
        tag = told.by(value)
        if tag not in members:
            raise _Wrong([_wrong("union_tag_invalid", value, tag=tag, expected_tags=tuple(members))])
        try:
            return _reader(members[tag])(value)
        except _Wrong as wrong:
            raise _Wrong(wrong.at(tag)) from None

    return read


def _listed(values: tuple[Any, ...]) -> Read:
    def read(value: Any) -> Any:
        for each in values:
            if each == value:
                return each  # 1 for 1.0, too
        raise _Wrong([_wrong("literal_error", value, expected=values)])

    return read


def _list(item: Any) -> Read:
    reader = _reader(item)

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _Wrong([_wrong("list_type", value)])
        made: list[Any] = []
        faults: list[Fault] = []
        for index, each in enumerate(cast("list[Any]", value)):
            try:
                made.append(reader(each))
            except _Wrong as wrong:
                faults += wrong.at(index)
        if faults:
            raise _Wrong(faults)
        return made

    return read


def _mapping(name: Any, item: Any) -> Read:
    key_reader, reader = _reader(name), _reader(item)

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _Wrong([_wrong("dict_type", value)])
        made: dict[str, Any] = {}
        faults: list[Fault] = []
        for key, each in cast("dict[str, Any]", value).items():
            try:
                key_reader(key)
            except _Wrong as wrong:
                faults += wrong.at(key, "[key]")
            try:
                made[key] = reader(each)
            except _Wrong as wrong:
                faults += wrong.at(key)
        if faults:
            raise _Wrong(faults)
        return made

    return read


def _model(model: type[Model]) -> Read:
    keys = {key_of(name): name for name in model.known}
    needed = model.needed

    def read(value: Any) -> Model:
        if not isinstance(value, dict):
            raise _Wrong([_wrong("model_type", value)])
        data = cast("dict[str, Any]", value)
        made: dict[str, Any] = {}
        faults: list[Fault] = []
        for key, name in keys.items():
            if key in data:
                try:
                    made[name] = _field(model, name)(data[key])
                except _Wrong as wrong:
                    faults += wrong.at(key)
            elif name in needed:
                faults.append(_wrong("missing", value, (key,)))
        faults += [_wrong("extra_forbidden", data[key], (key,)) for key in data if key not in keys]
        if faults:
            raise _Wrong(faults)
        found: Model = model.of(made)
        try:
            for rule in model.rules:
                rule(found)
        except Refused as error:
            raise _refusal(error, value) from None
        return found

    return read


@cache
def _field(model: type[Model], name: str) -> Read:
    return _reader(bare(annotation_of(model, name), notes=True))


# --- plain values -------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong([_wrong("string_type", value)])
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong([_wrong("bool_type", value)])
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise _Wrong([_wrong("int_type", value)])
    return value


def _number(value: Any) -> float:
    if type(value) in (int, float):
        try:
            return float(value)
        except OverflowError:
            pass
    raise _Wrong([_wrong("float_type", value)])


_PLAIN: dict[Any, Read] = {str: _text, bool: _flag, int: _whole, float: _number}
