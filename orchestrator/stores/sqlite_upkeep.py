"""What goes from an SQLite store, in the thread of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.stores.rows import run_row
from orchestrator.stores.upkeep import NAMES_AT_ONCE, Marks, is_ended, is_over

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.clock import Clock
    from orchestrator.stores.connection import Connection
    from orchestrator.stores.sqlite_work import SqliteWork
    from orchestrator.stores.statements import Statements

MAX_SEQ = 2**63 - 1


class SqliteUpkeep:
    """Not thread-safe: each object belongs to one lane."""

    def __init__(self, db: Connection, sql: Statements, clock: Clock) -> None:
        self._db = db
        self._sql = sql
        self._clock = clock

    def delete_run(self, run_id: str, ended_before: int) -> bool:
        """Take a run away whole; False where it may not go."""
        with self._db.transaction():
            found = self._db.one(self._sql.lock_run, (self._clock.now(), run_id))
            run = None if found is None else run_row(found)
            if run is None or not is_over(run, ended_before):
                return False
            root = self._db.one(self._sql.status, (run.root_id,))
            if not is_ended(None if root is None else root[0]):
                return False
            self._db.execute(self._sql.delete_rows, (run_id, 1, MAX_SEQ))
            self._db.execute(self._sql.delete_inbox, (run_id,))
            self._db.execute(self._sql.delete_run, (run_id,))
            return True

    def forget_drivers(self, age: int) -> int:
        """Take away drivers whose lease has been over for ``age`` microseconds and that hold no run."""
        return self._db.execute(self._sql.forget_drivers, (self._clock.now(), age)).rowcount

    def old_blobs(self, age: int) -> dict[str, int]:
        """Blobs that nobody has touched for ``age`` microseconds, with the bytes that they take."""
        return dict(self._db.all(self._sql.old_blobs, (self._clock.now(), age)))

    def unnamed(self, candidates: Collection[str], without: Collection[str], blobs: SqliteWork) -> set[str]:
        """Those of ``candidates`` that nothing names, at one instant."""
        marks = Marks(candidates, without)
        with self._db.snapshot():
            for run_id, _, body, blob in self._db.each(self._sql.bodies, ("", "", 0, -1)):
                marks.see(run_id, body, blob)
            for run_id, _, body in self._db.each(self._sql.mail, ("", "", "", -1)):
                marks.see(run_id, body)
            for name in marks.contents:
                marks.read(blobs.get_blob(name))
        return marks.unnamed

    def delete_blobs(self, names: Sequence[str], age: int) -> set[str]:
        """Take blobs away that nobody has touched since; the names of those that went."""
        gone: set[str] = set()
        for start in range(0, len(names), NAMES_AT_ONCE):
            some = names[start : start + NAMES_AT_ONCE]
            with self._db.transaction():
                self._db.execute(self._sql.delete_blobs(len(some)), (self._clock.now(), age, *some))
                gone |= set(some) - self.held(some)
        return gone

    def held(self, names: Sequence[str]) -> set[str]:
        """Those of these names under which a blob is there."""
        found: set[str] = set()
        for start in range(0, len(names), NAMES_AT_ONCE):
            some = names[start : start + NAMES_AT_ONCE]
            found |= {name for (name,) in self._db.all(self._sql.held_blobs(len(some)), some)}
        return found
