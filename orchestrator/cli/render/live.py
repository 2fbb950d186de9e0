"""The live tree of a run on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import anyio
from rich.console import Console
from rich.text import Text

from orchestrator.cli.render.canvas import Canvas
from orchestrator.cli.render.end import describe_held
from orchestrator.cli.render.steps import Branch, branch_line, grow, outline
from orchestrator.cli.render.text import one_line, plain
from orchestrator.cli.render.values import count, elapsed, money
from orchestrator.clock import SystemClock
from orchestrator.journal.state import RunState

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.cli.screen import Screen

_PERIOD = 0.1
"""Seconds between two drawings, at least."""

_SHARE = 20
"""A drawing is followed by so many times its length without one."""

_SPOKEN = 2_000
_SPOKEN_LINES = 4
_ACTIVE = frozenset({"running", "retrying", "waiting"})


class LiveTree:
    """Draws what its fold of the events holds: never more lines than the terminal has."""

    whole = True

    def __init__(self, screen: Screen, name: str) -> None:
        self._screen = screen
        self._name = name
        self._clock = SystemClock()
        self._state = RunState()
        self._spoken: dict[str, str] = {}
        self._focus = ""
        self._console = Console(
            file=sys.stderr,
            highlight=False,
            markup=False,
            emoji=False,
            color_system="auto" if screen.colored() else None,
        )
        self._canvas = Canvas(self._console)
        self._held = False
        self._note = ""
        self.held: Callable[[], list[dict[str, str]]] = list

    def listen(self, event: Any) -> None:
        """Fold a record, or keep the end of what an agent is saying."""
        if event.record is not None:
            record = event.record
            self._state.apply(record, seq=record.seq, at=record.at, epoch=record.epoch)
            if record.kind in ("done", "failed", "cancelled") and record.path != self._focus:
                self._spoken.pop(record.path, None)
        elif event.text:
            self._focus = event.path
            self._spoken[event.path] = (self._spoken.get(event.path, "") + event.text)[-_SPOKEN:]

    def said(self, line: str) -> None:
        """Print it above the tree."""
        self._canvas.erase()
        self._console.print(Text(line))

    def note(self, text: str) -> None:
        """Have it in the foot."""
        self._note = text

    def hold(self, *, held: bool) -> None:
        """Draw nothing while somebody types."""
        self._held = held
        self._canvas.erase()
        self._console.show_cursor(show=held)

    async def pump(self) -> None:
        """Draw until cancelled."""
        self._console.show_cursor(show=False)
        try:
            while True:
                began = anyio.current_time()
                if not self._held:
                    self._canvas.draw(self._drawing())
                # A tree of thousands takes long to draw: the run comes first.
                await anyio.sleep(max(_PERIOD, _SHARE * (anyio.current_time() - began)))
        finally:
            self._canvas.erase()
            self._console.show_cursor()

    def close(self) -> None:
        """Leave the steps as they ended."""
        for line in outline(self._screen, grow(self._state), self._clock.now(), depth=2, stream=sys.stderr):
            self._screen.say(line)

    def _drawing(self) -> list[Text]:
        now = self._clock.now()
        below = [*self._speech(), *(self._screen.style(line, "yellow") for line in describe_held(self.held())[:3])]
        room = max(self._console.size.height - len(below) - 2, 3)
        lines = self._tree(now, room)
        return [Text.from_ansi(line) for line in [*lines, *below, self._total(now)]]

    def _tree(self, now: int, room: int) -> list[str]:
        """All steps if there is room; else those that are busy, with counts of the others."""
        branches = grow(self._state)
        lines = list(outline(self._screen, branches, now, depth=3, stream=sys.stderr))
        if len(lines) <= room:
            return lines
        busy: list[str] = []
        for branch in branches:
            busy.append(self._summary(branch, now))
            busy += [
                f"  {branch_line(self._screen, each, now, stream=sys.stderr)}"
                for each in branch.inner
                if each.step is not None and each.status in _ACTIVE
            ]
        if len(busy) <= room:
            return busy
        return [f"… {len(busy) - room + 1} more", *busy[len(busy) - room + 1 :]]

    def _summary(self, branch: Branch, now: int) -> str:
        line = branch_line(self._screen, branch, now, stream=sys.stderr)
        if not branch.inner:
            return line
        ended = sum(each.step is not None and each.step.ended for each in branch.inner)
        return f"{line}  {ended}/{len(branch.inner)}"

    def _speech(self) -> list[str]:
        """The last lines of the agent that spoke last."""
        text = plain(self._spoken.get(self._focus, "")).strip()
        if not text:
            return []
        width = max(self._console.size.width - 4, 20)
        lines = [one_line(line, width) for line in text.splitlines()[-_SPOKEN_LINES:]]
        return [
            self._screen.style(f"  {one_line(self._focus.rpartition('/turn')[0] or self._focus, 60)} says", "dim"),
            *(f"  │ {line}" for line in lines),
        ]

    def _total(self, now: int) -> str:
        state = self._state
        took = elapsed(now - state.started_at) if state.started_at else ""
        spend = None if state.unpriced else state.spend
        text = f"{one_line(self._name, 40)}  {took}  {count(state.tokens)} tokens  {money(spend)}"
        note = self._screen.style(f"  {self._note}", "yellow") if self._note else ""
        return self._screen.style(text, "bold") + note
