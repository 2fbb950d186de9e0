"""Connections to a database server: a few of them, opened when they are needed, lent to one task at a time.

A connection whose owner was interrupted in mid-statement, or that came back inside a transaction, is thrown away: the
server rolls back what it had begun. One that lay idle is asked for a sign of life before it is lent.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import OrchError
from orchestrator.journal.errors import StoreLocked, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

FRESH_SECONDS = 1.0
"""A connection that was used so lately is lent without a question."""

CLOSING_SECONDS = 2.0


class Lost(StoreUnavailable):
    """The connection broke while a statement was on its way. What the statement did, if anything, is not known."""


class Busy(StoreUnavailable):
    """A lock of somebody else's stood in the way for too long. All of ours was undone."""

    code = StoreLocked.code

    def __init__(self, store: str, *, reason: str) -> None:
        hint = "end what holds it (a transaction, LOCK TABLE, a backup), then try again"
        OrchError.__init__(self, f"the store {store} is locked by another session: {reason}", hint=hint)


class Session(Protocol):
    """One connection. Methods raise ``Conflict``, ``BadData``, ``Lost`` and other ``StoreError``."""

    @property
    def whole(self) -> bool:
        """True while it is connected, in no statement and in no transaction."""
        ...

    @property
    def broken(self) -> bool:
        """True once it is of no use any more."""
        ...

    async def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """One statement that changes something; how many rows it met."""
        ...

    async def all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""
        ...

    async def begin(self) -> None:
        """Begin a transaction."""
        ...

    async def commit(self) -> None:
        """End it. ``Unknown`` where its end is not known."""
        ...

    async def roll_back(self) -> None:
        """Undo it."""
        ...

    async def aclose(self) -> None:
        """Say goodbye and close."""
        ...

    def abandon(self) -> None:
        """Close at once, without a word."""
        ...


class Alarm:
    """Calls ``ring`` where an exchange takes longer than so many ``seconds``. One timer serves a great many of them."""

    def __init__(self, seconds: float, ring: Callable[[], None]) -> None:
        self._seconds = seconds
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._until: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """An exchange begins."""
        self._until = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._look)

    def end(self) -> None:
        """It is over."""
        self._until = None

    def cancel(self) -> None:
        """There will be no more exchanges."""
        self._until = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._until is None:
            return
        if self._loop.time() >= self._until:
            self._ring()
        else:
            self._timer = self._loop.call_at(self._until, self._look)


class Pool:
    """At most ``size`` sessions. ``wait`` is for how many seconds a caller waits for one before the store is away."""

    def __init__(self, name: str, connect: Callable[[], Awaitable[Session]], *, size: int, wait: float) -> None:
        self._name = name
        self._connect = connect
        self._size = size
        self._wait = wait
        self._free = asyncio.Semaphore(size)
        self._idle: list[tuple[float, Session]] = []
        self._closed = False
        self.lent = 0
        """How many sessions are out."""

    @property
    def idle(self) -> int:
        """How many sessions lie here."""
        return len(self._idle)

    def lend(self) -> Session | None:
        """A session that lies here and needs no question; give it back with ``take_back``. None where none does."""
        if self._free.locked() or not self._idle:
            return None
        used, session = self._idle[-1]
        if not session.whole or time.monotonic() - used >= FRESH_SECONDS:
            return None
        with contextlib.suppress(StopIteration):  # it does not wait, since something is free
            self._free.acquire().send(None)
        self._idle.pop()
        self.lent += 1
        return session

    def take_back(self, session: Session) -> None:
        """Have a session back that was lent."""
        self.lent -= 1
        self._free.release()
        self._give_back(session)

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Session]:
        """A session to use. Raises ``StoreUnavailable``."""
        if self._free.locked():
            try:
                await asyncio.wait_for(self._free.acquire(), self._wait)
            except TimeoutError:
                raise StoreUnavailable(self._name, reason=f"all {self._size} connections are busy") from None
        else:
            await self._free.acquire()
        self.lent += 1
        session: Session | None = None
        try:
            session = await self._take()
            yield session
        finally:
            self.lent -= 1
            self._free.release()
            if session is not None:
                self._give_back(session)

    async def _take(self) -> Session:
        while self._idle:
            used, session = self._idle.pop()
            if not session.whole:
                session.abandon()
                continue
            if time.monotonic() - used < FRESH_SECONDS:
                return session
            try:
                await session.all("SELECT 1")
            except StoreUnavailable:
                session.abandon()
            except BaseException:
                session.abandon()
                raise
            else:
                return session
        return await self._connect()

    def _give_back(self, session: Session) -> None:
        if session.whole and not self._closed:
            self._idle.append((time.monotonic(), session))
        else:
            session.abandon()

    def abandon(self) -> None:
        """Throw away what lies here, without a word."""
        self._closed = True
        idle, self._idle = self._idle, []
        for _, session in idle:
            session.abandon()

    async def aclose(self) -> None:
        """Close what lies here; what is out is closed when it comes back."""
        self._closed = True
        idle, self._idle = self._idle, []
        for _, session in idle:
            with contextlib.suppress(StoreUnavailable, OSError, TimeoutError):
                await asyncio.wait_for(session.aclose(), CLOSING_SECONDS)
            session.abandon()
