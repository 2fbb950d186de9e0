"""Driving a run in front of a person or a program: screen, events, signals, end."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, TextIO

import anyio

from orchestrator.cli.render.end import exit_of, say_end
from orchestrator.cli.render.records import record_object
from orchestrator.cli.render.text import json_text, plain
from orchestrator.cli.render.watch import watcher
from orchestrator.cli.screen import silence, silence_stderr
from orchestrator.errors import Exit, OrchError
from orchestrator.journal.errors import StoreError
from orchestrator.journal.store import ENDED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from orchestrator.app.config import Config
    from orchestrator.cli.prompting import Prompter
    from orchestrator.cli.render.watch import Watcher
    from orchestrator.cli.session import Session
    from orchestrator.engine.effects import Services
    from orchestrator.engine.host import Event, Host, RunEnd
    from orchestrator.journal.errors import StoreUnavailable
    from orchestrator.journal.records import Record
    from orchestrator.journal.store import RunRow, Store
    from orchestrator.tools.redact import RedactedStream, Redactor

_EXIT_OF = {signal.SIGINT: Exit.SIGINT, signal.SIGTERM: Exit.SIGTERM}

_LATE = 2.0
"""Seconds that a stop waits for a store which is not known to be away, once nothing runs any more."""

_LOOK = 0.05


class NotRecorded(OrchError):
    """A run was stopped by a signal while its store did not take what happened last."""

    code: ClassVar[str] = "E917"
    exit: ClassVar[Exit] = Exit.SIGINT

    def __init__(self, run_id: str) -> None:
        super().__init__(
            "stopped without the store: what was not recorded is in doubt, or done again, as its effect says",
            hint=f"`orch resume {run_id}` goes on with the run once the store is back" if run_id else None,
        )


class NotRecordedTerminated(NotRecorded):
    """The same, by SIGTERM."""

    exit: ClassVar[Exit] = Exit.SIGTERM


class Show:
    """Where events go: the screen, and a stream of JSON lines if one was asked for. Streamed text loses its secrets."""

    def __init__(
        self, session: Session, *, name: str, redactor: Redactor, events: TextIO | None, asks: bool = False
    ) -> None:
        self.watcher: Watcher = watcher(session.screen, name)
        self.prompter: Prompter | None = None
        if asks:
            from orchestrator.cli.prompting import Prompter, can_ask

            self.prompter = Prompter(session.screen) if can_ask(session.screen) else None
        self.redactor = redactor
        self._events = events
        self._streams: dict[str, RedactedStream] = {}
        self._begun = False
        self._under_way: set[str] = set()
        self.recorded = ""
        """The run of which there are records, which can be resumed."""
        self.talks = False
        """Whether agents are at work, to whom somebody may say something."""

    def listen(self, event: Event) -> None:
        """Take an event of the engine."""
        record = event.record
        if record is not None:
            self._flush(event)
            self.recorded = event.run_id
            if record.kind == "started":
                self._under_way.add(record.path)
                self.talks = self.talks or "agent" in record.body
            elif record.kind in ("done", "failed", "cancelled", "waiting"):
                self._under_way.discard(record.path)
            self.watcher.listen(event)
            if self.prompter is not None:
                self.prompter.listen(event.run_id, record)
            if self._events is not None:
                self._write(event.run_id, record_object(record))
            return
        stream = self._streams.get(event.path)
        if stream is None:
            stream = self._streams[event.path] = self.redactor.stream()
        self._text(event, stream.feed(event.text))

    async def catch_up(self, store: Store, row: RunRow) -> None:
        """Let the screen know what happened before, so that its tree is whole; nothing of it is an event again."""
        if self.watcher.whole or self.prompter is not None:
            for record in await store.load(row.run_id, verify=False):
                if self.watcher.whole:
                    self.watcher.listen(_event(row.run_id, record))
                if self.prompter is not None:
                    self.prompter.listen(row.run_id, record)

    async def records(self, store: Store, run_id: str, head: int) -> int:
        """Show the records after ``head``; the new head."""
        for record in await store.load(run_id, from_seq=head + 1, verify=False):
            self.listen(_event(run_id, record))
            head = record.seq
        return head

    def said(self, text: str) -> None:
        """A line that a step printed, without its secrets."""
        self.watcher.said(plain(text))

    def stopping(self) -> None:
        """Say that a signal was heard, and what it waits for."""
        count = len(self._under_way)
        waits = f": waits for {count} step{'s' if count != 1 else ''} under way; again to end at once" if count else ""
        self.watcher.said(f"stopping{waits}")

    def outage(self, error: StoreUnavailable | None, patience: float) -> None:
        """Say that the store went away, and for how many seconds it is waited for; with no error, that it is back."""
        self.watcher.note("" if error is None else "the store is away")
        if error is None:
            self.watcher.said("the store is back")
        else:
            self.watcher.said(plain(f"{error.message}; waiting up to {patience / 60:g} min"))

    def end(self, end: RunEnd) -> None:
        """The last line of the events."""
        last = {"kind": "end", "status": end.status, "reason": end.reason, "outputs": end.outputs, "error": end.error}
        self._write(end.run_id, last | {"waits": end.waits, "unread": end.unread})

    def _flush(self, event: Event) -> None:
        stream = self._streams.pop(event.path, None)
        if stream is not None:
            self._text(event, stream.close())

    def _text(self, event: Event, text: str) -> None:
        if text:
            from dataclasses import replace

            self.watcher.listen(replace(event, kind="text", record=None, text=text))
            self._write(event.run_id, {"kind": "text", "path": event.path, "text": text})

    def _write(self, run_id: str, line: dict[str, Any]) -> None:
        if self._events is None:
            return
        try:
            if not self._begun:
                self._begun = True
                self._events.write(json_text({"format": "orch.events/1", "run": run_id}) + "\n")
            self._events.write(json_text(line) + "\n")
            self._events.flush()
        except BrokenPipeError:
            silence(self._events)


def _event(run_id: str, record: Record) -> Event:
    from orchestrator.engine.host import Event

    return Event(run_id=run_id, kind="record", path=record.path, record=record)


class _Printed:
    """Standard output while steps run: what they print goes to people, line by line. Data of ours alone goes out."""

    encoding = "utf-8"

    def __init__(self, say: Callable[[str], None], redactor: Redactor) -> None:
        self._say = say
        self._redacted = redactor.stream()
        self._held = ""

    def write(self, text: str) -> int:
        self._lines(self._redacted.feed(text))
        return len(text)

    def _lines(self, text: str) -> None:
        *lines, self._held = (self._held + text).split("\n")
        for line in lines:
            self._say(line)

    def flush(self) -> None:
        """Lines go out when they are whole."""

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        self._lines(self._redacted.close())
        if self._held:
            self._say(self._held)
            self._held = ""


class _SecretFree:
    """Standard error while steps run: what they print or log there loses its secrets, too."""

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream = stream
        self._redacted = redactor.stream()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._pass(self._redacted.feed(text))
        return len(text)

    def _pass(self, text: str) -> None:
        """What is said there may be lost; it makes no step fail."""
        try:
            self._stream.write(text)
        except OSError:
            silence_stderr()

    def close(self) -> None:
        self._pass(self._redacted.close())


async def drive(
    act: Callable[[Host], Awaitable[RunEnd]], *, store: Store, services: Services, config: Config, show: Show
) -> tuple[RunEnd, int | None]:
    """What ``act`` gives on a host of its own, and the exit code of the signal that stopped it, if one did.

    The first SIGINT or SIGTERM gives running effects their grace, the second ends them at once.
    """
    from orchestrator.clock import SystemClock
    from orchestrator.engine.host import Host, Settings

    settings = Settings() if config.lease is None else Settings(lease=config.lease)
    caught: list[int] = []
    host = Host(
        store=store, services=services, clock=SystemClock(), settings=settings, listen=show.listen,
        outage=lambda error: show.outage(error, settings.outage),
    )  # fmt: skip
    try:
        with _printing_to(show):
            async with host:
                end = await _beside(act, host, show, store, caught)
                # Raised here and not in the task group, which would wrap it: the host looks at what it is.
                if isinstance(end, OrchError):
                    raise end
    except StoreError as error:
        if show.recorded and error.exit is Exit.STORE:
            error.hint = "; ".join(filter(None, [error.hint, f"`orch resume {show.recorded}` goes on with the run"]))
        raise
    if show.talks and end.status in ENDED:
        end = await _with_unread(end, store)
    show.watcher.close()
    show.end(end)
    return end, caught[0] if caught and end.status == "stopped" else None


async def _with_unread(end: RunEnd, store: Store) -> RunEnd:
    """The end, with the messages that came so late that they were not even taken up."""
    from dataclasses import replace

    from orchestrator.journal.unread import left_in

    # It has ended, whatever becomes of the store.
    with suppress(StoreError), anyio.move_on_after(_LATE):
        return replace(end, unread=[*end.unread, *left_in(await store.pending(end.run_id))])
    return end


async def _beside(
    act: Callable[[Host], Awaitable[RunEnd]], host: Host, show: Show, store: Store, caught: list[int]
) -> RunEnd | OrchError:
    """What ``act`` gives or raises, while signals are heard and the screen is drawn."""
    found: list[RunEnd | OrchError] = []
    waiting = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_signals, host, show, caught, waiting)
        show.watcher.held = lambda: host.held(show.recorded)
        tasks.start_soon(show.watcher.pump)
        if show.prompter is not None:
            host.attend(somebody=True)
            tasks.start_soon(show.prompter.serve, host, store, show.watcher)
        try:
            with waiting:
                found.append(await act(host))
        except OrchError as error:
            found.append(error)
        tasks.cancel_scope.cancel()
    if not found:
        kind = NotRecorded if caught[0] == Exit.SIGINT else NotRecordedTerminated
        return kind(show.recorded)
    return found[0]


async def _signals(host: Host, show: Show, caught: list[int], waiting: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        async with anyio.create_task_group() as tasks:
            async for number in received:
                if not caught:
                    show.stopping()
                host.stop(now=bool(caught))
                tasks.start_soon(_give_up, host, waiting, 0.0 if caught else host.settings.grace)
                caught.append(_EXIT_OF[number])


async def _give_up(host: Host, waiting: anyio.CancelScope, seconds: float) -> None:
    """After so many seconds, end the wait of a stopped host for a store that is away, or does not answer."""
    await anyio.sleep(seconds)
    since = anyio.current_time()
    while host.writer.away is None and anyio.current_time() - since < _LATE:
        await anyio.sleep(_LOOK)
        if host.performing:
            since = anyio.current_time()
    host.store.abandon()
    waiting.cancel()


@contextmanager
def _printing_to(show: Show) -> Generator[None]:
    from contextlib import redirect_stdout

    printed, kept = _Printed(show.said, show.redactor), sys.stderr
    sys.stderr = secret_free = _SecretFree(kept, show.redactor)  # pyright: ignore[reportAttributeAccessIssue]  it stands in for one
    with redirect_stdout(printed):  # pyright: ignore[reportArgumentType]  what print() needs of a file, and no more
        try:
            yield
        finally:
            printed.close()
            secret_free.close()
            sys.stderr = kept


def finish(session: Session, end: RunEnd, stopped_by: int | None, *, streamed: bool = False) -> int:
    """Print what a run gave, and say how it ended. ``streamed``: standard output had it with the events."""
    screen = session.screen
    if not streamed:
        if end.status == "done":
            screen.data(end.outputs if end.outputs is not None else {})
        elif session.flags.machine:
            screen.data(_other_end(end))
    say_end(screen, end)
    return stopped_by if stopped_by is not None else int(exit_of(end))


def _other_end(end: RunEnd) -> dict[str, Any]:
    """A run that is not done, for programs: its error, or where it stands."""
    if end.error is not None:
        return {"error": {name: end.error.get(name) for name in ("code", "message", "detail", "step")}}
    if end.status in ("failed", "cancelled", "limited"):
        message = f"the run was {end.status}" + (f": {end.reason}" if end.reason else "")
        return {"error": {"code": end.status, "message": message, "detail": None, "step": None}}
    return {"status": end.status, "reason": end.reason, "run": end.run_id, "waits": end.waits}


def open_events(target: str | None) -> TextIO | None:
    """Where ``--events`` goes. Raises ``BadFlag``."""
    from pathlib import Path

    from orchestrator.cli.flags import BadFlag

    if target is None:
        return None
    if target == "-":
        return sys.stdout
    try:
        return Path(target).open("w", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadFlag("--events", target, problem=getattr(error, "strerror", None) or str(error)) from None
