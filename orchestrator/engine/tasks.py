"""Tasks for effects: what a task group of anyio is, for a fifth of what one costs.

Such a group makes three objects and a scope of its own for each task. An effect has a scope already, which is all that
anyio needs in a task of asyncio, and there is one effect per step.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Tasks:
    """Runs coroutines, each inside a scope that it enters itself. ``run`` lives as long as they may."""

    def __init__(self) -> None:
        self._tasks: dict[anyio.CancelScope, asyncio.Task[None]] = {}
        self._error: BaseException | None = None
        self._ending = False
        self._change = asyncio.Event()

    def start(self, coroutine: Coroutine[Any, Any, None], scope: anyio.CancelScope) -> None:
        """Run a coroutine whose whole work is done inside ``scope``."""
        self._tasks[scope] = asyncio.get_running_loop().create_task(self._work(coroutine, scope))

    async def _work(self, coroutine: Coroutine[Any, Any, None], scope: anyio.CancelScope) -> None:
        # Not a callback at the task's end: that is a turn of the loop.
        try:
            await coroutine
        except Exception as error:  # noqa: BLE001 - it goes to whoever waits in `run`
            self._error = self._error or error
        finally:
            del self._tasks[scope]
            if self._error is not None or self._ending:
                self._change.set()

    async def run(self) -> None:
        """Wait until cancelled, and raise what a task raised; at the end all are cancelled, and none is left."""
        try:
            while self._error is None:
                self._change.clear()
                await self._change.wait()
            raise self._error
        finally:
            self._ending = True
            with anyio.CancelScope(shield=True):
                for scope in self._tasks:
                    scope.cancel()
                while self._tasks:
                    self._change.clear()
                    await self._change.wait()
