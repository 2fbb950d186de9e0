"""Compiled values: what the compiler stores in the graph for a field of a step, and the engine renders.

``to_json`` gives a small JSON array whose first item names the kind; ``value_from_json`` reads it back.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, assert_never, cast
from urllib.parse import quote

from orchestrator.errors import OrchError
from orchestrator.expr.errors import EvalError, NullValue
from orchestrator.expr.evaluate import evaluate
from orchestrator.expr.parse import Expr, ExprSyntaxError, Reference, parse, parse_template, references
from orchestrator.expr.runtime import ABSENT, DEFAULT_LIMITS, Absent, Limits, State, is_file, to_text
from orchestrator.frozen import frozen
from orchestrator.regex import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Encoding: TypeAlias = Literal["", "url"]
Path: TypeAlias = "tuple[str | int, ...]"

DOTS: Final = regex(r"(?:\.|%2e){1,2}", re.IGNORECASE)
"""The segments of a URL's path that stand for a folder or the one above it."""

_QUERY: Final = regex("[?#]")


@frozen
class Const:
    """A JSON value as it is: ``["c", value]``."""

    value: Any

    def to_json(self) -> list[Any]:
        return ["c", self.value]


@frozen
class Expression:
    """An expression, which keeps its type: ``["e", source]``. It is parsed when it is first used, once per source."""

    source: str

    @property
    def expr(self) -> Expr:
        """Its syntax tree. Raises ExprSyntaxError."""
        return _parsed(self.source)

    def to_json(self) -> list[Any]:
        return ["e", self.source]


@frozen
class Text:
    """Text with expressions in it, which become text: ``["t", encode, [part, ...]]``.

    With ``encode="url"`` what is inserted is percent-encoded, ``/`` too, but not an expression that the text begins
    with; and a segment of the path that it would make ``.`` or ``..``, which stand for other folders, is an EvalError.
    """

    parts: tuple[str | Expression, ...]
    encode: Encoding = ""

    def to_json(self) -> list[Any]:
        return ["t", self.encode, [part if isinstance(part, str) else part.to_json() for part in self.parts]]


@frozen
class ListOf:
    """A list of values: ``["l", item, ...]``."""

    items: tuple[Value, ...]

    def to_json(self) -> list[Any]:
        return ["l", *(item.to_json() for item in self.items)]


@frozen
class MapOf:
    """An object of values: ``["m", {name: value}]``."""

    fields: Mapping[str, Value]

    def to_json(self) -> list[Any]:
        return ["m", {name: value.to_json() for name, value in self.fields.items()}]


@frozen
class TextPart:
    """A part of a prompt: text, where the expression ``if_`` is true or None: ``["text", value, if]``."""

    value: Value
    if_: str | None = None

    def to_json(self) -> list[Any]:
        return ["text", self.value.to_json(), self.if_]


@frozen
class EachPart:
    """A part of a prompt: ``value`` for each item of ``expr``, named ``as_``: ``["each", expr, as, value]``."""

    expr: str
    as_: str
    value: Value

    def to_json(self) -> list[Any]:
        return ["each", self.expr, self.as_, self.value.to_json()]


@frozen
class FilePart:
    """A part of a prompt: an attachment, ``["file", value]``. The value is a file, a list of them, or null for none."""

    value: Value

    def to_json(self) -> list[Any]:
        return ["file", self.value.to_json()]


Part: TypeAlias = "TextPart | EachPart | FilePart"


@frozen
class Prompt:
    """Text in parts: ``["p", part, ...]``. ``render`` gives its text, ``render_prompt`` also its attachments."""

    parts: tuple[Part, ...]

    def to_json(self) -> list[Any]:
        return ["p", *(part.to_json() for part in self.parts)]


Value: TypeAlias = "Const | Expression | Text | ListOf | MapOf | Prompt"


@lru_cache(maxsize=1 << 16)
def _parsed(source: str) -> Expr:
    return parse(source)


class BadValue(OrchError):
    """Stored JSON that is no compiled value."""

    code = "E264"

    def __init__(self, data: Any) -> None:
        super().__init__(f"{data!r} is no compiled value", hint="the graph was written by a newer version")


def value_from_json(data: Any) -> Value:
    """The value that ``to_json`` wrote. Raises BadValue."""
    match data:
        case ["c", value]:
            return Const(value)
        case ["e", str(source)]:
            return Expression(source)
        case ["t", ("" | "url") as encode, list(parts)]:
            return Text(tuple(_text_part(part) for part in cast("list[Any]", parts)), encode)
        case ["l", *items]:
            return ListOf(tuple(value_from_json(item) for item in items))
        case ["m", dict(fields)]:
            return MapOf({name: value_from_json(item) for name, item in cast("dict[str, Any]", fields).items()})
        case ["p", *parts]:
            return Prompt(tuple(_part_from_json(part) for part in parts))
        case _:
            raise BadValue(data)


def _text_part(data: Any) -> str | Expression:
    match data:
        case str():
            return data
        case ["e", str(source)]:
            return Expression(source)
        case _:
            raise BadValue(data)


def _part_from_json(data: Any) -> Part:
    match data:
        case ["text", value, (None | str()) as if_]:
            return TextPart(value_from_json(value), if_)
        case ["each", str(expr), str(as_), value]:
            return EachPart(expr, as_, value_from_json(value))
        case ["file", value]:
            return FilePart(value_from_json(value))
        case _:
            raise BadValue(data)


class ValueSyntaxError(ExprSyntaxError):
    """An expression in a value that is none. ``path`` leads to its text: keys and indices into the data."""

    def __init__(self, error: ExprSyntaxError, path: Path) -> None:
        super().__init__(error.message, offset=error.offset, end=error.end, hint=error.hint)
        self.path = path


def compile_value(data: Any, *, text: bool = False, encode: Encoding = "", path: Path = ()) -> Value:
    """The value of plain data, whose texts may hold ``${{ }}``. One that stands alone keeps its type.

    With ``text`` each text, number and boolean in it becomes text. Raises ValueSyntaxError, with offsets into the
    text at its path.
    """
    if isinstance(data, str):
        return _compile_text(data, text, encode, path)
    if isinstance(data, list):
        items = [
            compile_value(item, text=text, encode=encode, path=(*path, index))
            for index, item in enumerate(cast("list[Any]", data))
        ]
        if all(isinstance(item, Const) for item in items):
            return Const([item.value for item in items if isinstance(item, Const)])
        return ListOf(tuple(items))
    if isinstance(data, dict):
        fields = {
            name: compile_value(item, text=text, encode=encode, path=(*path, name))
            for name, item in cast("dict[str, Any]", data).items()
        }
        if all(isinstance(item, Const) for item in fields.values()):
            return Const({name: item.value for name, item in fields.items() if isinstance(item, Const)})
        return MapOf(fields)
    if text and data is not None:
        return Const(to_text(data, _idle()))
    return Const(data)


def _compile_text(data: str, text: bool, encode: Encoding, path: Path) -> Value:
    try:
        parts = parse_template(data)
    except ExprSyntaxError as error:
        raise ValueSyntaxError(error, path) from None
    pieces = tuple(part if isinstance(part, str) else Expression(data[part.offset : part.end]) for part in parts)
    match pieces:
        case () | (str(),):
            return Const(data)
        case (Expression() as alone,) if not text:
            return alone
        case _:
            return Text(pieces, encode)


def _idle() -> State:
    return State({}, 0, "", DEFAULT_LIMITS, None)


def value_references(value: Value) -> list[Reference]:
    """The names in scope that a value uses, without those that an ``each`` binds. Offsets are into each source."""
    return list(_value_references(value))


def _value_references(value: Value) -> Iterator[Reference]:
    match value:
        case Const():
            return
        case Expression():
            yield from references(value.expr)
        case Text():
            for part in value.parts:
                if isinstance(part, Expression):
                    yield from references(part.expr)
        case ListOf():
            for item in value.items:
                yield from _value_references(item)
        case MapOf():
            for item in value.fields.values():
                yield from _value_references(item)
        case Prompt():
            for part in value.parts:
                yield from _part_references(part)
        case _:
            assert_never(value)


def _part_references(part: Part) -> Iterator[Reference]:
    match part:
        case TextPart():
            if part.if_ is not None:
                yield from references(_parsed(part.if_))
            yield from _value_references(part.value)
        case EachPart():
            yield from references(_parsed(part.expr))
            yield from (found for found in _value_references(part.value) if found.root != part.as_)
        case FilePart():
            yield from _value_references(part.value)
        case _:
            assert_never(part)


def render(
    value: Value,
    env: Mapping[str, Any],
    *,
    now: int,
    seed: str,
    stored: Callable[[dict[str, Any]], str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Any:
    """The JSON of a value, or ABSENT where anything in it is absent.

    ``now`` is in microseconds since 1970; ``seed`` and the place in the value make ``uuid()``; ``stored`` gives the
    path of a file value's stored copy. Raises EvalError; null in text is a NullValue.
    """
    return _Renderer(env, now, stored, limits).value(value, seed)


def render_prompt(
    value: Value,
    env: Mapping[str, Any],
    *,
    now: int,
    seed: str,
    stored: Callable[[dict[str, Any]], str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[str, list[dict[str, Any]]] | Absent:
    """The text of a prompt and its attachments (file values), or ABSENT. A plain value is a prompt of one part."""
    prompt = value if isinstance(value, Prompt) else Prompt((TextPart(value),))
    return _Renderer(env, now, stored, limits).prompt(prompt, seed)


@frozen
class _Renderer:
    env: Mapping[str, Any]
    now: int
    stored: Callable[[dict[str, Any]], str] | None
    limits: Limits

    def expression(self, source: str, seed: str) -> Any:
        return evaluate(_parsed(source), self.env, now=self.now, seed=seed, limits=self.limits, stored=self.stored)

    def value(self, value: Value, seed: str) -> Any:
        match value:
            case Const():
                return value.value
            case Expression():
                return self.expression(value.source, seed)
            case Text():
                return self.text(value, seed)
            case ListOf():
                made = [self.value(item, f"{seed}\0{index}") for index, item in enumerate(value.items)]
                return ABSENT if any(item is ABSENT for item in made) else made
            case MapOf():
                fields = {name: self.value(item, f"{seed}\0{name}") for name, item in value.fields.items()}
                return ABSENT if any(item is ABSENT for item in fields.values()) else fields
            case Prompt():
                rendered = self.prompt(value, seed)
                return rendered if isinstance(rendered, Absent) else rendered[0]
            case _:
                assert_never(value)

    def text(self, value: Text, seed: str) -> str | Absent:
        pieces: list[str] = []
        encoded: set[int] = set()
        for index, part in enumerate(value.parts):
            if isinstance(part, str):
                pieces.append(part)
                continue
            found = self.expression(part.source, f"{seed}\0{index}")
            if found is ABSENT:
                return ABSENT
            piece = self.plain(found, part.source)
            if value.encode == "url" and index > 0:
                encoded.add(index)
                piece = _quoted(piece)
            pieces.append(piece)
        if encoded and (climbing := _climbing(pieces, encoded)) is not None:
            raise EvalError(
                f"the path of the URL would have '{climbing}' for a segment, which leads to another folder",
                hint="refuse such a value before: with `pattern`, or in `if`",
            )
        return "".join(pieces)

    def plain(self, value: Any, source: str) -> str:
        if value is None:
            raise NullValue(f"'{source}' is null, and null cannot stand in text")
        return to_text(value, State(self.env, self.now, "", self.limits, self.stored))

    def prompt(self, prompt: Prompt, seed: str) -> tuple[str, list[dict[str, Any]]] | Absent:
        texts: list[str] = []
        files: list[dict[str, Any]] = []
        for index, part in enumerate(prompt.parts):
            place = f"{seed}\0{index}"
            match part:
                case TextPart():
                    found = self.text_part(part, place)
                case EachPart():
                    found = self.each_part(part, place)
                case FilePart():
                    found = self.file_part(part, place)
                case _:
                    assert_never(part)
            if isinstance(found, Absent):
                return ABSENT
            if isinstance(found, list):
                files.extend(found)
            elif kept := found.rstrip("\r\n"):
                texts.append(kept)
        return "\n\n".join(texts), files

    def text_part(self, part: TextPart, seed: str) -> str | Absent:
        if part.if_ is not None:
            chosen = self.expression(part.if_, seed)
            if chosen is ABSENT or chosen is False:
                return ABSENT if chosen is ABSENT else ""
            if chosen is not True:
                raise EvalError(f"'{part.if_}' is neither true nor false")
        return self.inserted(part.value, seed)

    def inserted(self, value: Value, seed: str) -> str | Absent:
        found = self.value(value, seed)
        if found is ABSENT or isinstance(found, str):
            return found
        return self.plain(found, value.source if isinstance(value, Expression) else "the text")

    def each_part(self, part: EachPart, seed: str) -> str | Absent:
        items = self.expression(part.expr, seed)
        if items is ABSENT:
            return ABSENT
        if not isinstance(items, list):
            raise NullValue(f"'{part.expr}' is null") if items is None else EvalError(f"'{part.expr}' is no list")
        lines: list[str] = []
        for index, item in enumerate(cast("list[Any]", items)):
            inner = _Renderer({**self.env, part.as_: item}, self.now, self.stored, self.limits)
            line = inner.inserted(part.value, f"{seed}\0{index}")
            if isinstance(line, Absent):
                return ABSENT
            if kept := line.rstrip("\r\n"):
                lines.append(kept)
        return "\n".join(lines)

    def file_part(self, part: FilePart, seed: str) -> list[dict[str, Any]] | Absent:
        found = self.value(part.value, seed)
        if found is ABSENT or found is None:
            return ABSENT if found is ABSENT else []
        files = cast("list[Any]", found) if isinstance(found, list) else [found]
        for item in files:
            if not is_file(item):
                raise EvalError("an attachment is a file", hint="declare the input with type: file")
        return files


def _quoted(text: str) -> str:
    """Percent-encoded, but for references to secrets, which are replaced at the last moment."""
    pieces = text.split("\0")
    return "\0".join(piece if index % 2 else quote(piece, safe="") for index, piece in enumerate(pieces))


def _climbing(pieces: list[str], encoded: set[int]) -> str | None:
    """The first segment of a URL's path that is ``.`` or ``..`` with a part in it that was inserted; None for none."""
    segment, inserted = "", False
    for index, piece in enumerate(pieces):
        path = _QUERY.split(piece, maxsplit=1)[0]
        for number, text in enumerate(path.split("/")):
            if number == 0:
                segment, inserted = segment + text, inserted or index in encoded
                continue
            if inserted and DOTS.fullmatch(segment):
                return segment
            segment, inserted = text, index in encoded
        if len(path) < len(piece):
            break
    return segment if inserted and DOTS.fullmatch(segment) else None
