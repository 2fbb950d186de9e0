"""Seeded mutations of texts: what a slip of the hand does to a file, and what no hand does."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKENS = (
    "{", "}", "[", "]", ":", ": ", "- ", "? ", "#", " #", "'", '"', "|", ">", "&a ", "*a", "!x ", "!!str ", "%", "@",
    "`", ",", "<<: ", "${{", "}}", "${{ x }}", "---\n", "...\n", "\t", "  ", "\n", "\r", "\0", "\x85", "\u2028",
    "\ufeff", "~", "\U0001f600", "null", "true", "1e999", ".nan", "0x", "9" * 50, "version", "steps:", "agent: {}",
    "run: ", "do:", "\\u", "\\ud800", "é",
)  # fmt: skip


def mutated(texts: list[str], *, seed: int, count: int) -> Iterator[bytes]:
    """``count`` mutations of ``texts``; one in ten of them is random bytes."""
    chance = random.Random(seed)
    for _ in range(count):
        if chance.random() < 0.1:
            yield _bytes(chance)
            continue
        text = chance.choice(texts)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            text = chance.choice(MUTATIONS)(text, chance)
        body = text.encode("utf-8", "surrogatepass")
        yield body if chance.random() < 0.95 else _spoiled(body, chance)


def _bytes(chance: random.Random) -> bytes:
    size = chance.choice((0, 1, 5, 50, 500))
    if chance.random() < 0.5:
        return chance.randbytes(size)
    return "".join(chance.choices(TOKENS, k=size // 5)).encode("utf-8", "surrogatepass")


def _spoiled(body: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(body) + 1)
    return body[:at] + chance.randbytes(3) + body[at:]


def _cut(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + text[at + chance.choice((1, 1, 2, 5, 40)) :]


def _insert(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(TOKENS) + text[at:]


def _replace(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(TOKENS) + text[at + 1 :]


def _truncate(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text) + 1)]


def _lines(change: Callable[[list[str], random.Random], None]) -> Callable[[str, random.Random], str]:
    def mutation(text: str, chance: random.Random) -> str:
        lines = text.split("\n")
        change(lines, chance)
        return "\n".join(lines)

    return mutation


def _drop(lines: list[str], chance: random.Random) -> None:
    del lines[chance.randrange(len(lines))]


def _double(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    lines.insert(at, lines[at])


def _swap(lines: list[str], chance: random.Random) -> None:
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]


def _indent(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    lines[at] = chance.choice((" ", "  ", "\t")) + lines[at] if chance.random() < 0.5 else lines[at][1:]


def _retype(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    key, colon, _ = lines[at].partition(": ")
    lines[at] = (
        key
        + colon
        + chance.choice(("", "5", "-1", "true", "[]", "{}", "{a: [1]}", "[[x]]", "''", "x", "5m", "~", "2026-01-01"))
    )


def _rename(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    words = (
        "agent",
        "tool",
        "run",
        "map",
        "do",
        "steps",
        "if",
        "output",
        "retry",
        "join",
        "finally",
        "A-B",
        "x",
        "true",
        "5",
    )
    indent = len(lines[at]) - len(lines[at].lstrip())
    _, colon, value = lines[at].partition(":")
    lines[at] = " " * indent + chance.choice(words) + colon + value


MUTATIONS = (
    _cut, _insert, _insert, _replace, _truncate,
    _lines(_drop), _lines(_double), _lines(_swap), _lines(_indent), _lines(_retype), _lines(_rename),
)  # fmt: skip
