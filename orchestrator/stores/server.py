"""Runs in a database server: what a store over PostgreSQL and one over MySQL have in common.

Leases are counted by the database's clock. Runs are locked in the order of their ids.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.ids import new_nonce
from orchestrator.journal.errors import BadData, Conflict, NoSuchRun, RunEnded, UnknownDriver
from orchestrator.journal.records import Row
from orchestrator.journal.store import RUN_COLUMNS, Claimed, Driver, InboxRow
from orchestrator.stores import texts
from orchestrator.stores.claims import claimed, plan_claim
from orchestrator.stores.pool import Busy
from orchestrator.stores.rows import advanced, bound, created, inbox_row, inbox_values, owner_row, run_row
from orchestrator.stores.server_upkeep import ServerUpkeep

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from orchestrator.clock import Clock
    from orchestrator.journal.store import Batch, NewRun, RunRow, Slice
    from orchestrator.stores.pool import Session
    from orchestrator.stores.server_urls import ServerUrl
    from orchestrator.stores.statements import Statements

T = TypeVar("T")

SETTLED_AT_ONCE = 500


class ServerStore(ServerUpkeep):
    """A ``Store`` behind a connection."""

    def __init__(self, url: ServerUrl, sql: Statements, *, clock: Clock | None = None) -> None:
        super().__init__(url, sql, clock=clock)
        self._drivers: dict[str, Driver] = {}

    # --- what the databases differ in ---

    @abstractmethod
    async def _commit_plain(self, session: Session, pieces: Sequence[Slice]) -> None:
        """Commit slices of runs that are there, and nothing but their rows. Raises as ``commit``."""

    @abstractmethod
    async def _advance(self, session: Session, pieces: Sequence[Slice]) -> None:
        """Move the rows of runs on, in a transaction: the fence. Raises ``Conflict``."""

    @abstractmethod
    async def _insert_rows(self, session: Session, rows: Sequence[Row]) -> None:
        """Put rows into the journal, in a transaction."""

    # --- commits ---

    async def commit(self, batch: Batch, *, alone: bool = False) -> None:
        del alone
        texts.check_batch(batch)
        if all(map(_is_plain, batch)) and (session := self._session_at_once()) is not None:
            await self._at_once(self._commit_over(session, batch))
        else:
            await self._whole(lambda: self._commit(batch))

    async def _commit_over(self, session: Session, batch: Batch) -> None:
        try:
            await self._commit_plain(session, _in_order(batch))
        finally:
            self.pool.take_back(session)

    async def _commit(self, batch: Batch) -> None:
        await self._put_contents(batch)
        if any(piece.create is not None or piece.consumed or piece.inbox for piece in batch):
            async with self._transaction(points=True) as session:
                await self._apply(session, _in_order(batch))
            return
        async with self.pool.session() as session:
            await self._commit_plain(session, _in_order(batch))

    async def _put_contents(self, pieces: Sequence[Slice]) -> None:
        contents = [content for piece in pieces for content in piece.blobs]
        if contents:
            await self._put_blobs(contents)

    async def _apply(self, session: Session, pieces: Sequence[Slice]) -> None:
        """All that a batch writes, inside a transaction. Runs are locked in the order of their ids."""
        for piece in pieces:
            if piece.create is not None:
                await self._make(session, piece.create, piece)
                for row in piece.waiting:
                    await _of(piece.run_id, session.run(self._sql.insert_inbox, inbox_values(row)))
        there = [piece for piece in pieces if piece.create is None]
        if there:
            await self._advance(session, there)
        rows = [row for piece in pieces for row in piece.rows]
        if rows:
            await self._insert_rows(session, rows)
        for piece in pieces:
            for request_id, seq in piece.consumed:
                if not await session.run(self._sql.consume, (seq, piece.run_id, request_id)):
                    raise BadData(piece.run_id, problem=f"nothing waits under the request id {request_id!r}")
        for row in sorted((row for piece in pieces for row in piece.inbox), key=lambda row: row.run_id):
            await self._deliver(session, row)

    async def _make(self, session: Session, new: NewRun, piece: Slice) -> None:
        columns = created(new, piece)
        values = [bound(name, columns[name]) for name in RUN_COLUMNS]
        await _of(piece.run_id, session.run(self._sql.insert_run, values))

    async def _deliver(self, session: Session, row: InboxRow) -> None:
        """Put a row into another run's inbox, unless that run has ended or has the row already."""
        if not await session.run(self._sql.wake, (self._now(), row.run_id)):
            return
        if not await session.all(self._sql.inbox_row, (row.run_id, row.request_id)):
            await _of(row.run_id, session.run(self._sql.insert_inbox, inbox_values(row)))

    async def settle(self, firsts: Sequence[tuple[str, int]]) -> dict[str, str | None]:
        return await self._again(lambda: self._settle(firsts))

    async def _settle(self, firsts: Sequence[tuple[str, int]]) -> dict[str, str | None]:
        found: dict[str, str | None] = dict.fromkeys(run_id for run_id, _ in firsts)
        async with self.pool.session() as session:
            for start in range(0, len(firsts), SETTLED_AT_ONCE):
                some = firsts[start : start + SETTLED_AT_ONCE]
                values = [value for pair in some for value in pair]
                found.update(await session.all(self._sql.settle(len(some)), values))
        return found

    async def park(self, piece: Slice) -> bool:
        texts.check_batch((piece,))
        return await self._whole(lambda: self._park(piece))

    async def _park(self, piece: Slice) -> bool:
        await self._put_contents((piece,))
        try:
            async with self._transaction(points=True) as session:
                if await self._is_parked(session, piece):
                    return True
                await self._apply(session, (piece,))
                if await session.all(self._sql.pending, (piece.run_id,)):
                    raise _Awake
        except _Awake:
            return False
        return True

    async def _is_parked(self, session: Session, piece: Slice) -> bool:
        """True where nobody holds the run at this head; its row is locked. Raises ``Conflict`` where it is elsewhere,
        or not there.
        """
        found = await session.all(self._sql.lock_run, (self._now(), piece.run_id))
        run = run_row(found[0]) if found else None
        if run is None or (run.head, run.epoch) != (piece.base_head, piece.epoch):
            raise Conflict(piece.run_id)
        return run.owner is None

    # --- drivers and claims ---

    async def register_driver(self, driver: Driver, lease_seconds: float) -> None:
        texts.check_driver(driver)
        await self._again(lambda: self._register(driver, int(lease_seconds * 1_000_000)))
        self._drivers[driver.owner] = driver

    async def _register(self, driver: Driver, lease: int) -> None:
        now = self._now()
        if not await self._alone(self._sql.renew, (now, lease, now, driver.owner)):
            values = (driver.owner, driver.host, driver.boot_id, driver.pid_ns, driver.pid, driver.started)
            await self._alone(self._sql.insert_driver, (*values, now, lease, now))

    async def renew(self, owner: str, lease_seconds: float) -> None:
        now, lease = self._now(), int(lease_seconds * 1_000_000)
        if not await self._again(lambda: self._alone(self._sql.renew, (now, lease, now, owner))):
            raise UnknownDriver(owner)

    async def release(self, owner: str) -> None:
        await self._again(lambda: self._release(owner))
        self._drivers.pop(owner, None)

    async def _release(self, owner: str) -> None:
        async with self._transaction() as session:
            await session.run(self._sql.disown, (owner,))
            await session.run(self._sql.delete_driver, (owner,))

    async def claim(
        self,
        run_id: str,
        owner: str,
        *,
        force: bool = False,
        explicit: bool = False,
        nonce: str | None = None,
        seen: RunRow | None = None,
    ) -> Claimed:
        me = self._drivers.get(owner)
        if me is None:
            raise UnknownDriver(owner)
        if not texts.holdable(run_id):
            raise NoSuchRun(run_id)
        made_with, looked = nonce or new_nonce(), [] if seen is None else [seen]
        return await self._again(lambda: self._claim(run_id, me, made_with, looked, force=force, explicit=explicit))

    async def _claim(
        self, run_id: str, me: Driver, nonce: str, looked: list[RunRow], *, force: bool, explicit: bool
    ) -> Claimed:
        """``looked`` keeps the run as it was first seen, over all tries."""
        async with self._transaction(points=True) as session:
            found = await session.all(self._sql.lock_run, (self._now(), run_id))
            if not found:
                raise NoSuchRun(run_id)
            run, now = run_row(found[0]), found[0][-1]
            if run.owner == me.owner and (made := await session.all(self._sql.row_of, (run_id, nonce))):
                return claimed(run, Row(*made[0]), None)
            holder = await session.all(self._sql.driver, (run.owner,)) if run.owner is not None else []
            held_by = owner_row(holder[0]) if holder else None
            looked.append(run)
            plan = plan_claim(run, me, held_by, now, nonce, force=force, explicit=explicit, seen=looked[0])
            values = [bound(name, value) for name, value in plan.changes.items()]
            if not await session.run(self._sql.advance(tuple(plan.changes)), (*values, run_id, run.head, run.epoch)):
                raise Busy(self.name, reason="the run has gone on under its lock")
            await self._insert_rows(session, [plan.row])
            taken = run_row((await session.all(self._sql.run, (self._now(), run_id)))[0])
        if plan.refused is not None:
            raise plan.refused
        return claimed(taken, plan.row, held_by)

    # --- inbox ---

    async def send(self, row: InboxRow) -> InboxRow:
        texts.check_mail(row)
        return await self._again(lambda: self._send(row))

    async def _send(self, row: InboxRow) -> InboxRow:
        async with self._transaction(points=True) as session:
            found = await session.all(self._sql.lock_run, (self._now(), row.run_id))
            if not found:
                raise NoSuchRun(row.run_id)
            run = run_row(found[0])
            if run.ended:
                raise RunEnded(row.run_id, status=run.status)
            there = await session.all(self._sql.inbox_row, (row.run_id, row.request_id))
            winner = inbox_row(there[0]) if there else row
            if not there:
                await _of(row.run_id, session.run(self._sql.insert_inbox, inbox_values(row)))
            if winner.consumed_seq is None:
                await session.run(self._sql.wake, (self._now(), row.run_id))
            return winner


def _in_order(batch: Batch) -> Batch:
    """Runs are locked in the order of their ids."""
    return sorted(batch, key=lambda piece: piece.run_id) if len(batch) > 1 else batch


def _is_plain(piece: Slice) -> bool:
    """True for a slice that moves its run on and brings rows, and nothing else."""
    return piece.create is None and not (piece.blobs or piece.consumed or piece.inbox)


class _Awake(Exception):
    """Something waits in the inbox: roll back, and do not park."""


async def _of(run_id: str, work: Coroutine[Any, Any, T]) -> T:
    """``work``, with what the database says of its values said of this run."""
    try:
        return await work
    except BadData as error:
        raise BadData(run_id, problem=error.problem) from error


def changed(pieces: Sequence[Slice]) -> list[dict[str, Any]]:
    """The columns that each slice sets, as they are bound."""
    return [{name: bound(name, value) for name, value in advanced(piece).items()} for piece in pieces]
