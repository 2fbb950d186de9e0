"""A thread with a queue: where a connection lives that only one thread may use at a time."""

from __future__ import annotations

import asyncio
import contextlib
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Lane:
    """Runs one piece of work after another, each to its end, in a thread of its own.

    A caller that is cancelled stops waiting; its work is done all the same, so that no transaction is ever interrupted.
    The thread is a daemon: a process that ends without closing its store does not hang.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Callable[[], Any]] | None] = (
            SimpleQueue()
        )
        self._waiting: set[asyncio.Future[Any]] = set()
        # Each is counted up by one thread alone.
        self._called = 0
        self._served = 0
        self._gone: Exception | None = None
        self._thread = Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def call(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises, in the lane's thread: one hop there, one back."""
        if self._gone is not None:
            raise self._gone
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._called += 1
        self._queue.put((loop, future, work))
        self._waiting.add(future)
        try:
            return await future
        finally:
            self._waiting.discard(future)

    @property
    def idle(self) -> bool:
        """Whether all that was called is done: until it awaits, the caller may use what is the lane's."""
        return self._gone is None and self._served == self._called

    def abandon(self, error: Exception) -> None:
        """Have all that wait, and all that call from now on, get ``error``. What is being done is left behind."""
        self._gone = error
        for future in self._waiting:
            _fail(future, error)

    def close(self) -> None:
        """End the thread after all that was called."""
        self._queue.put(None)

    def _serve(self) -> None:
        while (item := self._queue.get()) is not None:
            loop, future, work = item
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller, whatever it is
                self._served += 1
                _post(loop, _fail, future, error)
            else:
                self._served += 1
                _post(loop, _finish, future, result)
            del item, future, work


def _post(loop: asyncio.AbstractEventLoop, how: Callable[..., None], future: asyncio.Future[Any], what: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(how, future, what)


def _finish(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
