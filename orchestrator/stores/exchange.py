"""Work that goes on by itself, as a task does, at a fifth of a task's price: it begins at once, without a turn of the
event loop, and whoever waits for it is woken without another one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class Exchange(Generic[T]):
    """``work``, begun; it is ``among`` those that go on until it is over.

    It may wait for futures of this loop alone, and use nothing that asks in which task it is, as asyncio's time limits
    do. Wait for ``end``: a waiter who is cancelled stops waiting, and nothing else stops.
    """

    __slots__ = ("_among", "_over", "_reason", "_waits_for", "_work", "end")

    def __init__(self, work: Coroutine[Any, Any, T], among: set[Exchange[Any]]) -> None:
        self._work = work
        self._among = among
        self._reason: Exception | None = None
        self._waits_for: asyncio.Future[Any] | None = None
        self._over: asyncio.Future[None] | None = None
        self.end: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        among.add(self)
        self._go_on()

    def cancel(self, reason: Exception) -> None:
        """Cancel what it waits for; whoever waits for its end is told ``reason``."""
        self._reason = reason
        if self._waits_for is not None:
            self._waits_for.cancel()

    def over(self) -> asyncio.Future[None]:
        """Done when it is over; ``end`` is done before that where its waiter was cancelled."""
        if self._over is None:
            self._over = asyncio.get_running_loop().create_future()
        return self._over

    def _go_on(self, _: object = None) -> None:
        """On to the next future that it waits for; one that is done tells its result, or its error, by itself."""
        self._waits_for = None
        try:
            found = self._work.send(None)
        except StopIteration as stop:
            self._leave()
            if not self.end.done():
                self.end.set_result(stop.value)
        except BaseException as error:
            self._leave()
            self._fail(error)
            if not isinstance(error, (Exception, asyncio.CancelledError)):
                raise
        else:
            found._asyncio_future_blocking = False  # noqa: SLF001 - with which asyncio's own tasks take up a future
            self._waits_for = found
            found.add_done_callback(self._go_on)

    def _leave(self) -> None:
        self._among.discard(self)
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _fail(self, error: BaseException) -> None:
        if self.end.done():
            return
        if not isinstance(error, asyncio.CancelledError):
            self.end.set_exception(error)
        elif self._reason is None:
            self.end.cancel()
            return
        else:
            self.end.set_exception(self._reason)
        self.end.exception()  # one that nobody waits for is nobody's business
