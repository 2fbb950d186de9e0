"""Rules of ``allow`` and ``deny``: ``tool``, ``tool(argument: pattern, …)``.

A rule speaks of a call by its tool's name (``fetch``, ``fs.write``) and of the texts of its arguments. Patterns are of
the whole text: ``*`` stands for any characters, ``?`` for one, a backslash takes the next one as it is. RE2 matches
them: the time is linear, whatever a model sends.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.frozen import frozen
from orchestrator.jsonish import clean_text, dumps
from orchestrator.regex import regex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_LENGTH: Final = 1000
_NAME: Final = regex(r"[A-Za-z0-9_*?][A-Za-z0-9_.*?/-]*")
_ARGUMENT: Final = regex(r"[A-Za-z_][A-Za-z0-9_-]*")


class BadRule(ValueError):
    """What is no rule; the message is a sentence."""


@frozen
class Rule:
    """``name`` and the texts of ``args`` are patterns; a call must meet all of them."""

    name: str
    args: tuple[tuple[str, str], ...] = ()

    def covers(self, name: str) -> bool:
        """Whether the rule speaks of calls of ``name`` at all."""
        return _meets(self.name, name)

    def meets(self, name: str, args: Mapping[str, Any]) -> bool:
        """Whether a call is one that the rule means; an argument that is not given counts as null."""
        return self.covers(name) and all(_meets(wanted, text_of(args.get(key))) for key, wanted in self.args)

    @property
    def path(self) -> str | None:
        """The pattern of ``path``; None where the rule has none."""
        return dict(self.args).get("path")

    def meets_but_path(self, name: str, args: Mapping[str, Any]) -> bool:
        """Whether a call is one that the rule means, whatever its ``path``."""
        others = ((key, wanted) for key, wanted in self.args if key != "path")
        return self.covers(name) and all(_meets(wanted, text_of(args.get(key))) for key, wanted in others)


@lru_cache(1024)
def read_rule(text: str) -> Rule:
    """The rule of a text. Raises BadRule."""
    if len(text) > MAX_LENGTH:
        raise BadRule(f"a rule has at most {MAX_LENGTH} characters")
    name, bracket, rest = text.strip().partition("(")
    name = name.rstrip()
    if not _NAME.fullmatch(name):
        raise BadRule(f"{name[:80]!r} is no name of a tool")
    if not bracket:
        return Rule(name)
    if not rest.endswith(")"):
        raise BadRule("the rule ends without its `)`")
    args: dict[str, str] = {}
    for part in _parts(rest[:-1]):
        key, colon, wanted = part.partition(":")
        key = key.strip()
        if not colon or not _ARGUMENT.fullmatch(key):
            raise BadRule(f"{part.strip()[:80]!r} is not of the form `argument: pattern`")
        if key in args:
            raise BadRule(f"`{key}` stands twice")
        args[key] = _trimmed(wanted)
    return Rule(name, tuple(args.items()))


def _parts(text: str) -> Iterator[str]:
    """What commas part, but for those behind a backslash."""
    start = index = 0
    while index < len(text):
        if text[index] == "\\":
            index += 1
        elif text[index] == ",":
            yield text[start:index]
            start = index + 1
        index += 1
    yield text[start:]


def _trimmed(pattern: str) -> str:
    """Without the blanks around it. One that is meant stands behind a backslash."""
    pattern = pattern.lstrip()
    bare = pattern.rstrip()
    slashes = len(bare) - len(bare.rstrip("\\"))
    if not bare or slashes % 2 and len(bare) == len(pattern):
        raise BadRule("a pattern is empty, or ends with a backslash; `*` stands for any text")
    return pattern[: len(bare) + slashes % 2]


def _meets(pattern: str, text: str) -> bool:
    if pattern == "*":
        return True
    from orchestrator.expr.patterns import searcher

    return searcher(_expression(clean_text(pattern)))(clean_text(text))


@lru_cache(1024)
def _expression(pattern: str) -> str:
    """A pattern in RE2's own syntax."""
    out: list[str] = []
    chars = iter(pattern)
    for char in chars:
        match char:
            case "*":
                out.append(".*")
            case "?":
                out.append(".")
            case "\\":
                out.append(_literal(next(chars)))
            case _:
                out.append(_literal(char))
    return rf"(?s)\A{''.join(out)}\z"


def _literal(char: str) -> str:
    return char if char.isalnum() or ord(char) > 127 else f"\\x{ord(char):02x}"


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern is of this text."""
    return _meets(pattern, text)


def is_literally(pattern: str, text: str) -> bool:
    """Whether a pattern is of this text and of no other one."""
    return _tokens(clean_text(pattern)) == tuple(clean_text(text))


def all_below(pattern: str, folder: str) -> bool:
    """Whether a pattern is of every path below a folder (``.`` is the root)."""
    tokens = _tokens(clean_text(pattern))
    rests = [tokens[place:] for place in _places(tokens, folder)]
    return any(_ANY in rest and {*rest} <= {_ANY, _ONE} and rest.count(_ONE) <= 1 for rest in rests)


def some_below(pattern: str, folder: str) -> bool:
    """Whether a pattern is of any path that there could be below a folder (``.`` is the root)."""
    tokens = _tokens(clean_text(pattern))
    return any(place < len(tokens) for place in _places(tokens, folder))


_ANY: Final = 0
_ONE: Final = 1


@lru_cache(1024)
def _tokens(pattern: str) -> tuple[str | int, ...]:
    """The signs of a pattern: a character as itself, and what stands for any text or for one character."""
    chars = iter(pattern)
    wild = {"*": _ANY, "?": _ONE}
    return tuple(next(chars) if char == "\\" else wild.get(char, char) for char in chars)


def _places(tokens: tuple[str | int, ...], folder: str) -> set[int]:
    """Where in a pattern one may stand when what all paths below a folder begin with is read."""
    places = _onward(tokens, {0})
    for char in "" if folder == "." else clean_text(folder) + "/":
        met = {place for place in places if place < len(tokens) and tokens[place] in (_ANY, _ONE, char)}
        places = _onward(tokens, {place if tokens[place] == _ANY else place + 1 for place in met})
    return places


def _onward(tokens: tuple[str | int, ...], places: set[int]) -> set[int]:
    """``places`` and those behind a ``*``, which may stand for nothing."""
    found: set[int] = set()
    for start in places:
        place = start
        while place < len(tokens) and tokens[place] == _ANY:
            found.add(place)
            place += 1
        found.add(place)
    return found


def text_of(value: Any) -> str:
    """The text of an argument: text as it is, anything else as JSON, whole numbers without a fraction."""
    return value if isinstance(value, str) else dumps(_whole(value))


def _whole(value: Any) -> Any:
    """``1.0`` is no other number than ``1``."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in cast("dict[str, Any]", value).items()}
    return value
