"""A store in a database server, as far as it only opens, keeps blobs and reads.

Every call goes on by itself, so that a caller who is cancelled stops waiting and no transaction is interrupted; each
ends by itself, since connections and statements have time limits. Most are tasks; a plain commit is an ``Exchange``.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.journal import points as crash
from orchestrator.journal.errors import (
    Conflict,
    Damaged,
    NoSuchRun,
    NotOffered,
    SchemaOlder,
    StoreError,
    StoreFailed,
    Unknown,
    UnknownBlob,
    not_waited_for,
)
from orchestrator.journal.records import GENESIS, Record, Row, decode_all, pack_blob, unpack_blob
from orchestrator.journal.store import ALL_RUNS, InboxRow, Owner, RunFilter, RunRow
from orchestrator.jsonish import digest
from orchestrator.stores import server_schema as schema
from orchestrator.stores import texts
from orchestrator.stores.exchange import Exchange
from orchestrator.stores.pool import Busy, Lost, Pool, Session
from orchestrator.stores.rows import check_ends, inbox_row, owner_row, run_row
from orchestrator.stores.statements import TABLES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.stores.server_urls import ServerUrl
    from orchestrator.stores.statements import Statements

T = TypeVar("T")

LOCKED_SECONDS = 8.0
"""For how long the locks of others are waited for: servers end a transaction that has been idle for 5 s."""

PATIENCE = 3600.0
"""Seconds that a statement may take which goes through a whole table."""

BUSY_SECONDS = 0.02
ROWS_AT_ONCE = 10_000
BLOBS_AT_ONCE = 200
PAGE = 200


class ServerBase(ABC):
    """A ``Store`` behind a connection. ``clock`` takes the place of the database's own, for tests."""

    def __init__(self, url: ServerUrl, sql: Statements, *, clock: Clock | None = None) -> None:
        self._url = url
        self._sql = sql
        self._clock = clock
        self._open_pool: Pool | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._exchanges: set[Exchange[Any]] = set()
        self._abandoned = False

    @property
    def name(self) -> str:
        return self._url.shown

    @property
    def pool(self) -> Pool:
        """The connections of this store, which is open."""
        assert self._open_pool is not None, "the store is not open"
        return self._open_pool

    # --- what the databases differ in ---

    @abstractmethod
    async def _connect(self, *, patient: bool = False) -> Session:
        """A new connection; a ``patient`` one lets a statement take an hour."""

    @abstractmethod
    async def _provision(self, session: Session, *, upgrade: bool) -> list[int]:
        """Make or upgrade the tables, alone among all that try."""

    @abstractmethod
    async def _problems(self, session: Session) -> list[str]:
        """What is wrong with the settings of the database, one sentence each."""

    # --- opening and closing ---

    async def open(self, *, create: bool = True, older: bool = False) -> None:
        if self._open_pool is not None:
            return
        self._open_pool = Pool(self.name, self._connect, size=self._url.pool, wait=self._url.timeout)
        try:
            await self._whole(lambda: self._open(create=create, older=older))
        except BaseException as error:
            if not isinstance(error, Exception):
                self.abandon()
            await self.aclose()
            raise

    async def _open(self, *, create: bool, older: bool) -> None:
        async with self.pool.session() as session:
            if await schema.ready(session, self._sql):
                return
            if create:
                await self._provision(session, upgrade=False)
            try:
                await schema.require(session, self._sql, self.name)
            except SchemaOlder:
                if not older:
                    raise

    async def aclose(self) -> None:
        while waited := [*self._tasks, *(exchange.over() for exchange in self._exchanges)]:
            await asyncio.wait(waited)
        pool, self._open_pool = self._open_pool, None
        if pool is not None and self._abandoned:
            pool.abandon()
        elif pool is not None:
            await pool.aclose()

    def abandon(self) -> None:
        self._abandoned = True
        for task in self._tasks:
            task.cancel()
        for exchange in self._exchanges:
            exchange.cancel(not_waited_for(self.name))

    async def migrate(self) -> list[int]:
        return await self._whole(self._migrate)

    async def _migrate(self) -> list[int]:
        async with self.pool.session() as session:
            return await self._provision(session, upgrade=True)

    async def check(self) -> list[str]:
        return await self._whole(self._check)

    async def _check(self) -> list[str]:
        async with self.pool.session() as session:
            return [*await schema.problems(session, self._sql), *await self._problems(session)]

    def ddl(self) -> str:
        return schema.ddl(self._sql)

    async def vacuum(self) -> None:
        await self._whole(self._vacuum)

    async def _vacuum(self) -> None:
        """Table by table, on a connection of its own: it may take longer than any other statement."""
        session = await self._connect(patient=True)
        try:
            for name in TABLES:
                for row in await session.all(f"{self._sql.dialect.vacuum} {self._sql.prefix}{name}"):
                    # MariaDB says what went wrong among the rows of an answer.
                    if str(row[2]).lower() == "error":
                        raise StoreFailed(self.name, reason=str(row[3]))
        finally:
            await session.aclose()

    async def backup(self, target: Path) -> None:
        program = "pg_dump" if self._sql.dialect.name == "postgres" else "mariadb-dump --single-transaction"
        raise NotOffered(self.name, what="backup", instead=f"`{program}` makes one, also while runs go on")

    # --- how anything is done ---

    async def _whole(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What ``work`` gives; it comes to its end even where nobody waits for it any more."""
        if self._abandoned:
            raise not_waited_for(self.name)
        task = asyncio.ensure_future(work())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise not_waited_for(self.name) from None
            raise

    def _session_at_once(self) -> Session | None:
        """A session for work that is done ``_at_once``, if one lies ready; it has to be given back."""
        return None if self._abandoned else self.pool.lend()

    async def _at_once(self, work: Coroutine[Any, Any, T]) -> T:
        """The same as ``_whole`` for less, of work that has its session, and waits for nothing but its answers."""
        return await Exchange(work, self._exchanges).end

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # one that nobody waits for is nobody's business

    async def _again(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Work that may be done twice: once more where its connection was lost or its end is not known, and for a while
        where a lock is in the way.
        """

        async def working() -> T:
            loop = asyncio.get_running_loop()
            deadline, lost = loop.time() + LOCKED_SECONDS, False
            while True:
                try:
                    return await work()
                except Busy:
                    if loop.time() > deadline:
                        raise
                    await asyncio.sleep(BUSY_SECONDS)
                except (Unknown, Lost):
                    if lost:
                        raise
                    lost = True

        return await self._whole(working)

    def _now(self) -> int | None:
        """The time as statements take it: None is the database's own."""
        return None if self._clock is None else self._clock.now()

    @asynccontextmanager
    async def _transaction(self, *, points: bool = False) -> AsyncGenerator[Session]:
        """BEGIN to COMMIT; whatever is raised in between rolls back. ``points`` are for the crash suite.

        Raises ``Unknown`` where the end of COMMIT is not known.
        """
        at = crash.at if points else _nowhere
        async with self.pool.session() as session:
            at("before_begin")
            await session.begin()
            at("after_begin")
            try:
                yield session
            except BaseException as error:
                await _roll_back(session, error)
                raise
            at("before_commit")
            await session.commit()
            at("after_commit")

    async def _alone(self, statement: str, values: Sequence[Any]) -> int:
        """One statement that is its own transaction, and may be done twice."""
        async with self.pool.session() as session:
            return await session.run(statement, values)

    async def _all(self, statement: str, values: Sequence[Any]) -> list[Any]:
        async with self.pool.session() as session:
            return await session.all(statement, values)

    # --- blobs ---

    async def put_blobs(self, contents: Sequence[bytes]) -> list[str]:
        return await self._again(lambda: self._put_blobs(contents))

    async def _put_blobs(self, contents: Sequence[bytes]) -> list[str]:
        """Each blob by itself, so that none is held up by another."""
        names: list[str] = []
        for content in contents:
            name = digest(content)
            names.append(name)
            if not await self._alone(self._sql.touch_blob, (self._now(), name)):
                parts = list(pack_blob(content))
                async with self._transaction() as session:
                    for part in parts:
                        await session.run(
                            f"{self._sql.insert_blob} {self._sql.dialect.upsert_blob}", (*part, self._now())
                        )
        return names

    async def get_blob(self, name: str) -> bytes:
        return (await self._again(lambda: self._blobs([name])))[name]

    async def _blobs(self, names: Sequence[str]) -> dict[str, bytes]:
        """Contents by their hashes."""
        found: dict[str, list[bytes]] = {}
        async with self.pool.session() as session:
            for start in range(0, len(names), BLOBS_AT_ONCE):
                some = names[start : start + BLOBS_AT_ONCE]
                for name, body in await session.all(self._sql.blobs(len(some)), some):
                    found.setdefault(name, []).append(body)
        return {name: _unpacked(name, found.get(name)) for name in names}

    async def touch(self, names: Sequence[str]) -> None:
        async def touching() -> None:
            for name in names:
                await self._alone(self._sql.touch_blob, (self._now(), name))

        await self._again(touching)

    # --- reading ---

    async def load(
        self, run_id: str, *, from_seq: int = 1, upto: int | None = None, verify: bool = True
    ) -> list[Record]:
        return await self._again(lambda: self._load(run_id, from_seq, upto, verify=verify))

    async def _load(self, run_id: str, from_seq: int, upto: int | None, *, verify: bool) -> list[Record]:
        run = await self._run(run_id)
        last = run.head if upto is None else upto
        rows = await self._journal(run_id, from_seq, last)
        prev = GENESIS
        if from_seq > 1:
            before = await self._all(self._sql.sum_at, (run_id, from_seq - 1))
            if not before:
                raise Damaged(run_id, seq=from_seq - 1, problem="the row is missing")
            prev = before[0][0]
        if verify:
            check_ends(run, rows, from_seq, last)
        names = list(dict.fromkeys(row[7] for row in rows if row[7] is not None))
        blobs = await self._blobs(names) if names else {}
        return decode_all(run_id, rows, blobs.__getitem__, prev=prev, verify=verify)

    async def _journal(self, run_id: str, from_seq: int, last: int) -> list[Any]:
        rows: list[Any] = []
        async with self.pool.session() as session:
            for start in range(from_seq, last + 1, ROWS_AT_ONCE):
                end = min(start + ROWS_AT_ONCE - 1, last)
                rows += await session.all(self._sql.journal, (run_id, start, end))
        return rows

    async def rows(self, run_id: str, *, from_seq: int = 1) -> list[Row]:
        async def reading() -> list[Row]:
            run = await self._run(run_id)
            return [Row(*row) for row in await self._journal(run_id, from_seq, run.head)]

        return await self._again(reading)

    async def get_run(self, run_id: str) -> RunRow:
        if not texts.holdable(run_id):
            raise NoSuchRun(run_id)
        return await self._again(lambda: self._run(run_id))

    async def _run(self, run_id: str) -> RunRow:
        found = await self._all(self._sql.run, (self._now(), run_id))
        if not found:
            raise NoSuchRun(run_id)
        return run_row(found[0])

    async def find_runs(self, prefix: str, *, limit: int = 10) -> list[RunRow]:
        if not texts.holdable(prefix):
            return []
        values = (self._now(), prefix, prefix + "\U0010ffff", limit)
        return [run_row(row) for row in await self._again(lambda: self._all(self._sql.find_runs, values))]

    async def list_runs(self, chosen: RunFilter = ALL_RUNS) -> list[RunRow]:
        if not texts.findable(chosen):
            return []
        return await self._again(lambda: self._list(chosen))

    async def _list(self, chosen: RunFilter) -> list[RunRow]:
        """Page by page: labels are looked at here."""
        out: list[RunRow] = []
        last: RunRow | None = None
        while len(out) < chosen.limit:
            size = max(PAGE, chosen.limit) if chosen.labels else chosen.limit
            statement, values = self._sql.list_runs(
                chosen, after=None if last is None else (last.created_at, last.run_id), limit=size
            )
            found = [run_row(row) for row in await self._all(statement, [self._now(), *values])]
            out += [run for run in found if chosen.labels.items() <= run.labels.items()]
            if len(found) < size:
                break
            last = found[-1]
        return out[: max(chosen.limit, 0)]

    async def due(self, *, limit: int = 100) -> list[str]:
        now = self._now()
        found = await self._again(lambda: self._all(self._sql.due, (now, now, now, limit)))
        return [run_id for (run_id,) in found]

    async def owner(self, owner: str) -> Owner | None:
        found = await self._again(lambda: self._all(self._sql.driver, (owner,)))
        return owner_row(found[0]) if found else None

    async def pending(self, run_id: str) -> list[InboxRow]:
        return [inbox_row(row) for row in await self._again(lambda: self._all(self._sql.pending, (run_id,)))]

    async def pending_for(self, owner: str) -> list[InboxRow]:
        return [inbox_row(row) for row in await self._again(lambda: self._all(self._sql.pending_for, (owner,)))]


async def _roll_back(session: Session, cause: BaseException) -> None:
    """Roll back; a connection that cannot is thrown away, and the cause stays what it was."""
    try:
        if not session.broken:
            await session.roll_back()
    except (StoreError, Conflict) as error:
        cause.add_note(f"and the rollback failed: {error}")
        session.abandon()


def _unpacked(name: str, parts: list[bytes] | None) -> bytes:
    if parts is None:
        raise UnknownBlob(name)
    try:
        return unpack_blob(name, parts)
    except ValueError as error:
        raise UnknownBlob(name, problem="is damaged") from error


def _nowhere(name: str) -> None:
    """Not a point."""
