"""What goes from a database server: runs one by one, blobs some at a time, so that nobody waits long for a lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.journal.store import Swept
from orchestrator.stores.rows import run_row
from orchestrator.stores.server_base import BLOBS_AT_ONCE
from orchestrator.stores.server_memory import ServerMemory
from orchestrator.stores.upkeep import (
    DELETED_AT_ONCE,
    NAMES_AT_ONCE,
    ROWS_AT_ONCE,
    Marks,
    is_ended,
    is_over,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


class ServerUpkeep(ServerMemory):
    """A store in a database server, as far as things go from it."""

    async def delete_runs(self, run_ids: Sequence[str], *, ended_before: int) -> list[str]:
        return [
            run_id
            for run_id in run_ids
            if await self._again(lambda run_id=run_id: self._delete_run(run_id, ended_before))
        ]

    async def _delete_run(self, run_id: str, ended_before: int) -> bool:
        """Take a run away whole; False where it may not go."""
        async with self._transaction() as session:
            found = await session.all(self._sql.lock_run, (self._now(), run_id))
            run = run_row(found[0]) if found else None
            if run is None or not is_over(run, ended_before):
                return False
            root = await session.all(self._sql.status, (run.root_id,))
            if not is_ended(root[0][0] if root else None):
                return False
            for start in range(1, run.head + 1, DELETED_AT_ONCE):
                await session.run(self._sql.delete_rows, (run_id, start, start + DELETED_AT_ONCE - 1))
            await session.run(self._sql.delete_inbox, (run_id,))
            await session.run(self._sql.delete_run, (run_id,))
            return True

    async def forget_drivers(self, *, age: float) -> int:
        values = (self._now(), int(age * 1_000_000))
        return await self._again(lambda: self._alone(self._sql.forget_drivers, values))

    async def held_blobs(self, names: Collection[str]) -> set[str]:
        return await self._again(lambda: self._held(sorted(names)))

    async def _held(self, names: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(names), NAMES_AT_ONCE):
            some = names[start : start + NAMES_AT_ONCE]
            found |= {name for (name,) in await self._all(self._sql.held_blobs(len(some)), some)}
        return found

    async def sweep_blobs(self, *, age: float, without: Collection[str] = (), dry_run: bool = False) -> Swept:
        micros = int(age * 1_000_000)
        sizes = {
            name: int(size)
            for name, size in await self._again(lambda: self._all(self._sql.old_blobs, (self._now(), micros)))
        }
        gone = await self._unnamed(sizes, without) if sizes else set[str]()
        if not dry_run:
            gone = await self._delete_blobs(sorted(gone), micros)
        return Swept(names=tuple(sorted(gone)), size=sum(sizes[name] for name in gone))

    async def _unnamed(self, candidates: Collection[str], without: Collection[str]) -> set[str]:
        """Those of ``candidates`` that nothing names. What comes to name one while we look has touched it before."""
        marks = Marks(candidates, without)
        run_id, seq = "", 0
        while page := await self._page(self._sql.bodies, run_id, seq):
            for run_id, seq, body, blob in page:  # noqa: B007  the last ones say where the next page begins
                marks.see(run_id, body, blob)
        run_id, request = "", ""
        while page := await self._page(self._sql.mail, run_id, request):
            for run_id, request, body in page:  # noqa: B007  as above
                marks.see(run_id, body)
        names = sorted(marks.contents)
        for start in range(0, len(names), BLOBS_AT_ONCE):
            some = names[start : start + BLOBS_AT_ONCE]
            for body in (await self._again(lambda some=some: self._blobs(some))).values():
                marks.read(body)
        return marks.unnamed

    async def _page(self, statement: str, run_id: str, last: int | str) -> list[Any]:
        return await self._again(lambda: self._all(statement, (run_id, run_id, last, ROWS_AT_ONCE)))

    async def _delete_blobs(self, names: Sequence[str], age: int) -> set[str]:
        """Take blobs away that nobody has touched since; the names of those that went."""
        for start in range(0, len(names), NAMES_AT_ONCE):
            some = names[start : start + NAMES_AT_ONCE]
            statement = self._sql.delete_blobs(len(some))
            await self._again(lambda s=statement, v=some: self._alone(s, (self._now(), age, *v)))
        return set(names) - await self.held_blobs(names)
