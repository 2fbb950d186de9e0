"""What an SQLite store does in the thread of a connection: whole transactions, one call each."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchError
from orchestrator.journal.errors import (
    BadData,
    Conflict,
    Damaged,
    NoSuchRun,
    RunEnded,
    UnknownBlob,
    UnknownDriver,
)
from orchestrator.journal.records import GENESIS, Record, Row, decode_all, pack_blob, unpack_blob
from orchestrator.journal.store import RUN_COLUMNS, Claimed, Driver, Fact, InboxRow, Owner, RunFilter, RunRow, Slice
from orchestrator.jsonish import digest
from orchestrator.stores.claims import claimed, plan_claim
from orchestrator.stores.rows import (
    advanced,
    bound,
    check_ends,
    created,
    fact_values,
    inbox_row,
    inbox_values,
    owner_row,
    run_row,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.clock import Clock
    from orchestrator.journal.store import Batch
    from orchestrator.stores.connection import Connection
    from orchestrator.stores.statements import Statements

SETTLED_AT_ONCE = 100
"""Pairs in one settling SELECT: far below SQLite's limit of 1,000 on the depth of an expression."""

MAX_SEQ = 2**63 - 1


class _Awake(OrchError):
    """Something waits in the inbox: roll back, and do not park."""

    def __init__(self) -> None:
        super().__init__("the inbox is not empty")


class SqliteWork:
    """The work of a store on one connection. Not thread-safe: each object belongs to one lane."""

    def __init__(self, db: Connection, sql: Statements, clock: Clock) -> None:
        self.db = db
        self._sql = sql
        self._clock = clock

    # --- blobs ---

    def put_blobs(self, contents: Sequence[bytes]) -> list[str]:
        with self.db.transaction():
            return [self._put_blob(content) for content in contents]

    def _put_blob(self, content: bytes) -> str:
        now, name = self._clock.now(), digest(content)
        if not self.db.execute(self._sql.touch_blob, (now, name)).rowcount:
            for part in pack_blob(content):
                self.db.execute(self._sql.insert_blob, (*part, now))
        return name

    def get_blob(self, name: str) -> bytes:
        parts = [body for (body,) in self.db.all(self._sql.blob, (name,))]
        if not parts:
            raise UnknownBlob(name)
        try:
            return unpack_blob(name, parts)
        except ValueError as error:
            raise UnknownBlob(name, problem="is damaged") from error

    def touch(self, names: Sequence[str]) -> None:
        with self.db.transaction():
            for name in names:
                self.db.execute(self._sql.touch_blob, (self._clock.now(), name))

    # --- commits ---

    def commit(self, batch: Batch) -> None:
        with self.db.transaction(points=True):
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
            for row in piece.waiting:
                self._execute(piece.run_id, self._sql.insert_inbox, inbox_values(row))
            return
        changes = advanced(piece)
        values = [bound(name, value) for name, value in changes.items()]
        values += (piece.run_id, piece.base_head, piece.epoch)
        if self._execute(piece.run_id, self._sql.advance(tuple(changes)), values).rowcount != 1:
            raise Conflict(piece.run_id)

    def _execute(self, run_id: str | None, statement: str, values: Sequence[Any]) -> sqlite3.Cursor:
        """One statement of a batch; what the database says of its values, said of their run."""
        try:
            return self.db.execute(statement, values)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode in (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE):
                raise Conflict(run_id) from error
            raise BadData(run_id, problem=str(error)) from error
        except (sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError) as error:
            raise BadData(run_id, problem=str(error)) from error
        except (OverflowError, UnicodeEncodeError) as error:
            raise BadData(run_id, problem=str(error)) from error

    def _deliver(self, row: InboxRow) -> None:
        """Put a row into another run's inbox, unless that run has ended or has the row already."""
        if not self.db.execute(self._sql.wake, (self._clock.now(), row.run_id)).rowcount:
            return
        if self.db.one(self._sql.inbox_row, (row.run_id, row.request_id)) is None:
            self._execute(row.run_id, self._sql.insert_inbox, inbox_values(row))

    def settle(self, firsts: Sequence[tuple[str, int]]) -> dict[str, str | None]:
        found: dict[str, str | None] = dict.fromkeys(run_id for run_id, _ in firsts)
        for start in range(0, len(firsts), SETTLED_AT_ONCE):
            some = firsts[start : start + SETTLED_AT_ONCE]
            found.update(self.db.all(self._sql.settle(len(some)), [value for pair in some for value in pair]))
        return found

    def park(self, piece: Slice) -> bool:
        try:
            with self.db.transaction(points=True):
                if self._is_parked(piece):
                    return True
                self._apply((piece,))
                if self.pending(piece.run_id):
                    raise _Awake
        except _Awake:
            return False
        return True

    def _is_parked(self, piece: Slice) -> bool:
        """True where nobody holds the run at this head. Raises ``Conflict`` where it is elsewhere, or not there."""
        found = self.db.one(self._sql.lock_run, (self._clock.now(), piece.run_id))
        run = None if found is None else run_row(found)
        if run is None or (run.head, run.epoch) != (piece.base_head, piece.epoch):
            raise Conflict(piece.run_id)
        return run.owner is None

    # --- drivers and claims ---

    def register_driver(self, driver: Driver, lease_seconds: float) -> None:
        now, lease = self._clock.now(), int(lease_seconds * 1_000_000)
        with self.db.transaction():
            if not self.db.execute(self._sql.renew, (now, lease, now, driver.owner)).rowcount:
                values = (driver.owner, driver.host, driver.boot_id, driver.pid_ns, driver.pid, driver.started)
                self.db.execute(self._sql.insert_driver, (*values, now, lease, now))

    def renew(self, owner: str, lease_seconds: float) -> None:
        now, lease = self._clock.now(), int(lease_seconds * 1_000_000)
        if not self.db.execute(self._sql.renew, (now, lease, now, owner)).rowcount:
            raise UnknownDriver(owner)

    def release(self, owner: str) -> None:
        with self.db.transaction():
            self.db.execute(self._sql.disown, (owner,))
            self.db.execute(self._sql.delete_driver, (owner,))

    def owner(self, owner: str | None) -> Owner | None:
        found = None if owner is None else self.db.one(self._sql.driver, (owner,))
        return None if found is None else owner_row(found)

    def claim(
        self, run_id: str, me: Driver, nonce: str, looked: list[RunRow], *, force: bool, explicit: bool
    ) -> Claimed:
        """``looked`` keeps the run as it was first seen, over all tries."""
        with self.db.transaction(points=True):
            run = self._run(run_id, self._sql.lock_run)
            if run.owner == me.owner and (made := self.db.one(self._sql.row_of, (run_id, nonce))):
                return claimed(run, Row(*made), None)
            looked.append(run)
            held_by = self.owner(run.owner)
            plan = plan_claim(
                run, me, held_by, self._clock.now(), nonce, force=force, explicit=explicit, seen=looked[0]
            )
            values = [bound(name, value) for name, value in plan.changes.items()]
            self.db.execute(self._sql.advance(tuple(plan.changes)), (*values, run_id, run.head, run.epoch))
            self.db.execute(self._sql.insert_rows(1), plan.row)
            taken = self._run(run_id, self._sql.run)
        if plan.refused is not None:
            raise plan.refused
        return claimed(taken, plan.row, held_by)

    # --- reading ---

    def load(self, run_id: str, from_seq: int, upto: int | None, *, verify: bool) -> list[Record]:
        with self.db.snapshot():
            run = self.get_run(run_id)
            last = run.head if upto is None else upto
            rows = self.db.all(self._sql.journal, (run_id, from_seq, last))
            prev = self._sum_before(run_id, from_seq)
            if verify:
                check_ends(run, rows, from_seq, last)
            return decode_all(run_id, rows, self.get_blob, prev=prev, verify=verify)

    def _sum_before(self, run_id: str, seq: int) -> str:
        if seq <= 1:
            return GENESIS
        found = self.db.one(self._sql.sum_at, (run_id, seq - 1))
        if found is None:
            raise Damaged(run_id, seq=seq - 1, problem="the row is missing")
        return found[0]

    def rows(self, run_id: str, from_seq: int) -> list[Row]:
        with self.db.snapshot():
            self.get_run(run_id)
            return [Row(*row) for row in self.db.all(self._sql.journal, (run_id, from_seq, MAX_SEQ))]

    def get_run(self, run_id: str) -> RunRow:
        return self._run(run_id, self._sql.run)

    def _run(self, run_id: str, statement: str) -> RunRow:
        found = self.db.one(statement, (self._clock.now(), run_id))
        if found is None:
            raise NoSuchRun(run_id)
        return run_row(found)

    def find_runs(self, prefix: str, limit: int) -> list[RunRow]:
        found = self.db.all(self._sql.find_runs, (self._clock.now(), prefix, prefix + "\U0010ffff", limit))
        return [run_row(values) for values in found]

    def list_runs(self, chosen: RunFilter) -> list[RunRow]:
        out: list[RunRow] = []
        statement, values = self._sql.list_runs(chosen)
        for found in self.db.each(statement, [self._clock.now(), *values]):
            if len(out) >= chosen.limit:
                break
            run = run_row(found)
            if chosen.labels.items() <= run.labels.items():
                out.append(run)
        return out

    def due(self, limit: int) -> list[str]:
        now = self._clock.now()
        return [run_id for (run_id,) in self.db.all(self._sql.due, (now, now, now, limit))]

    # --- memory ---

    def remember(self, fact: Fact) -> None:
        self._execute(None, f"{self._sql.insert_fact} {self._sql.dialect.upsert_fact}", fact_values(fact))

    def facts(self, scope: str, after: str, limit: int) -> list[Fact]:
        return [Fact(*values) for values in self.db.all(self._sql.facts, (scope, after, limit))]

    # --- inbox ---

    def send(self, row: InboxRow) -> InboxRow:
        with self.db.transaction(points=True):
            run = self._run(row.run_id, self._sql.lock_run)
            if run.ended:
                raise RunEnded(row.run_id, status=run.status)
            there = self.db.one(self._sql.inbox_row, (row.run_id, row.request_id))
            winner = row if there is None else inbox_row(there)
            if there is None:
                self._execute(row.run_id, self._sql.insert_inbox, inbox_values(row))
            if winner.consumed_seq is None:
                self.db.execute(self._sql.wake, (self._clock.now(), row.run_id))
            return winner

    def pending(self, run_id: str) -> list[InboxRow]:
        return [inbox_row(values) for values in self.db.all(self._sql.pending, (run_id,))]

    def pending_for(self, owner: str) -> list[InboxRow]:
        return [inbox_row(values) for values in self.db.all(self._sql.pending_for, (owner,))]
