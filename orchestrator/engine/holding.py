"""What outlasts the calls of a run: held while it is driven here, and let go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.tools.protocol import Held

LEAVE = 5.0
"""Seconds that what is held has to end by itself."""


class Holder:
    """Holds things by key. ``spawn`` runs a function in a task that outlasts this."""

    def __init__(self, spawn: Callable[[Callable[..., Awaitable[None]], Any, Any], None]) -> None:
        self._spawn = spawn
        self._held: dict[str, tuple[Held, anyio.Event, anyio.CancelScope]] = {}

    def hold(self, key: str, make: Callable[[], Held]) -> Held:
        """What is held under ``key``; made, and its life begun, where there is nothing yet."""
        if key not in self._held:
            held, over, scope = make(), anyio.Event(), anyio.CancelScope()
            self._held[key] = held, over, scope
            self._spawn(self._live, key, held)
        return self._held[key][0]

    async def _live(self, key: str, held: Held) -> None:
        _, over, scope = self._held[key]
        try:
            with scope:
                await held.run()
        finally:
            over.set()

    async def close(self) -> None:
        """Let all go, and wait until it is gone."""
        for held, _, _ in self._held.values():
            held.close()
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(LEAVE):
                for _, over, _ in self._held.values():
                    await over.wait()
            for _, _, scope in self._held.values():
                scope.cancel()
            with anyio.move_on_after(LEAVE):  # a task that was cancelled before it began says nothing
                for _, over, _ in self._held.values():
                    await over.wait()
        self._held.clear()
