"""A run as it goes: a line per event, or a tree that is drawn again and again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.cli.render.records import record_line

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


class Watcher(Protocol):
    """Told of each event, and of each line that a step printed, without its secrets and controls.

    ``pump`` draws until it is cancelled, but not while it is held, when somebody types; ``close`` leaves what shall
    stay on the screen. ``note`` is of a state that lasts until the next one. ``whole``: it wants to know what happened
    before, too.
    """

    whole: bool

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
        """Nothing to draw."""

    def close(self) -> None:
        """Nothing to leave."""


_DETAILS = frozenset({"run_started", "claimed", "run_finished", "received", "inherited", "compacted"})


def watcher(screen: Screen, name: str) -> Watcher:
    """What this screen can show."""
    if not screen.live:
        return Lines(screen)
    from orchestrator.cli.render.live import LiveTree

    return LiveTree(screen, name)
