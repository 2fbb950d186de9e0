"""Asking at the terminal, right where a run is driven: the same questions that ``orch answer`` answers."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.app.answering import AlreadyAnswered, Question
from orchestrator.app.answering import answer as send_answer
from orchestrator.cli.render.end import told_call
from orchestrator.cli.render.text import json_text, one_line
from orchestrator.clock import SystemClock
from orchestrator.journal.errors import RunEnded, StoreError

if TYPE_CHECKING:
    from orchestrator.cli.render.watch import Watcher
    from orchestrator.cli.screen import Screen
    from orchestrator.engine.host import Host
    from orchestrator.journal.records import Record
    from orchestrator.journal.store import Store

_CHOICES = {"y": "approve", "yes": "approve", "n": "deny", "no": "deny"}
_CLOSES = frozenset({"answered", "started", "done", "failed", "skipped", "cancelled"})


def can_ask(screen: Screen) -> bool:
    """Whether somebody is there to be asked: both ends of a terminal, and not told to be quiet."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not screen.flags.quiet and not screen.flags.json


class Prompter:
    """Asks one question after the other, while the run goes on. What another process answers is asked no more."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._open: dict[str, Question] = {}
        self._run_id = ""
        self._changed = anyio.Event()
        self._typed = bytearray()

    def listen(self, run_id: str, record: Record) -> None:
        """Take up a record: a question, or the end of one."""
        self._run_id = run_id
        if record.kind == "waiting" and record.body.get("reason") == "approval":
            self._open[record.path] = Question(record.path, record.seq, record.body)
        elif record.kind in _CLOSES | {"waiting"} and record.path in self._open:
            del self._open[record.path]
        elif record.kind == "run_finished":
            self._open.clear()
        else:
            return
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def serve(self, host: Host, store: Store, watcher: Watcher) -> None:
        """Ask until the run ends, or whoever sits there wants to be asked no more: then the run may park."""
        host.attend(somebody=True)
        while True:
            while not self._open:
                await self._changed.wait()
            watcher.hold(held=True)
            try:
                goes_on = await self._ask(next(iter(self._open.values())), store)
            finally:
                watcher.hold(held=False)
            if not goes_on:
                host.attend(somebody=False)
                return

    async def _ask(self, question: Question, store: Store) -> bool:
        """Put one question, until it is answered here or elsewhere; False where it is left for later."""
        path = one_line(question.path, 100)
        self._screen.err(self._screen.style(f"{path} needs an approval: {told_call(question.body)}", "yellow") + "\n")
        while self._open.get(question.path) is question:
            self._screen.err("approve? y yes, n no (and why), d details, l later: ")
            line = await self._line(question)
            if line is None:
                self._screen.err("\nanswered elsewhere\n")
                return True
            word, _, comment = line.strip().partition(" ")
            if not line or word.lower() in ("l", "later"):
                self._screen.err("" if line else "\n")
                return False
            if word.lower() in ("d", "details"):
                self._screen.err(_details(question) + "\n")
            elif word.lower() in _CHOICES:
                await self._send(store, question, _CHOICES[word.lower()], comment.strip())
        return True

    async def _send(self, store: Store, question: Question, choice: str, comment: str) -> None:
        now = SystemClock().now()
        try:
            await send_answer(store, self._run_id, question, choice=choice, comment=comment or None, now=now)
        except (AlreadyAnswered, RunEnded, StoreError) as error:
            self._screen.problem("warning", error.code, error.message)
        self._open.pop(question.path, None)

    async def _line(self, question: Question) -> str | None:
        """What is typed, empty at the end of it; None where the question is gone meanwhile."""
        found: list[str | None] = [None]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._gone, question, tasks.cancel_scope)
            found[0] = await self._read()
            tasks.cancel_scope.cancel()
        return found[0]

    async def _gone(self, question: Question, scope: anyio.CancelScope) -> None:
        while self._open.get(question.path) is question:
            await self._changed.wait()
        scope.cancel()

    async def _read(self) -> str:
        """A line; a terminal gives whole ones."""
        while b"\n" not in self._typed:
            await anyio.wait_readable(sys.stdin)
            chunk = os.read(sys.stdin.fileno(), 4096)
            if not chunk:
                return ""
            self._typed += chunk
        line, _, rest = bytes(self._typed).partition(b"\n")
        self._typed = bytearray(rest)
        return line.decode("utf-8", "replace") + "\n"


def _details(question: Question) -> str:
    body: dict[str, Any] = question.body
    shown = {name: body[name] for name in ("tool", "args", "call", "attempt", "request") if name in body}
    return json_text({"step": question.path, **shown}, indent=2)
