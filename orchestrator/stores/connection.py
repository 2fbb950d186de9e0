"""One SQLite connection: how it is opened, how its transactions begin and end, and what its errors mean."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from orchestrator.journal import points as crash
from orchestrator.journal.errors import (
    NoDatabase,
    NotADatabase,
    SchemaIncomplete,
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreLocked,
    StoreNotWritable,
    StoreUnavailable,
    Unknown,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from orchestrator.stores.urls import SqliteUrl

OLDEST = (3, 38, 0)
_PRIMARY = 0xFF
_WAL_TRIES_APART = 0.01
_IMPATIENT = 0.2
"""Seconds to wait for a lock that was waited for in vain before."""


class Connection:
    """A connection that opens when it is first needed, and again after it was thrown away.

    Errors of the database leave ``execute`` as they are where a caller has to tell them apart (constraints, values),
    and as a ``StoreError`` where they mean that the store cannot be used.
    """

    def __init__(self, url: SqliteUrl, *, busy_timeout: float, writes: bool) -> None:
        self._url = url
        self._busy_timeout = busy_timeout
        self._writes = writes and not url.read_only
        self._raw: sqlite3.Connection | None = None
        self._waits = busy_timeout
        self._in_vain = False

    @property
    def shown(self) -> str:
        """What to call the store in messages."""
        return self._url.shown

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection of the standard library, opened again where it was thrown away."""
        if self._raw is None:
            self.open(create=False)
        assert self._raw is not None
        return self._raw

    @property
    def is_open(self) -> bool:
        """False before it is first needed, and after it was thrown away."""
        return self._raw is not None

    @property
    def in_transaction(self) -> bool:
        """True while a transaction is open."""
        return self._raw is not None and self._raw.in_transaction

    def open(self, *, create: bool) -> None:
        """Connect. With ``create`` the folder and the file are made where they are missing."""
        if self._raw is not None:
            return
        if sqlite3.sqlite_version_info < OLDEST:
            raise StoreFailed(self._url.shown, reason=f"SQLite {sqlite3.sqlite_version} is too old (3.38 is needed)")
        create = create and self._writes and self._url.mode == "rwc"
        path = self._url.path
        try:
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            elif not path.exists():
                raise NoDatabase(self._url.shown)
        except OSError as error:
            raise StoreNotWritable(self._url.shown, reason=error.strerror or str(error)) from error
        mode = "ro" if self._url.read_only else "rwc" if create else "rw"
        try:
            raw = sqlite3.connect(
                f"file://{quote(str(path.absolute()))}?mode={mode}",  # a path may begin with //
                uri=True,
                timeout=self._busy_timeout,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
        except sqlite3.Error as error:
            raise self._meaning(error) from error
        try:
            self._configure(raw)
        except sqlite3.Error as error:
            raw.close()
            raise self._meaning(error) from error
        self._raw = raw
        self._waits = self._busy_timeout

    def _configure(self, raw: sqlite3.Connection) -> None:
        if self._writes:
            if raw.execute("PRAGMA page_count").fetchone() == (0,):
                # Before WAL: afterwards it is silently ignored. Where there are pages it does nothing but ask for the
                # lock, which would have those wait who only want to read.
                raw.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._enter_wal(raw)
            raw.execute("PRAGMA synchronous = FULL")
        else:
            raw.execute("PRAGMA query_only = ON")
            raw.execute("PRAGMA schema_version").fetchone()

    def _enter_wal(self, raw: sqlite3.Connection) -> None:
        """Change to WAL, which asks for the lock at once and does not wait for it by itself."""
        deadline = time.monotonic() + self._busy_timeout
        while True:
            try:
                raw.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & _PRIMARY in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL)
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(_WAL_TRIES_APART)
            else:
                return

    def close(self) -> None:
        """Close, rolling back what is open. Safe to call twice."""
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """One statement that changes something."""
        try:
            return self.raw.execute(statement, values)
        except sqlite3.DatabaseError as error:
            raise self._told(error) from error

    def script(self, text: str) -> None:
        """Statements that are carried on to their end, however many steps they take, outside a transaction."""
        try:
            self.raw.executescript(text)
        except sqlite3.DatabaseError as error:
            raise self._told(error) from error

    def all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""
        try:
            return self.raw.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._told(error) from error

    def one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The first row of a query, or None."""
        found = self.all(statement, values)
        return found[0] if found else None

    def each(self, statement: str, values: Sequence[Any] = ()) -> Generator[Any]:
        """The rows of a query, one by one."""
        try:
            yield from self.raw.execute(statement, values)
        except sqlite3.DatabaseError as error:
            raise self._told(error) from error

    def _told(self, error: sqlite3.DatabaseError) -> Exception:
        """What to raise: the error itself where it tells of values, its meaning where it tells of the store."""
        if isinstance(error, (sqlite3.OperationalError, sqlite3.InternalError)) or type(error) is sqlite3.DatabaseError:
            return self._meaning(error)
        return error

    @contextmanager
    def transaction(self, *, points: bool = False) -> Generator[None]:
        """BEGIN IMMEDIATE to COMMIT; whatever is raised in between rolls back. ``points`` are for the crash suite.

        Raises ``Unknown`` where the end of COMMIT is not known.
        """
        at = crash.at if points else _nowhere
        at("before_begin")
        try:
            self.execute("BEGIN IMMEDIATE")
        except StoreLocked:
            self._in_vain = self._in_vain or self._waits > 0
            raise
        self._in_vain = False
        at("after_begin")
        try:
            yield
        except BaseException as error:
            self._roll_back(error)
            raise
        at("before_commit")
        try:
            self.raw.execute("COMMIT")
        except sqlite3.Error as error:
            unknown = error.sqlite_errorcode & _PRIMARY == sqlite3.SQLITE_IOERR
            self._roll_back(error)
            if unknown:
                self.close()
                raise Unknown(self._url.shown) from error
            raise self._meaning(error) from error
        at("after_commit")

    def wait_for_locks(self, *, wait: bool) -> None:
        """Have what follows wait for the lock of another program, or not at all.

        Where it was waited for in vain, what is done on the way out, as giving back a lease, does not wait for it all
        over again.
        """
        seconds = 0.0 if not wait else min(self._busy_timeout, _IMPATIENT) if self._in_vain else self._busy_timeout
        if self._raw is not None and self._waits != seconds:
            self._waits = seconds
            self.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """All reads inside see the same state."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            self._roll_back(None)

    def _roll_back(self, cause: BaseException | None) -> None:
        """Roll back; a connection that cannot is thrown away, and the cause stays what it was."""
        try:
            if self.in_transaction:
                self.raw.execute("ROLLBACK")
        except sqlite3.Error as error:
            if cause is not None:
                cause.add_note(f"and the rollback failed: {error}")
            self.close()

    def _meaning(self, error: sqlite3.Error) -> StoreError:
        """What an error of the database means for its user."""
        shown, reason = self._url.shown, str(error)
        match getattr(error, "sqlite_errorcode", 0) & _PRIMARY:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return StoreLocked(shown, seconds=self._busy_timeout)
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
                return StoreNotWritable(shown, reason=reason)
            case sqlite3.SQLITE_FULL:
                return StoreFull(shown)
            case sqlite3.SQLITE_NOTADB:
                return NotADatabase(shown)
            case sqlite3.SQLITE_CORRUPT:
                return StoreDamaged(shown, reason=reason)
            case sqlite3.SQLITE_PROTOCOL | sqlite3.SQLITE_NOMEM | sqlite3.SQLITE_INTERRUPT:
                return StoreUnavailable(shown, reason=reason)
            case sqlite3.SQLITE_ERROR if reason.startswith(("no such table: ", "no such column: ")):
                return SchemaIncomplete(shown, missing=[reason.removeprefix("no such ").replace(": ", " ")])
            case _:
                return StoreFailed(shown, reason=reason)


def _nowhere(name: str) -> None:
    """Not a point."""
