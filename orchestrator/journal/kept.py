"""What the agents of a run keep: notes, to-do lists and boards, as the records say.

A ``done`` of a call that keeps something bears ``kept``, which names what its output is the new content of:
``{"note": PATH}`` all notes of the agent at that path, ``{"todo": PATH}`` its whole list (an empty path is the list
that the run's agents share), ``{"board": NAME, "key": KEY, "set": true}`` the value of a key. Without ``set`` a board
was only read, as a whole where no key is named: who copies a part of a run has to know.
"""

from __future__ import annotations

from typing import Any

from orchestrator.jsonish import canonical


class Board:
    """A mapping that agents of a run share. ``size`` counts the canonical bytes of its keys and values."""

    __slots__ = ("size", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.size = 0

    def put(self, key: str, value: Any) -> None:
        """Set the value of a key; null takes the key away."""
        self.size += self.growth(key, value)
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value

    def growth(self, key: str, value: Any) -> int:
        """By how much the board's size changes where the key gets this value."""
        before = weight(key, self.values[key]) if key in self.values else 0
        return (0 if value is None else weight(key, value)) - before


def weight(key: str, value: Any) -> int:
    """The canonical bytes of a key and its value."""
    return len(canonical(key)) + len(canonical(value))


class Kept:
    """The fold. ``notes`` and ``todos`` are by the path of the agent, the shared list under the empty path."""

    __slots__ = ("boards", "notes", "todos")

    def __init__(self) -> None:
        self.notes: dict[str, list[str]] = {}
        self.todos: dict[str, list[dict[str, Any]]] = {}
        self.boards: dict[str, Board] = {}

    def apply(self, said: dict[str, Any], output: Any) -> None:
        """Fold what a ``done`` keeps."""
        if "note" in said:
            self.notes[said["note"]] = output
        elif "todo" in said:
            self.todos[said["todo"]] = output
        elif said.get("set"):
            self.boards.setdefault(said["board"], Board()).put(said["key"], output["value"])

    def forget(self, path: str) -> None:
        """An agent begins from nothing again. What it wrote where others read stays written."""
        self.notes.pop(path, None)
        self.todos.pop(path, None)
