"""Runs in PostgreSQL, over asyncpg.

asyncpg sends one statement at a time and waits for its end, so what costs is the number of statements: a batch of
slices is a single one, rows and fence together, which is its own transaction.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg

from orchestrator.ids import digest_text
from orchestrator.journal import points as crash
from orchestrator.journal.errors import (
    BadData,
    Conflict,
    SchemaIncomplete,
    StoreDamaged,
    StoreFailed,
    StoreFull,
    StoreNotWritable,
    StoreRefused,
    StoreUnavailable,
    TablesNotAllowed,
    Unknown,
)
from orchestrator.journal.records import Row
from orchestrator.journal.store import PROJECTED
from orchestrator.stores import server_schema as schema
from orchestrator.stores.migrations import LATEST, all_migrations
from orchestrator.stores.pool import Alarm, Busy, Lost
from orchestrator.stores.server import ServerStore, changed
from orchestrator.stores.server_base import PATIENCE
from orchestrator.stores.statements import POSTGRES, Statements

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from orchestrator.clock import Clock
    from orchestrator.journal.store import Slice
    from orchestrator.stores.server_urls import ServerUrl

OPTIONAL = (*PROJECTED, "claims", "owner")
"""Columns of a run that only some slices set."""

_TYPES = {"status": "text", "reason": "text", "owner": "text", "labels": "bytea", "error": "bytea"}
_ROW_TYPES = ("text", "bigint", "bigint", "text", "text", "text", "bytea", "text", "bigint", "text")
LOCKED_SECONDS = 8
"""For how long a boot waits for another one that makes the tables."""

ROWS_AT_ONCE = 1_000
"""Rows in one INSERT: a whole run that is imported is more than a statement has time for."""

FEW = 4
"""So many rows of one slice, or fewer, have a statement of their own."""

CONNECT_AGAIN_SECONDS = 0.1
_ERRORS = (
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, ValueError, OverflowError,
)  # fmt: skip


class PostgresStore(ServerStore):
    """A ``Store`` in one schema of a PostgreSQL database: the first of the role's search path."""

    def __init__(self, url: ServerUrl, *, clock: Clock | None = None, table_prefix: str = "") -> None:
        super().__init__(url, Statements(POSTGRES, table_prefix), clock=clock)
        self._batch = _Batches(self._sql)

    async def _connect(self, *, patient: bool = False) -> PostgresSession:
        return await connect(replace(self._url, timeout=PATIENCE) if patient else self._url)

    async def _commit_plain(self, session: PostgresSession, pieces: Sequence[Slice]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        crash.at("before_begin")
        crash.at("after_begin")
        statement, values, kept = self._batch.of(pieces)
        crash.at("before_commit")
        try:
            met = await session.run(statement, values)
        except Lost as error:
            raise Unknown(self.name) from error
        crash.at("after_commit")
        if met != kept:
            raise Conflict(pieces[0].run_id)

    async def _advance(self, session: PostgresSession, pieces: Sequence[Slice]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for piece, changes in zip(pieces, changed(pieces), strict=True):
            values = (*changes.values(), piece.run_id, piece.base_head, piece.epoch)
            if await session.run(self._sql.advance(tuple(changes)), values) != 1:
                raise Conflict(piece.run_id)

    async def _insert_rows(self, session: PostgresSession, rows: Sequence[Row]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for start in range(0, len(rows), ROWS_AT_ONCE):
            await session.run(self._batch.insert, _columns(rows[start : start + ROWS_AT_ONCE]))

    async def _provision(self, session: PostgresSession, *, upgrade: bool) -> list[int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One transaction for all; whoever comes at the same time waits, and finds it done."""
        sql = self._sql
        await session.begin()
        try:
            await session.run(f"SET LOCAL lock_timeout = '{LOCKED_SECONDS}s'")
            key = int(digest_text(f"orch {sql.prefix}")[:15], 16)
            await session.all("SELECT pg_advisory_xact_lock(?)::text", (key,))
            found = await schema.version(session, sql)
            if found >= (LATEST if upgrade else 1):
                await session.roll_back()
                return []
            there = await schema.columns(session, sql)
            if there and not found:
                raise SchemaIncomplete(self.name, missing=schema.lacking(there, sql) or ["its version"])
            missing = all_migrations()[found:]
            for migration in missing:
                for statement in sql.render(migration.template, idempotent=True):
                    await session.run(statement)
                now = (await session.all(f"SELECT {POSTGRES.now}", (self._now(),)))[0][0]
                await session.run(sql.insert_version, (migration.version, migration.checksum, now))
            await session.commit()
        except StoreNotWritable as error:
            session.abandon()
            raise TablesNotAllowed(self.name, reason=error.reason) from error
        except BaseException:
            session.abandon()
            raise
        return [migration.version for migration in missing]

    async def _problems(self, session: PostgresSession) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        names = ("synchronous_commit", "fsync", "full_page_writes", "server_encoding", "server_version_num")
        found = dict(await session.all("SELECT name, setting FROM pg_settings WHERE name = ANY(?::text[])", (names,)))
        out = [
            f"{name} is off: a commit that returned may be lost"
            for name in ("synchronous_commit", "fsync", "full_page_writes")
            if found[name] == "off"
        ]
        if found["server_encoding"] != "UTF8":
            out.append(f"the encoding of the database is {found['server_encoding']}, not UTF8")
        if int(found["server_version_num"]) < 120000:
            out.append("PostgreSQL 12 or later is needed")
        if (await session.all("SELECT pg_is_in_recovery()"))[0][0]:
            out.append("the server is a standby: it cannot be written")
        return out


class _Batches:
    """The statement of a batch: every row of ``runs`` that moves on and every row of ``journal``, or none of them."""

    def __init__(self, sql: Statements) -> None:
        p = sql.prefix
        names = ", ".join('"blob"' if name == "blob" else name for name in Row._fields)
        self._sql = sql
        self._into = f"INSERT INTO {p}journal ({names})"
        self.insert = f"{self._into} SELECT * FROM {_unnested(_ROW_TYPES)}"  # noqa: S608  the names are ours
        self._one: dict[tuple[int, tuple[str, ...]], str] = {}
        always = [("run_id", "text"), ("base", "bigint"), ("base_epoch", "bigint"), ("mask", "bigint")]
        always += [("head", "bigint"), ("head_sum", "text"), ("updated_at", "bigint")]
        some = [(name, _TYPES.get(name, "bigint")) for name in OPTIONAL]
        settings = ["head = v.head", "head_sum = v.head_sum", "updated_at = v.updated_at"]
        settings += [
            f"{name} = CASE WHEN v.mask & {1 << n} <> 0 THEN v.{name} ELSE r.{name} END"
            for n, name in enumerate(OPTIONAL)
        ]
        columns = [*always, *some]
        self._many = (
            f"WITH v AS MATERIALIZED (SELECT * FROM {_unnested([kind for _, kind in columns])} "  # noqa: S608  the names are ours
            f"AS v({', '.join(name for name, _ in columns)})), "
            f"locked AS MATERIALIZED (SELECT r.run_id FROM {p}runs r JOIN v ON r.run_id = v.run_id "
            "WHERE r.head = v.base AND r.epoch = v.base_epoch ORDER BY r.run_id FOR UPDATE OF r), "
            f"kept AS ({self.insert} WHERE (SELECT count(*) FROM locked) = ?) "
            f"UPDATE {p}runs r SET {', '.join(settings)} FROM v "
            "WHERE r.run_id = v.run_id AND (SELECT count(*) FROM locked) = ?"
        )

    def of(self, pieces: Sequence[Slice]) -> tuple[str, list[Any], int]:
        """The statement, its values, and how many rows it says it met where all was kept."""
        every = changed(pieces)
        if len(pieces) == 1:
            return self._of_one(pieces[0], every[0])
        rows = [row for piece in pieces for row in piece.rows]
        values: list[Any] = [
            [piece.run_id for piece in pieces],
            [piece.base_head for piece in pieces],
            [piece.epoch for piece in pieces],
            [sum(1 << n for n, name in enumerate(OPTIONAL) if name in changes) for changes in every],
            *([changes[name] for changes in every] for name in ("head", "head_sum", "updated_at")),
            *([changes.get(name) for changes in every] for name in OPTIONAL),
        ]
        return self._many, [*values, *_columns(rows), len(pieces), len(pieces)], len(pieces)

    def _of_one(self, piece: Slice, changes: dict[str, Any]) -> tuple[str, list[Any], int]:
        """A few rows come value by value, which takes the server, and asyncpg, less than columns do."""
        names, rows = tuple(changes), piece.rows
        values = [*changes.values(), piece.run_id, piece.base_head, piece.epoch]
        if 0 < len(rows) <= FEW:
            for row in rows:
                values += row[1:]
        elif rows:
            values += _columns(rows)
        shape = (min(len(rows), FEW + 1), names)
        text = self._one.get(shape)
        if text is None:
            text = self._one[shape] = self._text_of_one(*shape)
        return text, values, len(rows) or 1

    def _text_of_one(self, rows: int, names: tuple[str, ...]) -> str:
        moved = self._sql.advance(names)
        if not rows:
            return moved
        if rows > FEW:
            return f"WITH moved AS ({moved} RETURNING 1) {self.insert} WHERE EXISTS (SELECT 1 FROM moved)"  # noqa: S608  the names are ours
        line = ", ".join(f"?::{kind}" for kind in _ROW_TYPES[1:])
        lines = ", ".join([f"({line})"] * rows)
        return (
            f"WITH moved AS ({moved} RETURNING run_id) "  # noqa: S608  the names are ours
            f"{self._into} SELECT moved.run_id, v.* FROM moved, (VALUES {lines}) AS v"
        )


def _unnested(types: Sequence[str]) -> str:
    return f"unnest({', '.join(f'?::{kind}[]' for kind in types)})"


def _columns(rows: Sequence[Row]) -> list[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [[] for _ in _ROW_TYPES]


# --- connections --------------------------------------------------------------------------------------------------


async def connect(url: ServerUrl) -> PostgresSession:
    """A connection. One that is refused since the server is starting, or full, is tried again while there is time."""
    deadline = asyncio.get_running_loop().time() + url.connect_timeout
    while True:
        left = deadline - asyncio.get_running_loop().time()
        try:
            return PostgresSession(url, await asyncio.wait_for(_connected(url, left), left))
        except (asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError) as error:
            if left <= 2 * CONNECT_AGAIN_SECONDS:
                raise StoreUnavailable(url.shown, reason=_text(error)) from error
            await asyncio.sleep(CONNECT_AGAIN_SECONDS)
        except TimeoutError as error:
            reason = f"{url.host}:{url.port} did not answer within {url.connect_timeout:g} s"
            raise StoreUnavailable(url.shown, reason=reason) from error
        except _ERRORS as error:
            # asyncpg says it in words alone.
            if isinstance(error, ConnectionError) and "SSL upgrade" in str(error):
                raise StoreRefused(url.shown, reason="the server offers no TLS, and the URL asks for it") from error
            raise _meaning(error, url) from error


async def _connected(url: ServerUrl, seconds: float) -> asyncpg.Connection:
    ms = int(url.timeout * 1000)
    settings = {
        "application_name": "orch",
        "statement_timeout": str(ms),
        "lock_timeout": "2000",
        "idle_in_transaction_session_timeout": "5000",
        "default_transaction_isolation": "read committed",
        "jit": "off",
    }
    context = url.tls_context()  # under prefer, too: a file that cannot be used is said
    tls: Any = url.tls if url.tls in ("disable", "prefer") else context
    return await asyncpg.connect(
        host=url.host,
        port=url.port,
        user=url.user,
        password=url.password,
        database=url.database,
        ssl=tls,
        timeout=seconds,  # pyright: ignore[reportArgumentType] - a float is what it takes
        statement_cache_size=0 if url.pooler else 200,
        max_cached_statement_lifetime=0,
        server_settings=None if url.pooler else settings,
    )


class PostgresSession:
    """One connection. A statement that takes longer than its time loses it."""

    def __init__(self, url: ServerUrl, raw: asyncpg.Connection) -> None:
        self._url = url
        self._raw = raw
        self._busy = False
        self._texts: dict[str, str] = {}
        # A little later than the server's own limit, which leaves the connection whole.
        self._alarm = Alarm(url.timeout * 1.2 + 0.2, self.abandon)

    @property
    def broken(self) -> bool:
        return self._busy or self._raw.is_closed()

    @property
    def whole(self) -> bool:
        return not self.broken and not self._raw.is_in_transaction()

    async def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        status: str = await self._ask(self._raw.execute, self._numbered(statement), *values)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return await self._ask(self._raw.fetch, self._numbered(statement), *values)

    async def begin(self) -> None:
        await self._ask(self._raw.execute, "BEGIN ISOLATION LEVEL READ COMMITTED")
        if self._url.pooler:
            ms = int(self._url.timeout * 1000)
            await self._ask(self._raw.execute, f"SET LOCAL lock_timeout = 2000; SET LOCAL statement_timeout = {ms}")

    async def commit(self) -> None:
        try:
            status = await self._ask(self._raw.execute, "COMMIT")
        except (Lost, StoreFailed) as error:
            self.abandon()
            raise Unknown(self._url.shown) from error
        if status != "COMMIT":
            raise StoreFailed(self._url.shown, reason=f"COMMIT ended with {status}")

    async def roll_back(self) -> None:
        await self._ask(self._raw.execute, "ROLLBACK")

    async def aclose(self) -> None:
        self._alarm.cancel()
        if not self._raw.is_closed():
            await self._raw.close(timeout=1)

    def abandon(self) -> None:
        self._alarm.cancel()
        if not self._raw.is_closed():
            self._raw.terminate()

    async def _ask(self, how: Callable[..., Awaitable[Any]], *what: Any) -> Any:
        """One exchange. Interrupted, it leaves the session broken."""
        self._busy = True
        self._alarm.begin()
        try:
            answer = await how(*what)
        except _ERRORS as error:
            self._busy = False
            raise _meaning(error, self._url) from error
        finally:
            self._alarm.end()
        self._busy = False
        return answer

    def _numbered(self, statement: str) -> str:
        """``?`` as PostgreSQL writes it."""
        if (text := self._texts.get(statement)) is None:
            first, *others = statement.split("?")
            text = first + "".join(f"${n}{part}" for n, part in enumerate(others, 1))
            self._texts[statement] = text
        return text


def _meaning(error: Exception, url: ServerUrl) -> Exception:
    """What an error means for its user."""
    shown, reason = url.shown, _text(error)
    match error:
        case asyncpg.UniqueViolationError():
            return Conflict(None)
        case asyncpg.InvalidAuthorizationSpecificationError() | asyncpg.InvalidCatalogNameError():
            return StoreRefused(shown, reason=reason)
        case asyncpg.UndefinedTableError() | asyncpg.UndefinedColumnError():
            return SchemaIncomplete(shown, missing=[reason])
        case asyncpg.InsufficientPrivilegeError() | asyncpg.ReadOnlySQLTransactionError():
            return StoreNotWritable(shown, reason=reason)
        case asyncpg.DiskFullError():
            return StoreFull(shown)
        case asyncpg.DataCorruptedError() | asyncpg.IndexCorruptedError():
            return StoreDamaged(shown, reason=reason)
        case asyncpg.DataError() | asyncpg.IntegrityConstraintViolationError() | asyncpg.ProgramLimitExceededError():
            return BadData(None, problem=reason)
        case (
            asyncpg.PostgresConnectionError()
            | asyncpg.AdminShutdownError()
            | asyncpg.CrashShutdownError()
            | asyncpg.IdleInTransactionSessionTimeoutError()
        ):
            return Lost(shown, reason=reason)
        case asyncpg.TransactionRollbackError() | asyncpg.LockNotAvailableError():
            return Busy(shown, reason=reason)
        case (
            asyncpg.QueryCanceledError() | asyncpg.InsufficientResourcesError() | asyncpg.CannotConnectNowError()
        ):  # fmt: skip
            return StoreUnavailable(shown, reason=reason)
        case asyncpg.PostgresError():
            return StoreFailed(shown, reason=reason)
        case asyncpg.ClientConfigurationError() | ssl.SSLCertVerificationError():
            return StoreRefused(shown, reason=reason)
        case OSError() | asyncpg.InterfaceError() | asyncpg.InternalClientError() if not isinstance(error, ValueError):
            return Lost(shown, reason=reason)
        case _:
            return BadData(None, problem=reason)


def _text(error: Exception) -> str:
    """The first line of what the driver says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
