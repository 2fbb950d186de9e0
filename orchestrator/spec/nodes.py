"""The nodes of a YAML text: plain data, and the place of every key and value.

A node keeps two offsets into its source; lines and columns are made of them when a diagnostic asks. Aliases stand for
the very node of their anchor, so a path through an alias has the place of what it stands for.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from orchestrator.frozen import field, frozen, slotted
from orchestrator.spec.diagnostics import Mark

if TYPE_CHECKING:
    from pathlib import Path

DataPath: TypeAlias = "tuple[str | int, ...]"

_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_SPACE: Final = re.compile(r"[ \t\r\n]+")


class Source:
    """A text, the name that diagnostics give it, and the folder that its paths resolve against."""

    def __init__(self, name: str, text: str, folder: Path) -> None:
        self.name = name
        self.text = text
        self.folder = folder

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in _LINE_END.finditer(self.text))]

    @property
    def lines(self) -> int:
        """How many lines the text has."""
        return len(self._starts)

    def mark(self, start: int, end: int) -> Mark:
        """The mark of ``text[start:end]``."""
        line, column = self.position(start)
        end_line, end_column = self.position(max(start, end))
        return Mark(self.name, line, column, end_line, end_column)

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1, of an offset."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line_start(self, offset: int) -> int:
        """The offset at which the line of an offset begins."""
        return self._starts[bisect_right(self._starts, offset) - 1]

    def rest_of_line(self, offset: int) -> str:
        """The text from an offset to the end of its line."""
        match = _LINE_END.search(self.text, offset)
        return self.text[offset : match.start() if match else len(self.text)]


@frozen
class Skill:
    """What a ``SKILL.md`` says; ``files`` are the others of its folder, by relative path."""

    name: str
    description: str
    text: str
    files: tuple[str, ...]


@slotted(eq=False)
class Scalar:
    """A scalar: its value as data, its text, and its style, ``""`` for a plain one, else one of ``' " | >``."""

    source: Source
    start: int
    end: int
    data: Any
    text: str
    style: str
    flow: bool
    size: int = 1
    height: int = 1


@slotted(eq=False)
class Sequence:
    """A list."""

    source: Source
    start: int
    end: int
    flow: bool
    data: list[Any] = field(default_factory=list[Any])
    items: list[Node] = field(default_factory=list[Any])
    size: int = 1
    height: int = 1


@slotted(eq=False)
class Mapping:
    """A mapping: entries are pairs of the key's node and the value's."""

    source: Source
    start: int
    end: int
    flow: bool
    data: dict[str, Any] = field(default_factory=dict[Any, Any])
    entries: dict[str, tuple[Scalar, Node]] = field(default_factory=dict[Any, Any])
    size: int = 1
    height: int = 1


Node: TypeAlias = "Scalar | Sequence | Mapping"


def find(root: Node, path: DataPath) -> tuple[Scalar | None, Node, int]:
    """The key's node and the value's node at a path, and how many of its elements were found."""
    key: Scalar | None = None
    node = root
    for count, element in enumerate(path):
        match node:
            case Mapping() if isinstance(element, str) and element in node.entries:
                key, node = node.entries[element]
            case Sequence() if isinstance(element, int) and 0 <= element < len(node.items):
                key, node = None, node.items[element]
            case _:
                return key, node, count
    return key, node, len(path)


def mark_of(node: Node) -> Mark:
    """The mark of a node, without the white space behind it."""
    end = node.end
    if not isinstance(node, Scalar) or node.style in ("|", ">"):
        end = node.start + len(node.source.text[node.start : node.end].rstrip())
    return node.source.mark(node.start, end)


def mark_in(node: Scalar, start: int, end: int) -> Mark:
    """The mark of ``node.text[start:end]``; the place where the scalar begins, where escapes or folds hide it."""
    offsets = _offsets(node)
    if offsets is None or not 0 <= start <= end <= len(node.text):
        return node.source.mark(node.start, node.start + 1)
    first = offsets[start]
    last = offsets[end - 1] + 1 if end > start else first
    return node.source.mark(first, last)


def _offsets(node: Scalar) -> list[int] | None:
    """For each character of the scalar's text, and for its end, the offset in the source; None where that is hidden."""
    match node.style:
        case "":
            return _folded(node, node.start, node.end)
        case "'":
            return _folded(node, node.start + 1, node.end - 1, doubled="'")
        case '"':
            raw = node.source.text[node.start + 1 : node.end - 1]
            return None if "\\" in raw else _folded(node, node.start + 1, node.end - 1)
        case _:
            begin = _LINE_END.search(node.source.text, node.start)
            return _block(node, begin.end()) if begin else None


def _folded(node: Scalar, start: int, end: int, doubled: str = "") -> list[int] | None:
    """Align a flow scalar, whose line ends and the white space around them became one space, or newlines."""
    source = node.source.text
    offsets: list[int] = []
    at, done, length = start, 0, len(node.text)
    while done < length:
        space = _SPACE.match(source, at, end)
        if space:
            breaks = len(_LINE_END.findall(space[0]))
            made = space[0] if not breaks else " " if breaks == 1 else "\n" * (breaks - 1)
            places = range(at, space.end()) if not breaks else [at] * len(made)
            at = space.end()
        else:
            made, places = source[at : min(at + 1, end)], [at]
            at += 2 if doubled and made == doubled else 1
        if not made or not node.text.startswith(made, done):
            return None
        offsets += places
        done += len(made)
    return [*offsets, at]


def _block(node: Scalar, start: int) -> list[int] | None:
    """Align a literal scalar line by line; a folded one too, as long as no line was joined to another one."""
    source, indent = node.source, None
    offsets: list[int] = []
    at = start
    for line in node.text.split("\n"):
        raw = source.rest_of_line(at)
        if line and indent is None:
            indent = len(raw) - len(raw.lstrip(" ")) - (len(line) - len(line.lstrip(" ")))
        skip = min(indent or 0, len(raw))
        if raw[skip:] != line and line:
            return None
        offsets += range(at + skip, at + skip + len(line) + 1)
        ended = _LINE_END.search(source.text, at)
        if ended is None:
            break
        at = ended.end()
    offsets += [offsets[-1]] * (len(node.text) + 1 - len(offsets))
    return offsets[: len(node.text) + 1]
