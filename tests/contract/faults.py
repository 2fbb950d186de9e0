"""A store whose connection is bad: real commits in a real store, of which answers get lost, come late, or never were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from orchestrator.journal.errors import Conflict, StoreUnavailable, Unknown

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Sequence

    from orchestrator.journal.store import Batch, Slice, Store


class FaultyStore:
    """``store`` behind a connection that fails in a share of all calls, as ``chance`` has it."""

    def __init__(self, store: Store, chance: random.Random, *, share: float) -> None:
        self._store = store
        self._chance = chance
        self._share = share
        self._late: list[Callable[[], Awaitable[Any]]] = []
        self.faults: dict[str, int] = {}

    @property
    def name(self) -> str:
        return self._store.name

    async def commit(self, batch: Batch, *, alone: bool = False) -> None:
        await self._call(lambda: self._store.commit(batch, alone=alone), writes=True)

    async def park(self, piece: Slice) -> bool:
        return await self._call(lambda: self._store.park(piece), writes=True)

    async def settle(self, firsts: Sequence[tuple[str, int]]) -> dict[str, str | None]:
        return await self._call(lambda: self._store.settle(firsts), writes=False)

    async def _call(self, call: Callable[[], Awaitable[Any]], *, writes: bool) -> Any:
        await anyio.lowlevel.checkpoint()
        while self._late and self._chance.random() < 0.5:
            await self._lands(self._late.pop(self._chance.randrange(len(self._late))))
        if self._chance.random() >= self._share:
            return await call()
        fault = self._chance.choice(["away", "never sent", "answer lost", "lands late"] if writes else ["away"])
        self.faults[fault] = self.faults.get(fault, 0) + 1
        match fault:
            case "away":
                raise StoreUnavailable(self.name, reason="no connection")
            case "answer lost":
                await self._lands(call)
            case "lands late":
                self._late.append(call)
            case _:
                pass
        raise Unknown(fault)

    async def _lands(self, call: Callable[[], Awaitable[Any]]) -> None:
        """A transaction whose answer nobody hears."""
        try:
            await call()
        except Conflict:
            self.faults["refused late"] = self.faults.get("refused late", 0) + 1
