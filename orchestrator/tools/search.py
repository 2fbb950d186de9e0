"""Finding files below a root by name (glob) and by content (grep), in bounded time, following no link."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import time
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchError
from orchestrator.expr.rules import all_below, matches, some_below
from orchestrator.frozen import field, frozen, slotted
from orchestrator.jsonish import clean_text
from orchestrator.tools import rooted
from orchestrator.tools.rooted import FileRefused

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

FOUND = 10_000
"""Files that a glob finds at most."""
MATCHES = 1_000
"""Lines that a grep finds at most."""
VISITED = 200_000
"""Entries of folders that a walk looks at."""
SECONDS = 20.0
"""Time that a walk takes."""
_PATTERN = 1_000
_BRANCHES = 64
_SHOWN = 500


class TooMuch(OrchError):
    """A search that would take too long, or find too much."""

    code = "E641"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{clean_text(what)[:300]}: {why}", hint="narrow the pattern or the path")


@frozen
class Paths:
    """Patterns of the paths that come out of a search: none of ``deny``, and one of ``allow`` unless that is None."""

    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None

    def shows(self, path: str) -> bool:
        """Whether this path comes out."""
        if any(matches(pattern, path) for pattern in self.deny):
            return False
        return self.allow is None or any(matches(pattern, path) for pattern in self.allow)

    def enters(self, path: str) -> bool:
        """Whether anything below this folder may come out."""
        if any(all_below(pattern, path) for pattern in self.deny):
            return False
        return self.allow is None or any(some_below(pattern, path) for pattern in self.allow)

    def lists(self, path: str, kind: str) -> bool:
        """Whether an entry of a folder comes out: a folder also where only something below it does."""
        if kind != "folder":
            return self.shows(path)
        return self.enters(path) and not any(matches(pattern, path) for pattern in self.deny)


ALL = Paths()


@slotted
class _Bounds:
    """What a walk may still take. TooMuch where it is used up."""

    what: str
    paths: Paths = ALL
    until: float = field(default_factory=lambda: time.monotonic() + SECONDS)
    visited: int = 0

    def visit(self, count: int) -> None:
        self.visited += count
        if self.visited > VISITED:
            raise TooMuch(self.what, f"over {VISITED} files to look at")
        if time.monotonic() > self.until:
            raise TooMuch(self.what, f"took over {SECONDS:g} s")


def glob(root: str, pattern: str, *, paths: Paths = ALL) -> list[str]:
    """The files below ``root`` that ``pattern`` matches and ``paths`` shows, sorted.

    ``*`` and ``?`` stand within one part of a path, ``**`` for any number of folders, ``[ab]`` for a character,
    ``{a,b}`` for either; as in a shell, none of them stands for a dot at a name's beginning.
    """
    if len(pattern) > _PATTERN:
        raise FileRefused(pattern[:40], f"a pattern of over {_PATTERN} characters")
    branches = [[_part(part) for part in rooted.split(branch)] for branch in _braces(pattern)]
    if not all(branches):
        raise FileRefused(pattern or "''", "an empty pattern")
    start = {(number, 0) for number in range(len(branches))}
    found: list[str] = []
    with rooted.folder(root, ()) as top:
        for path in _globbed(top, "", branches, start, _Bounds(pattern, paths), 0):
            if len(found) == FOUND:
                raise TooMuch(pattern, f"over {FOUND} files")
            found.append(clean_text(path))
    return sorted(found)


def _globbed(
    at: int, above: str, branches: list[list[Any]], states: set[tuple[int, int]], bounds: _Bounds, depth: int
) -> Iterator[str]:
    """Walk once, with the set of all places in the patterns where a match may stand: no pattern takes longer."""
    states = _closure(branches, states)
    names = rooted.entries(at)
    bounds.visit(len(names))
    for name, kind, _ in names:
        onward: set[tuple[int, int]] = set()
        whole = False
        for branch, place in states:
            parts = branches[branch]
            if place < len(parts) and _stands_for(parts[place], name):
                onward.add((branch, place if parts[place] is None else place + 1))
                whole = whole or _is_last(parts, place)
        if kind == "file" and whole and bounds.paths.shows(above + name):
            yield above + name
        elif kind == "folder" and onward and depth < rooted.DEPTH and bounds.paths.enters(above + name):
            with contextlib.suppress(FileRefused), _folder(at, name) as inner:
                yield from _globbed(inner, f"{above}{name}/", branches, onward, bounds, depth + 1)


def _closure(branches: list[list[Any]], states: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """``states`` and those behind a ``**``, which may stand for no folder at all."""
    todo, seen = list(states), set(states)
    while todo:
        branch, place = todo.pop()
        if place < len(branches[branch]) and branches[branch][place] is None and (branch, place + 1) not in seen:
            seen.add((branch, place + 1))
            todo.append((branch, place + 1))
    return seen


def _stands_for(part: re.Pattern[str] | None, name: str) -> bool:
    if part is None:
        return not name.startswith(".")
    return part.fullmatch(name) is not None and (not name.startswith(".") or part.pattern.startswith(r"(?s:\."))


def _is_last(parts: list[Any], place: int) -> bool:
    return place == len(parts) - 1


def _part(part: str) -> re.Pattern[str] | None:
    """A part of a pattern, None for ``**``. What fnmatch writes for a row of stars does not backtrack over them."""
    if part == "**":
        return None
    try:
        return re.compile(fnmatch.translate(part))
    except re.error as error:
        raise FileRefused(part, f"no pattern: {error}") from None


def _braces(pattern: str) -> list[str]:
    """``a{b,c}d`` as ``abd`` and ``acd``."""
    todo, done = [pattern], []
    while todo:
        text = todo.pop()
        inner = re.search(r"\{([^{}]*,[^{}]*)\}", text)
        if inner is None:
            done.append(text)
        else:
            todo += [text[: inner.start()] + choice + text[inner.end() :] for choice in inner[1].split(",")]
        if len(done) + len(todo) > _BRANCHES:
            raise FileRefused(pattern, f"over {_BRANCHES} choices in braces")
    return done


@contextlib.contextmanager
def _folder(at: int, name: str) -> Generator[int]:
    """The folder ``name`` inside the folder ``at``. FileRefused where it is a link, or gone."""
    try:
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    except OSError as error:
        raise FileRefused(name, os.strerror(error.errno or 0)) from None
    try:
        yield inner
    finally:
        os.close(inner)


def grep(root: str, pattern: str, parts: Sequence[str], max_size: int, *, paths: Paths = ALL) -> list[dict[str, Any]]:
    """The lines in files at or below ``parts`` that the RE2 ``pattern`` matches: path, line from 1, and text.

    Binary files, files over ``max_size`` bytes, links, and what begins with a dot are passed over; a file that is named
    is not. What ``paths`` does not show is not opened.
    """
    matcher = _compiled(pattern)
    bounds = _Bounds(pattern, paths)
    found: list[dict[str, Any]] = []
    for path, body in _bodies(root, parts, max_size, bounds):
        if b"\0" in body[:8192]:
            continue
        bounds.visit(1)
        for number, line in enumerate(body.decode("utf-8", "replace").split("\n"), 1):
            if matcher.search(line):
                if len(found) == MATCHES:
                    raise TooMuch(pattern, f"over {MATCHES} lines match")
                found.append({"path": path, "line": number, "text": clean_text(line.rstrip("\r")[:_SHOWN])})
    return found


def _compiled(pattern: str) -> Any:
    import re2

    if not pattern or len(pattern) > _PATTERN:
        raise FileRefused(pattern[:40] or "''", f"a pattern has 1 to {_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        message = error.args[0] if error.args else error
        text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
        raise FileRefused(pattern, f"no RE2 pattern: {text}") from None


def _bodies(root: str, parts: Sequence[str], max_size: int, bounds: _Bounds) -> Iterator[tuple[str, bytes]]:
    shown = "/".join(parts)
    if parts:
        with rooted.folder(root, parts[:-1]) as above:
            kinds = {name: kind for name, kind, _ in rooted.entries(above)}
            if kinds.get(parts[-1]) != "folder":
                if bounds.paths.shows(shown):
                    yield shown, rooted.read_whole(above, parts[-1], shown, max_size)
                return
    if not bounds.paths.enters(shown or "."):
        return
    with rooted.folder(root, parts) as at:
        yield from _below(at, f"{shown}/" if shown else "", max_size, bounds, len(parts))


def _below(at: int, above: str, max_size: int, bounds: _Bounds, depth: int) -> Iterator[tuple[str, bytes]]:
    names = rooted.entries(at)
    bounds.visit(len(names))
    for name, kind, size in names:
        if name.startswith("."):
            continue
        with contextlib.suppress(FileRefused):
            if kind == "file" and size <= max_size and bounds.paths.shows(above + name):
                body = rooted.read_whole(at, name, above + name, max_size)
                bounds.visit(len(body) >> 16)
                yield clean_text(above + name), body
            elif kind == "folder" and depth < rooted.DEPTH and bounds.paths.enters(above + name):
                with _folder(at, name) as inner:
                    yield from _below(inner, f"{above}{name}/", max_size, bounds, depth + 1)
