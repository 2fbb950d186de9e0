"""Runs in an SQLite file: one thread that writes, one that reads, each with a connection of its own.

Leases are counted by the wall clock of the machine that all its drivers share. ``synchronous=FULL`` in WAL mode: a
commit that returned survives a power cut. Reads see what was committed when they began, and never wait for the
writer.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from orchestrator.clock import SystemClock
from orchestrator.errors import OrchError
from orchestrator.ids import new_nonce
from orchestrator.journal.errors import (
    BadData,
    Conflict,
    Damaged,
    NoSuchRun,
    RunEnded,
    Unknown,
    UnknownBlob,
    UnknownDriver,
)
from orchestrator.journal.records import GENESIS, Record, Row, decode_all, pack_blob, unpack_blob
from orchestrator.journal.store import ALL_RUNS, RUN_COLUMNS, Claimed, Driver, InboxRow, Owner, RunFilter, RunRow, Slice
from orchestrator.stores import schema
from orchestrator.stores.claims import claimed, plan_claim
from orchestrator.stores.connection import Connection
from orchestrator.stores.lane import Lane
from orchestrator.stores.rows import advanced, bound, created, inbox_row, inbox_values, owner_row, run_row
from orchestrator.stores.statements import SQLITE, Statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator.clock import Clock
    from orchestrator.journal.store import Batch
    from orchestrator.stores.urls import SqliteUrl

MAX_SEQ = 2**63 - 1
SETTLED_AT_ONCE = 100
"""Pairs in one settling SELECT: far below SQLite's limit of 1,000 on the depth of an expression."""


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
        self._lanes: tuple[Lane, Lane] | None = None
        self._drivers: dict[str, Driver] = {}

    @property
    def name(self) -> str:
        return self._url.shown

    # --- opening and closing ---

    async def open(self, *, create: bool = True) -> None:
        if self._lanes is not None:
            return
        self._lanes = (Lane("orch-sqlite-writer"), Lane("orch-sqlite-reader"))
        try:
            await self._lanes[0].call(lambda: self._open(create=create))
        except BaseException:
            await self.aclose()
            raise

    def _open(self, *, create: bool) -> None:
        self._db.open(create=create)
        if create and not self._url.read_only:
            schema.provision(self._db, self._sql, self._clock.now())
        schema.require(self._db, self._sql)

    async def aclose(self) -> None:
        lanes, self._lanes = self._lanes, None
        if lanes is None:
            return
        for lane, connection in zip(reversed(lanes), (self._reader, self._db), strict=True):
            try:
                await lane.call(connection.close)
            finally:
                lane.close()

    async def migrate(self) -> list[int]:
        return await self._write(lambda: schema.provision(self._db, self._sql, self._clock.now(), upgrade=True))

    async def check(self) -> list[str]:
        return await self._read(lambda: schema.problems(self._reader, self._sql))

    def ddl(self) -> str:
        return schema.ddl(self._sql)

    async def _write(self, work: Callable[[], Any]) -> Any:
        assert self._lanes is not None, "the store is not open"
        return await self._lanes[0].call(work)

    async def _write_again(self, work: Callable[[], Any]) -> Any:
        """Work that may be done twice: once more where its first end is not known."""

        def working() -> Any:
            try:
                return work()
            except Unknown:
                return work()

        return await self._write(working)

    async def _read(self, work: Callable[[], Any]) -> Any:
        assert self._lanes is not None, "the store is not open"

        def reading() -> Any:
            self._reader.open(create=False)
            return work()

        return await self._lanes[1].call(reading)

    # --- blobs ---

    async def put_blobs(self, contents: Sequence[bytes]) -> list[str]:
        def work() -> list[str]:
            with self._db.transaction():
                return [self._put_blob(content) for content in contents]

        return await self._write_again(work)

    def _put_blob(self, content: bytes) -> str:
        now = self._clock.now()
        parts = list(pack_blob(content))
        if not self._db.execute(self._sql.touch_blob, (now, parts[0].hash)).rowcount:
            for part in parts:
                self._db.execute(self._sql.insert_blob, (*part, now))
        return parts[0].hash

    async def get_blob(self, name: str) -> bytes:
        return await self._read(lambda: self._get_blob(name))

    def _get_blob(self, name: str) -> bytes:
        parts = [body for (body,) in self._reader.execute(self._sql.blob, (name,))]
        if not parts:
            raise UnknownBlob(name)
        try:
            return unpack_blob(name, parts)
        except ValueError as error:
            raise UnknownBlob(name, problem="is damaged") from error

    async def touch(self, names: Sequence[str]) -> None:
        def work() -> None:
            with self._db.transaction():
                for name in names:
                    self._db.execute(self._sql.touch_blob, (self._clock.now(), name))

        await self._write_again(work)

    # --- commits ---

    async def commit(self, batch: Batch) -> None:
        await self._write(lambda: self._commit(batch))

    def _commit(self, batch: Batch) -> None:
        with self._db.transaction(points=True):
            self._apply(batch)

    def _apply(self, batch: Batch) -> None:
        """All that a batch writes, inside a transaction. Runs are locked in the order of their ids."""
        pieces = sorted(batch, key=lambda piece: piece.run_id) if len(batch) > 1 else batch
        for piece in pieces:
            for content in piece.blobs:
                self._put_blob(content)
            self._advance(piece)
        rows = pieces[0].rows if len(pieces) == 1 else [row for piece in pieces for row in piece.rows]
        for start in range(0, len(rows), self._sql.max_rows):
            chunk = rows[start : start + self._sql.max_rows]
            self._execute(None, self._sql.insert_rows(len(chunk)), [value for row in chunk for value in row])
        for piece in pieces:
            for request_id, seq in piece.consumed:
                if not self._execute(piece.run_id, self._sql.consume, (seq, piece.run_id, request_id)).rowcount:
                    raise BadData(piece.run_id, problem=f"nothing waits under the request id {request_id!r}")
        for row in sorted((row for piece in pieces for row in piece.inbox), key=lambda row: row.run_id):
            self._deliver(row)

    def _advance(self, piece: Slice) -> None:
        """Move the run's row on, or make it: the fence."""
        if piece.create is not None:
            columns = created(piece.create, piece)
            values = [bound(name, columns[name]) for name in RUN_COLUMNS]
            self._execute(piece.run_id, self._sql.insert_run, values)
            return
        changes = advanced(piece)
        values = [bound(name, value) for name, value in changes.items()]
        values += (piece.run_id, piece.base_head, piece.epoch)
        if self._execute(piece.run_id, self._sql.advance(tuple(changes)), values).rowcount != 1:
            raise Conflict(piece.run_id)

    def _execute(self, run_id: str | None, statement: str, values: Sequence[Any]) -> sqlite3.Cursor:
        """One statement of a batch; what the database says of its values, said of their run."""
        try:
            return self._db.execute(statement, values)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorname in ("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE"):
                raise Conflict(run_id) from error
            raise BadData(run_id, problem=str(error)) from error
        except (sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError) as error:
            raise BadData(run_id, problem=str(error)) from error
        except (OverflowError, UnicodeEncodeError) as error:
            raise BadData(run_id, problem=str(error)) from error

    def _deliver(self, row: InboxRow) -> None:
        """Put a row into another run's inbox, unless that run has ended or has the row already."""
        if not self._db.execute(self._sql.wake, (self._clock.now(), row.run_id)).rowcount:
            return
        if self._db.execute(self._sql.inbox_row, (row.run_id, row.request_id)).fetchone() is None:
            self._execute(row.run_id, self._sql.insert_inbox, inbox_values(row))

    async def settle(self, firsts: Sequence[tuple[str, int]]) -> dict[str, str | None]:
        def work() -> dict[str, str | None]:
            found: dict[str, str | None] = dict.fromkeys(run_id for run_id, _ in firsts)
            for start in range(0, len(firsts), SETTLED_AT_ONCE):
                some = firsts[start : start + SETTLED_AT_ONCE]
                values = [value for pair in some for value in pair]
                found.update(self._db.execute(self._sql.settle(len(some)), values).fetchall())
            return found

        return await self._write(work)

    async def park(self, piece: Slice) -> bool:
        def work() -> bool:
            try:
                with self._db.transaction(points=True):
                    if self._is_parked(piece):
                        return True
                    self._apply((piece,))
                    if self._pending(self._db, piece.run_id):
                        raise _Awake
            except _Awake:
                return False
            return True

        return await self._write(work)

    def _is_parked(self, piece: Slice) -> bool:
        """True where nobody holds the run at this head. Raises ``Conflict`` where it is elsewhere, or not there."""
        found = self._db.execute(self._sql.lock_run, (piece.run_id,)).fetchone()
        run = None if found is None else run_row(found, 0)
        if run is None or (run.head, run.epoch) != (piece.base_head, piece.epoch):
            raise Conflict(piece.run_id)
        return run.owner is None

    # --- drivers and claims ---

    async def register_driver(self, driver: Driver, lease_seconds: float) -> None:
        def work() -> None:
            now = self._clock.now()
            until = now + int(lease_seconds * 1_000_000)
            with self._db.transaction():
                if not self._db.execute(self._sql.renew, (until, now, driver.owner)).rowcount:
                    values = (driver.owner, driver.host, driver.boot_id, driver.pid_ns, driver.pid, driver.started)
                    self._db.execute(self._sql.insert_driver, (*values, until, now))

        await self._write_again(work)
        self._drivers[driver.owner] = driver

    async def renew(self, owner: str, lease_seconds: float) -> None:
        def work() -> None:
            now = self._clock.now()
            until = now + int(lease_seconds * 1_000_000)
            if not self._db.execute(self._sql.renew, (until, now, owner)).rowcount:
                raise UnknownDriver(owner)

        await self._write(work)

    async def release(self, owner: str) -> None:
        def work() -> None:
            with self._db.transaction():
                self._db.execute(self._sql.disown, (owner,))
                self._db.execute(self._sql.delete_driver, (owner,))

        await self._write_again(work)
        self._drivers.pop(owner, None)

    async def owner(self, owner: str) -> Owner | None:
        return await self._read(lambda: self._owner(self._reader, owner))

    def _owner(self, db: Connection, owner: str | None) -> Owner | None:
        found = None if owner is None else db.execute(self._sql.driver, (owner,)).fetchone()
        return None if found is None else owner_row(found)

    async def claim(
        self, run_id: str, owner: str, *, force: bool = False, explicit: bool = False, nonce: str | None = None
    ) -> Claimed:
        me = self._drivers.get(owner)
        if me is None:
            raise UnknownDriver(owner)
        made_with = nonce or new_nonce()
        return await self._write_again(lambda: self._claim(run_id, me, made_with, force=force, explicit=explicit))

    def _claim(self, run_id: str, me: Driver, nonce: str, *, force: bool, explicit: bool) -> Claimed:
        with self._db.transaction(points=True):
            run = self._run(self._db, run_id, self._sql.lock_run)
            if run.owner == me.owner and (made := self._db.execute(self._sql.row_of, (run_id, nonce)).fetchone()):
                return claimed(run, Row(*made), None)
            held_by = self._owner(self._db, run.owner)
            plan = plan_claim(run, me, held_by, self._clock.now(), nonce, force=force, explicit=explicit)
            values = [bound(name, value) for name, value in plan.changes.items()]
            self._db.execute(self._sql.advance(tuple(plan.changes)), (*values, run_id, run.head, run.epoch))
            self._db.execute(self._sql.insert_rows(1), plan.row)
            taken = self._run(self._db, run_id, self._sql.run)
        if plan.refused is not None:
            raise plan.refused
        return claimed(taken, plan.row, held_by)

    # --- reading ---

    async def load(
        self, run_id: str, *, from_seq: int = 1, upto: int | None = None, verify: bool = True
    ) -> list[Record]:
        def work() -> list[Record]:
            with self._reader.snapshot():
                run = self._run(self._reader, run_id, self._sql.run)
                last = run.head if upto is None else upto
                rows = self._reader.execute(self._sql.journal, (run_id, from_seq, last)).fetchall()
                prev = self._sum_before(run_id, from_seq)
                if verify:
                    _check_ends(run, rows, from_seq, last)
                return decode_all(run_id, rows, self._get_blob, prev=prev, verify=verify)

        return await self._read(work)

    def _sum_before(self, run_id: str, seq: int) -> str:
        if seq <= 1:
            return GENESIS
        found = self._reader.execute(self._sql.sum_at, (run_id, seq - 1)).fetchone()
        if found is None:
            raise Damaged(run_id, seq=seq - 1, problem="the row is missing")
        return found[0]

    async def rows(self, run_id: str, *, from_seq: int = 1) -> list[Row]:
        def work() -> list[Row]:
            with self._reader.snapshot():
                self._run(self._reader, run_id, self._sql.run)
                return [Row(*row) for row in self._reader.execute(self._sql.journal, (run_id, from_seq, MAX_SEQ))]

        return await self._read(work)

    async def get_run(self, run_id: str) -> RunRow:
        return await self._read(lambda: self._run(self._reader, run_id, self._sql.run))

    def _run(self, db: Connection, run_id: str, statement: str) -> RunRow:
        found = db.execute(statement, (run_id,)).fetchone()
        if found is None:
            raise NoSuchRun(run_id)
        return run_row(found, self._clock.now())

    async def find_runs(self, prefix: str, *, limit: int = 10) -> list[RunRow]:
        def work() -> list[RunRow]:
            found = self._reader.execute(self._sql.find_runs, (prefix, prefix + "\U0010ffff", limit))
            return [run_row(values, self._clock.now()) for values in found]

        return await self._read(work)

    async def list_runs(self, chosen: RunFilter = ALL_RUNS) -> list[RunRow]:
        statement, values = self._sql.list_runs(chosen)

        def work() -> list[RunRow]:
            out: list[RunRow] = []
            cursor = self._reader.execute(statement, values)
            for found in cursor:
                run = run_row(found, self._clock.now())
                if chosen.labels.items() <= run.labels.items():
                    out.append(run)
                if len(out) >= chosen.limit:
                    break
            cursor.close()
            return out

        return await self._read(work) if chosen.limit > 0 else []

    async def due(self, *, limit: int = 100) -> list[str]:
        def work() -> list[str]:
            now = self._clock.now()
            return [run_id for (run_id,) in self._reader.execute(self._sql.due, (now, now, now, limit))]

        return await self._read(work)

    # --- inbox ---

    async def send(self, row: InboxRow) -> InboxRow:
        def work() -> InboxRow:
            with self._db.transaction(points=True):
                run = self._run(self._db, row.run_id, self._sql.lock_run)
                if run.ended:
                    raise RunEnded(row.run_id, status=run.status)
                there = self._db.execute(self._sql.inbox_row, (row.run_id, row.request_id)).fetchone()
                winner = row if there is None else inbox_row(there)
                if there is None:
                    self._execute(row.run_id, self._sql.insert_inbox, inbox_values(row))
                if winner.consumed_seq is None:
                    self._db.execute(self._sql.wake, (self._clock.now(), row.run_id))
                return winner

        return await self._write_again(work)

    async def pending(self, run_id: str) -> list[InboxRow]:
        return await self._read(lambda: self._pending(self._reader, run_id))

    def _pending(self, db: Connection, run_id: str) -> list[InboxRow]:
        return _inbox_rows(db.execute(self._sql.pending, (run_id,)))

    async def pending_for(self, owner: str) -> list[InboxRow]:
        return await self._read(lambda: _inbox_rows(self._reader.execute(self._sql.pending_for, (owner,))))


class _Awake(OrchError):
    """Something waits in the inbox: roll back, and do not park."""

    def __init__(self) -> None:
        super().__init__("the inbox is not empty")


def _inbox_rows(found: Iterable[Sequence[Any]]) -> list[InboxRow]:
    return [inbox_row(values) for values in found]


def _check_ends(run: RunRow, rows: Sequence[Sequence[Any]], from_seq: int, last: int) -> None:
    """The journal begins where it should and ends where the run's row says."""
    first, end = (rows[0][1], rows[-1][1]) if rows else (from_seq, from_seq - 1)
    if first != from_seq:
        raise Damaged(run.run_id, seq=from_seq, problem="the row is missing")
    if end < last:
        raise Damaged(run.run_id, seq=end + 1, problem=f"the row is missing (the run's row says {run.head})")
    if rows and end == run.head and rows[-1][9] != run.head_sum:
        raise Damaged(run.run_id, seq=end, problem="its sum is not the one in the run's row")
