"""A run as it goes: a line per event, or a tree that is drawn again and again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from orchestrator.cli.render.end import describe_held
from orchestrator.cli.render.records import record_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.cli.screen import Screen

_LOOK = 1.0
"""Seconds between two looks at what waits: most of it waits shorter, and is nothing to speak of."""


class Watcher(Protocol):
    """Told of each event, and of each line that a step printed, without its secrets and controls.

    ``pump`` draws until it is cancelled, but not while it is held, when somebody types; ``close`` leaves what shall
    stay on the screen. ``note`` is of a state that lasts until the next one. ``whole``: it wants to know what happened
    before, too. ``held`` tells what may start and waits for a place (``step``, and what ``for``).
    """

    whole: bool
    held: Callable[[], list[dict[str, str]]]

    def listen(self, event: Any) -> None: ...

    def said(self, line: str) -> None: ...

    def note(self, text: str) -> None: ...

    def hold(self, *, held: bool) -> None: ...

    async def pump(self) -> None: ...

    def close(self) -> None: ...


class Lines:
    """A line per event on standard error, with no control codes but colours. ``-v`` shows turns and claims, too."""

    whole = False

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.held: Callable[[], list[dict[str, str]]] = list
        self._told: set[str] = set()

    def listen(self, event: Any) -> None:
        """Print a record; streamed text is for terminals."""
        record = event.record
        if record is None or self._screen.flags.quiet:
            return
        if record.kind in _DETAILS and not self._screen.flags.verbose:
            return
        self._screen.say(record_line(self._screen, record, stream=sys.stderr))
        if self._screen.github and record.kind == "failed" and "retry_at" not in record.body:
            from orchestrator.cli.screen import github_escape

            message = f"{record.path}: {record.body.get('code')}: {record.body.get('message')}"
            self._screen.say(f"::error title=step failed::{github_escape(message)}")

    def said(self, line: str) -> None:
        """Pass it on."""
        self._screen.say(line)

    def note(self, text: str) -> None:
        """Lines tell what happens, and no states."""

    def hold(self, *, held: bool) -> None:
        """Nothing is drawn anyway."""

    async def pump(self) -> None:
        """Look now and then at what waits for a place, and say so once for each thing that is waited for."""
        while True:
            await anyio.sleep(_LOOK)
            held = self.held()
            fresh = [one for one in held if one["for"] not in self._told]
            self._told = {one["for"] for one in held}
            for line in describe_held(fresh):
                self._screen.say(line)

    def close(self) -> None:
        """Nothing to leave."""


_DETAILS = frozenset({"run_started", "claimed", "run_finished", "received", "inherited", "compacted"})


def watcher(screen: Screen, name: str) -> Watcher:
    """What this screen can show."""
    if not screen.live:
        return Lines(screen)
    from orchestrator.cli.render.live import LiveTree

    return LiveTree(screen, name)
