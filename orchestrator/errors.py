"""The base of every error that a user can cause.

One class per situation. A class builds its sentence from typed arguments, and knows its stable code, the exit code
of the process that meets it (the table of ``docs/cli.md``) and a hint: the way on.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit codes of the command line; scripts are written against them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NO_KEY = 4
    WAITING = 5
    LIMITED = 6
    MISMATCH = 7
    HELD = 8
    STORE = 9
    BUG = 70
    SIGINT = 130
    SIGTERM = 143


class OrchError(Exception):
    """An error with a stable code, an exit code and a way on. ``str(error)`` is the sentence."""

    code: ClassVar[str] = "E000"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str | None:
    """The closest of ``known`` to ``name``, or None where nothing is close."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None
