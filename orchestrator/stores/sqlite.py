"""Runs in an SQLite file: one thread that writes, one that reads, each with a connection of its own. A commit for which
nothing else waits is made in the caller's thread instead: the way to another one and back takes as long.

Leases are counted by the wall clock of the machine that all its drivers share. ``synchronous=FULL`` in WAL mode: a
commit that returned survives a power cut. Reads see what was committed when they began, and never wait for the writer.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from orchestrator.clock import SystemClock
from orchestrator.ids import new_nonce
from orchestrator.journal.errors import NoSuchRun, SchemaOlder, StoreLocked, Unknown, UnknownDriver, not_waited_for
from orchestrator.journal.store import ALL_RUNS, Swept
from orchestrator.stores import schema, texts
from orchestrator.stores.connection import Connection
from orchestrator.stores.lane import Lane
from orchestrator.stores.sqlite_upkeep import SqliteUpkeep
from orchestrator.stores.sqlite_work import SqliteWork
from orchestrator.stores.statements import SQLITE, Statements

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.journal.records import Record, Row
    from orchestrator.journal.store import Batch, Claimed, Driver, Fact, InboxRow, Owner, RunFilter, RunRow, Slice
    from orchestrator.stores.urls import SqliteUrl

T = TypeVar("T")

LONGEST_HERE = 0.05
"""Seconds that a commit may hold up the caller's thread; after one that took longer, they go to the writer's thread."""

NOT_HERE = 1.0
"""Seconds for which they do."""


class SqliteStore:
    """A ``Store`` in one file. ``busy_timeout`` is how long, in seconds, another program may hold its lock."""

    def __init__(
        self, url: SqliteUrl, *, clock: Clock | None = None, table_prefix: str = "", busy_timeout: float = 30.0
    ) -> None:
        self._url = url
        self._clock = clock or SystemClock()
        self._sql = Statements(SQLITE, table_prefix)
        self._db = Connection(url, busy_timeout=busy_timeout, writes=True)
        self._reader = Connection(url, busy_timeout=busy_timeout, writes=False)
        self._writing = SqliteWork(self._db, self._sql, self._clock)
        self._reading = SqliteWork(self._reader, self._sql, self._clock)
        self._taking = SqliteUpkeep(self._db, self._sql, self._clock)
        self._looking = SqliteUpkeep(self._reader, self._sql, self._clock)
        self._lanes: tuple[Lane, Lane] | None = None
        self._here_again = 0.0
        self._drivers: dict[str, Driver] = {}
        self._abandoned = False

    @property
    def name(self) -> str:
        return self._url.shown

    # --- opening and closing ---

    async def open(self, *, create: bool = True, older: bool = False) -> None:
        if self._lanes is not None:
            return
        self._lanes = (Lane("orch-sqlite-writer"), Lane("orch-sqlite-reader"))
        try:
            await self._write(lambda: self._open(create=create, older=older))
        except BaseException as error:
            if not isinstance(error, Exception):
                self.abandon()
            await self.aclose()
            raise

    def _open(self, *, create: bool, older: bool) -> None:
        self._db.open(create=create)
        if create and not self._url.read_only:
            schema.provision(self._db, self._sql, self._clock.now())
        try:
            schema.require(self._db, self._sql)
        except SchemaOlder:
            if not older:
                raise

    async def aclose(self) -> None:
        lanes, self._lanes = self._lanes, None
        if lanes is None:
            return
        if self._abandoned:
            for lane in lanes:
                lane.close()
            return
        for lane, connection in zip(reversed(lanes), (self._reader, self._db), strict=True):
            try:
                await lane.call(connection.close)
            finally:
                lane.close()

    def abandon(self) -> None:
        self._abandoned = True
        for lane in self._lanes or ():
            lane.abandon(not_waited_for(self.name))

    async def migrate(self) -> list[int]:
        return await self._write(lambda: schema.provision(self._db, self._sql, self._clock.now(), upgrade=True))

    async def check(self) -> list[str]:
        return await self._read(lambda: schema.problems(self._reader, self._sql))

    def ddl(self) -> str:
        return schema.ddl(self._sql)

    async def vacuum(self) -> None:
        await self._write(lambda: schema.vacuum(self._db))

    async def backup(self, target: Path) -> None:
        await self._read(lambda: schema.back_up(self._reader, target))

    async def _write(self, work: Callable[[], T]) -> T:
        assert self._lanes is not None, "the store is not open"

        def patiently() -> T:
            self._db.wait_for_locks(wait=True)
            return work()

        return await self._lanes[0].call(patiently)

    async def _write_again(self, work: Callable[[], T]) -> T:
        """Work that may be done twice: once more where its first end is not known."""

        def working() -> T:
            try:
                return work()
            except Unknown:
                return work()

        return await self._write(working)

    async def _read(self, work: Callable[[], T]) -> T:
        assert self._lanes is not None, "the store is not open"
        return await self._lanes[1].call(work)

    # --- blobs ---

    async def put_blobs(self, contents: Sequence[bytes]) -> list[str]:
        return await self._write_again(lambda: self._writing.put_blobs(contents))

    async def get_blob(self, name: str) -> bytes:
        return await self._read(lambda: self._reading.get_blob(name))

    async def touch(self, names: Sequence[str]) -> None:
        await self._write_again(lambda: self._writing.touch(names))

    async def held_blobs(self, names: Collection[str]) -> set[str]:
        return await self._read(lambda: self._looking.held(sorted(names)))

    async def sweep_blobs(self, *, age: float, without: Collection[str] = (), dry_run: bool = False) -> Swept:
        micros = int(age * 1_000_000)
        sizes = await self._read(lambda: self._looking.old_blobs(micros))
        gone = await self._read(lambda: self._looking.unnamed(sizes, without, self._reading)) if sizes else set[str]()
        if not dry_run:
            names = sorted(gone)
            gone = await self._write_again(lambda: self._taking.delete_blobs(names, micros))
        return Swept(names=tuple(sorted(gone)), size=sum(sizes[name] for name in gone))

    async def delete_runs(self, run_ids: Sequence[str], *, ended_before: int) -> list[str]:
        return [
            run_id
            for run_id in run_ids
            if await self._write_again(lambda run_id=run_id: self._taking.delete_run(run_id, ended_before))
        ]

    async def forget_drivers(self, *, age: float) -> int:
        return await self._write_again(lambda: self._taking.forget_drivers(int(age * 1_000_000)))

    # --- commits ---

    async def commit(self, batch: Batch, *, alone: bool = False) -> None:
        texts.check_batch(batch)
        if not (alone and self._commit_here(batch)):
            await self._write(lambda: self._writing.commit(batch))

    def _commit_here(self, batch: Batch) -> bool:
        """Commit in the thread of the caller, for whom nothing else waits: a commit is as quick as the way to another
        thread and back. False, and nothing done, where that would take long: another program has the lock, or the disk
        was slow a moment ago."""
        assert self._lanes is not None, "the store is not open"
        start = time.monotonic()
        if start < self._here_again or not self._lanes[0].idle or not self._db.is_open:
            return False
        try:
            self._db.wait_for_locks(wait=False)
            self._writing.commit(batch)
        except StoreLocked:
            self._here_again = time.monotonic() + NOT_HERE
            return False
        end = time.monotonic()
        if end - start > LONGEST_HERE:
            self._here_again = end + NOT_HERE
        return True

    async def settle(self, firsts: Sequence[tuple[str, int]]) -> dict[str, str | None]:
        return await self._write(lambda: self._writing.settle(firsts))

    async def park(self, piece: Slice) -> bool:
        texts.check_batch((piece,))
        return await self._write(lambda: self._writing.park(piece))

    # --- drivers and claims ---

    async def register_driver(self, driver: Driver, lease_seconds: float) -> None:
        texts.check_driver(driver)
        await self._write_again(lambda: self._writing.register_driver(driver, lease_seconds))
        self._drivers[driver.owner] = driver

    async def renew(self, owner: str, lease_seconds: float) -> None:
        await self._write(lambda: self._writing.renew(owner, lease_seconds))

    async def release(self, owner: str) -> None:
        await self._write_again(lambda: self._writing.release(owner))
        self._drivers.pop(owner, None)

    async def owner(self, owner: str) -> Owner | None:
        return await self._read(lambda: self._reading.owner(owner))

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
        return await self._write_again(
            lambda: self._writing.claim(run_id, me, made_with, looked, force=force, explicit=explicit)
        )

    # --- reading ---

    async def load(
        self, run_id: str, *, from_seq: int = 1, upto: int | None = None, verify: bool = True
    ) -> list[Record]:
        return await self._read(lambda: self._reading.load(run_id, from_seq, upto, verify=verify))

    async def rows(self, run_id: str, *, from_seq: int = 1) -> list[Row]:
        return await self._read(lambda: self._reading.rows(run_id, from_seq))

    async def get_run(self, run_id: str) -> RunRow:
        if not texts.holdable(run_id):
            raise NoSuchRun(run_id)
        return await self._read(lambda: self._reading.get_run(run_id))

    async def find_runs(self, prefix: str, *, limit: int = 10) -> list[RunRow]:
        if not texts.holdable(prefix):
            return []
        return await self._read(lambda: self._reading.find_runs(prefix, limit))

    async def list_runs(self, chosen: RunFilter = ALL_RUNS) -> list[RunRow]:
        if not texts.findable(chosen):
            return []
        return await self._read(lambda: self._reading.list_runs(chosen))

    async def due(self, *, limit: int = 100) -> list[str]:
        return await self._read(lambda: self._reading.due(limit))

    # --- memory ---

    async def remember(self, fact: Fact) -> None:
        texts.check_fact(fact)
        await self._write_again(lambda: self._writing.remember(fact))

    async def facts(self, scope: str, *, after: str = "", limit: int = 500) -> list[Fact]:
        if not texts.holdable(scope, after):
            return []
        return await self._read(lambda: self._reading.facts(scope, after, limit))

    # --- inbox ---

    async def send(self, row: InboxRow) -> InboxRow:
        texts.check_mail(row)
        return await self._write_again(lambda: self._writing.send(row))

    async def pending(self, run_id: str) -> list[InboxRow]:
        return await self._read(lambda: self._reading.pending(run_id))

    async def pending_for(self, owner: str) -> list[InboxRow]:
        return await self._read(lambda: self._reading.pending_for(owner))
