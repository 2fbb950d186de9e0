"""Tokens of the expression language, read on demand: what follows an expression need not be one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from orchestrator.errors import OrchError
from orchestrator.frozen import frozen
from orchestrator.regex import regex

if TYPE_CHECKING:
    import re


class ExprSyntaxError(OrchError):
    """A text that is no expression. ``offset`` and ``end`` bound what is wrong, in code points of the parsed text."""

    code: ClassVar[str] = "E200"

    def __init__(self, message: str, *, offset: int, end: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.offset = offset
        self.end = max(end, offset)


@frozen
class Token:
    """``kind`` is ``end``, ``int``, ``float``, ``string``, ``name``, or the operator itself."""

    kind: str
    value: int | float | str
    offset: int
    end: int


_SPACE: Final = regex(r"(?:[ \t\r\n\f]+|//[^\n]*)*")
_NAME: Final = regex(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER: Final = regex(r"0[xX][0-9A-Fa-f]+|(?:[0-9]+)?\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+(?:[eE][+-]?[0-9]+)?")
_OPERATOR: Final = regex(r"&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}]")
_QUOTE: Final = regex(r"([rR]?)('''|\"\"\"|'|\")")
_MISTAKES: Final = {
    "=": "equality is written ==",
    "&": "'and' is written &&",
    "|": "'or' is written ||; a function is called as f(x) or x.f()",
    "$": "an expression stands inside ${{ }} as it is: write the name alone",
    "`": "text stands in '...' or \"...\"",
    "^": "there is no power and no bit operator",
    "~": "there is no bit operator; a pattern is x.matches('...')",
    "@": "names are letters, digits and _",
    "#": "a YAML comment starts with ' #': quote the whole value",
    ";": "an expression is one value: there are no statements",
    "\\": "escapes are for inside '...'",
}
_SIMPLE_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`",
}  # fmt: skip
_ESCAPE: Final = regex(
    r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-3][0-7]{2}))"
)


class Lexer:
    """Tokens of ``text`` from ``at``."""

    def __init__(self, text: str, at: int = 0) -> None:
        self.text = text
        self.at = at

    def next(self) -> Token:
        """The next token, of kind ``end`` where the text is over. Raises ExprSyntaxError."""
        text = self.text
        space = _SPACE.match(text, self.at)
        start = space.end() if space else self.at
        if start >= len(text):
            return self._token("end", "", start, start)
        if quote := _QUOTE.match(text, start):
            return self._string(quote)
        if found := _NAME.match(text, start):
            if found.end() == start + 1 and found.group() in "bB" and text[start + 1 : start + 2] in ("'", '"'):
                raise ExprSyntaxError("there are no byte strings", offset=start, end=start + 2, hint="leave out the b")
            return self._token("name", found.group(), start, found.end())
        if found := _NUMBER.match(text, start):
            return self._number(found)
        if found := _OPERATOR.match(text, start):
            return self._token(found.group(), found.group(), start, found.end())
        char = text[start]
        raise ExprSyntaxError(f"unexpected {char!r}", offset=start, end=start + 1, hint=_MISTAKES.get(char))

    def _token(self, kind: str, value: float | str, start: int, end: int) -> Token:
        self.at = end
        return Token(kind, value, start, end)

    def _number(self, found: re.Match[str]) -> Token:
        start, end, digits = found.start(), found.end(), found.group()
        follow = _NAME.match(self.text, end)
        if follow:
            hint = "there are no unsigned numbers" if follow.group() in "uU" else None
            message = f"unexpected {follow.group()!r} after a number"
            raise ExprSyntaxError(message, offset=end, end=follow.end(), hint=hint)
        if digits[:2] in ("0x", "0X"):
            return self._token("int", self._whole(digits, 16, start, end), start, end)
        if digits.isdigit():
            return self._token("int", self._whole(digits, 10, start, end), start, end)
        value = float(digits)
        if value == float("inf"):
            raise ExprSyntaxError("this number is too large", offset=start, end=end)
        return self._token("float", value, start, end)

    def _whole(self, digits: str, base: int, start: int, end: int) -> int:
        # One over the largest: the literal of the least integer is `-` and this.
        if len(digits) <= 64:
            value = int(digits, base)
            if value <= 1 << 63:
                return value
        raise ExprSyntaxError("this integer has more than 64 bits", offset=start, end=end, hint="write it as 1e20")

    def _string(self, quote: re.Match[str]) -> Token:
        text, raw, mark = self.text, quote.group(1) != "", quote.group(2)
        at, parts = quote.end(), list[str]()
        while not text.startswith(mark, at):
            if at >= len(text) or (len(mark) == 1 and text[at] in "\r\n"):
                hint = f"close it with {mark}" + ("; a text over lines stands in '''...'''" if len(mark) == 1 else "")
                raise ExprSyntaxError("this text does not end", offset=quote.start(), end=at, hint=hint)
            if text[at] == "\\" and not raw:
                escape = _ESCAPE.match(text, at)
                if escape is None:
                    hint = "write \\\\ for a backslash, or r'...' for a pattern"
                    raise ExprSyntaxError("unknown escape", offset=at, end=min(at + 2, len(text)), hint=hint)
                parts.append(self._escaped(escape))
                at = escape.end()
            else:
                parts.append(text[at])
                at += 1
        return self._token("string", "".join(parts), quote.start(), at + len(mark))

    def _escaped(self, escape: re.Match[str]) -> str:
        simple, two, four, eight, octal = escape.groups()
        if simple:
            return _SIMPLE_ESCAPES[simple]
        point = int(octal, 8) if octal else int(two or four or eight, 16)
        if point == 0 or point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            message = "this character cannot stand in text"
            raise ExprSyntaxError(message, offset=escape.start(), end=escape.end(), hint="no NUL and no lone surrogate")
        return chr(point)
