"""What an agent may keep, and how: notes, a to-do list, boards, facts and skills, as tools that are built in.

Each tool's schema says what it takes, and which boards and skills an agent may name. What becomes of a list or a board
is a pure function of what it was and of the call; ``Refused`` says why a call changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.frozen import frozen
from orchestrator.journal.kept import weight
from orchestrator.jsonish import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.graph.nodes import AgentDef, SkillDef
    from orchestrator.journal.kept import Board
    from orchestrator.journal.store import Fact

LIST_BYTES: Final = 32 * 1024
"""Canonical bytes of all notes of an agent, and of a to-do list: each call gives them whole."""

VALUE_BYTES: Final = 64 * 1024
"""Canonical bytes of a value on a board, and of what one reading of a board gives."""

BOARD_BYTES: Final = 1024 * 1024
KEY_CHARS: Final = 200
FACT_BYTES: Final = 8 * 1024
"""Bytes of the text of a fact."""

RECALLED_FACTS: Final = 20
RECALLED_BYTES: Final = 16 * 1024

_KEY: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": KEY_CHARS}
_TEXT: Final[dict[str, Any]] = {"type": "string", "minLength": 1}
_ID: Final[dict[str, Any]] = {"type": "integer"}


class Refused(Exception):
    """A call that changes nothing. ``code`` is a class of errors, ``detail`` any JSON."""

    def __init__(self, code: str, message: str, *, detail: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail


@frozen
class Keeping:
    """A tool that is built in: ``given`` is what a call needs beside its arguments."""

    name: str
    description: str
    input: dict[str, Any]
    given: Mapping[str, Any]


def tools_of(agent: AgentDef) -> list[Keeping]:
    """The tools that an agent has for what it keeps, in a fixed order."""
    found: list[Keeping] = []
    if agent.notes:
        found.append(_tool("note", "Write a note for yourself, and read all of them.", optional={"text": _TEXT}))
    if agent.todo:
        whose = "the to-do list that you share with other agents" if agent.todo == "shared" else "your to-do list"
        listed: dict[str, Any] = {"add": _one_or_many(_TEXT), "done": _one_or_many(_ID)}
        what = f"Add texts to {whose}, mark entries as done by their ids, and read the whole list."
        found.append(_tool("todo", what, optional=listed, given={"shared": agent.todo == "shared"}))
    if agent.memory is not None:
        given = {"scope": agent.memory.scope}
        if agent.memory.remember:
            what = "Keep a fact for later runs, under a key; a fact that is there under the key is replaced."
            found.append(_tool("remember", what, {"key": _KEY, "text": _TEXT}, given=given))
        if agent.memory.recall:
            what = "Find facts that were kept, by words in their keys and texts; an empty query gives the latest ones."
            found.append(_tool("recall", what, {"query": {"type": "string"}}, given=given))
    if agent.share:
        found += _boards(agent.share)
    if agent.skills:
        found.append(_skills(agent.skills))
    return found


NAMES: Final[Mapping[str, str]] = {
    "note": "notes: true",
    "todo": "todo: true",
    "remember": "memory: {scope: NAME}",
    "recall": "memory: {scope: NAME}",
    "board_get": "share: [BOARD]",
    "board_set": "share: [BOARD]",
    "skill": "skills: [FOLDER]",
}
"""The names of these tools, and what gives each to an agent."""


def _tool(
    name: str,
    description: str,
    required: Mapping[str, Any] | None = None,
    *,
    optional: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
) -> Keeping:
    properties = {**(required or {}), **(optional or {})}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(required or ()),
        "additionalProperties": False,
    }
    return Keeping(name, description, schema, given or {})


def _one_or_many(item: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [item, {"type": "array", "items": item}]}


def _boards(names: Sequence[str]) -> list[Keeping]:
    board = {"type": "string", "enum": list(names)}
    reading = "Read a board that agents share: the value of a key (null where there is none), or all of it."
    writing = (
        "Set a key of a board that agents share; null takes it away. With expected (null: no value yet) it is set only "
        "where it still has that value. Gives ok, and the value that it has now."
    )
    return [
        _tool("board_get", reading, {"board": board}, optional={"key": _KEY}),
        _tool("board_set", writing, {"board": board, "key": _KEY, "value": {}}, optional={"expected": {}}),
    ]


def _skills(skills: Sequence[SkillDef]) -> Keeping:
    listed = "\n".join(f"- {skill.name}: {skill.description}" for skill in skills)
    what = f"Read how to do something, before you do it. There are:\n{listed}"
    names = {"type": "string", "enum": [skill.name for skill in skills]}
    return _tool("skill", what, {"name": names}, given={skill.name: skill_text(skill) for skill in skills})


def skill_text(skill: SkillDef) -> str:
    """What a skill says, and the files that it has beside."""
    if not skill.files:
        return skill.text
    listed = "\n".join(f"- {name}" for name in skill.files)
    return f"{skill.text.rstrip()}\n\nOther files in the folder of this skill:\n{listed}\n"


def noted(notes: list[str], args: Mapping[str, Any]) -> list[str]:
    """All notes after a call."""
    text = args.get("text")
    return notes if text is None else _fitting("the notes", [*notes, text])


def listed(items: list[dict[str, Any]], args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A to-do list after a call: entries are ``{id, text, done}``, with ids from 1 on."""
    wanted = {int(number) for number in _many(args.get("done"))}
    added = [
        {"id": len(items) + index, "text": text, "done": False}
        for index, text in enumerate(_many(args.get("add")), start=1)
    ]
    unknown = sorted(wanted - {item["id"] for item in items})
    if unknown:
        raise Refused("invalid_input", f"the list has no entry {', '.join(map(str, unknown))}")
    done = [{**item, "done": True} if item["id"] in wanted else item for item in items]
    return _fitting("the list", [*done, *added]) if added else done


def _many(given: Any) -> list[Any]:
    return [] if given is None else cast("list[Any]", given) if isinstance(given, list) else [given]


def _fitting(what: str, items: list[Any]) -> list[Any]:
    size = len(canonical(items))
    if size > LIST_BYTES:
        raise Refused("too_large", f"{what} would take {size} bytes, and {LIST_BYTES} is the most")
    return items


def read_board(board: Board, args: Mapping[str, Any]) -> Any:
    """The value of a key, or the whole board."""
    if "key" in args:
        return board.values.get(args["key"])
    if board.size > VALUE_BYTES:
        keys = sorted(board.values)
        message = (
            f"the board has {len(keys)} keys in {board.size} bytes, and {VALUE_BYTES} are read at once: name a key"
        )
        raise Refused("too_large", message, detail={"keys": keys[:200]})
    return dict(board.values)


def changed_board(board: Board, args: Mapping[str, Any]) -> dict[str, Any]:
    """What a call to set a key gives: whether it is set, and the value that the key has then."""
    key, value = args["key"], args["value"]
    current = board.values.get(key)
    # Not by ==, for which 1, 1.0 and true are the same.
    if "expected" in args and canonical(args["expected"]) != canonical(current):
        return {"ok": False, "value": current}
    size = weight(key, value)
    if size > VALUE_BYTES:
        raise Refused("too_large", f"the value takes {size} bytes, and {VALUE_BYTES} is the most")
    whole = board.size + board.growth(key, value)
    if whole > BOARD_BYTES:
        raise Refused("too_large", f"the board would take {whole} bytes, and {BOARD_BYTES} is the most")
    return {"ok": True, "value": value}


def best(facts: Iterable[Fact], query: str) -> list[Fact]:
    """The facts that a query finds, the best ones first, at most ``RECALLED_FACTS``.

    A word counts where it stands anywhere in a text, and twice in a key, in letters of any case; the latest facts come
    first among equals, then the order of keys. A query without words finds every fact.
    """
    words = sorted(set(query.casefold().split()))
    ranked = ((_score(fact, words), fact) for fact in facts)
    found = [(-score, -fact.at, fact.key, fact) for score, fact in ranked if score or not words]
    return [fact for *_, fact in sorted(found, key=lambda one: one[:3])[:RECALLED_FACTS]]


def _score(fact: Fact, words: Sequence[str]) -> int:
    key, text = fact.key.casefold(), fact.text.casefold()
    return sum(2 * (word in key) + (word in text) for word in words)


def recalled(facts: Sequence[Fact]) -> list[dict[str, str]]:
    """The facts as a model reads them, as many as ``RECALLED_BYTES`` hold, and the first one always."""
    out: list[dict[str, str]] = []
    size = 2
    for fact in facts:
        shown = {"key": fact.key, "text": fact.text}
        size += len(canonical(shown)) + 1
        if out and size > RECALLED_BYTES:
            break
        out.append(shown)
    return out
