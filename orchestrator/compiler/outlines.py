"""Plain data as a text in which every value has a line of its own, so that a line tells a path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from orchestrator.frozen import frozen
from orchestrator.jsonish import dumps

if TYPE_CHECKING:
    from collections.abc import Iterator


@frozen
class Outline:
    """``text`` is YAML; ``paths`` has one for each line of it."""

    text: str
    paths: tuple[str, ...]

    def place(self, line: int) -> str:
        """The path of what stands on a line, counted from 1."""
        return self.paths[min(max(line, 1), len(self.paths)) - 1]


def outline(data: dict[str, Any]) -> Outline:
    """The outline of a mapping."""
    lines = list(_lines(data, "", "", ""))
    return Outline("".join(f"{line}\n" for line, _ in lines), tuple(path for _, path in lines))


def _lines(data: Any, before: str, path: str, indent: str) -> Iterator[tuple[str, str]]:
    if isinstance(data, dict) and data:
        yield before + "{", path
        for key, item in cast("dict[str, Any]", data).items():
            yield from _item(item, f"{indent}  {_text(key)}: ", f"{path}.{key}" if path else key, indent)
        yield indent + "}", path
    elif isinstance(data, list) and data:
        yield before + "[", path
        for index, item in enumerate(cast("list[Any]", data)):
            yield from _item(item, f"{indent}  ", f"{path}[{index}]", indent)
        yield indent + "]", path
    else:
        yield before + (_text(data) if isinstance(data, str) else dumps(data)), path


def _item(data: Any, before: str, path: str, indent: str) -> Iterator[tuple[str, str]]:
    lines = list(_lines(data, before, path, indent + "  "))
    yield from lines[:-1]
    last, of = lines[-1]
    yield last + ",", of


def _text(text: str) -> str:
    """A double-quoted text on one line, in ASCII: what breaks lines, or is no character in YAML, is escaped."""
    return f'"{"".join(_char(char) for char in text)}"'


def _char(char: str) -> str:
    code = ord(char)
    if char in '"\\':
        return f"\\{char}"
    if 0x20 <= code < 0x7F:
        return char
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
