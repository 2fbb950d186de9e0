"""Runs in MariaDB or MySQL, over aiomysql.

A batch is one exchange: ``BEGIN``, the fence, the rows and ``COMMIT``. The server stops at the first statement of an
exchange that fails, and the rows cannot be inserted where the fence did not let them through. On MariaDB a few rows of
one run are a prepared block of these statements: they are read once, and answered once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.ids import digest_text
from orchestrator.journal import points as crash
from orchestrator.journal.errors import (
    BadData,
    Conflict,
    SchemaIncomplete,
    StoreNotWritable,
    StoreUnavailable,
    TablesNotAllowed,
)
from orchestrator.journal.store import PROJECTED
from orchestrator.stores import server_schema as schema
from orchestrator.stores.migrations import LATEST, all_migrations
from orchestrator.stores.mysql_values import execution, literal
from orchestrator.stores.mysql_wire import NO_VALUE, MysqlSession, connect
from orchestrator.stores.server import ServerStore, changed
from orchestrator.stores.server_base import PATIENCE
from orchestrator.stores.statements import MARIADB, MYSQL, Statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.clock import Clock
    from orchestrator.journal.records import Row
    from orchestrator.journal.store import Slice
    from orchestrator.stores.server_urls import ServerUrl

OPTIONAL = (*PROJECTED, "claims", "owner")
"""Columns of a run that only some slices set."""

LOCKED_SECONDS = 8
"""For how long a boot waits for another one that makes the tables."""

FEW = 4
"""So many rows of one slice, or fewer, are a block."""

ROOM = 4096
"""Bytes of a packet that are not for rows."""

SMALLEST_PACKET = 4 * 1024 * 1024
OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0)}


class MysqlStore(ServerStore):
    """A ``Store`` in one database of a MariaDB or MySQL server."""

    def __init__(self, url: ServerUrl, *, clock: Clock | None = None, table_prefix: str = "") -> None:
        super().__init__(url, Statements(MYSQL if url.backend == "MySQL" else MARIADB, table_prefix), clock=clock)
        self._blocks: dict[tuple[int, tuple[str, ...]], str] = {}

    async def _connect(self, *, patient: bool = False) -> MysqlSession:
        session = await connect(replace(self._url, timeout=PATIENCE) if patient else self._url)
        if session.mariadb != (self._sql.dialect is MARIADB):  # mysql:// serves for both
            self._sql = Statements(MARIADB if session.mariadb else MYSQL, self._sql.prefix)
        return session

    async def _commit_plain(self, session: MysqlSession, pieces: Sequence[Slice]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        crash.at("before_begin")
        crash.at("after_begin")
        if len(pieces) == 1 and session.mariadb and (block := await self._block(session, pieces[0])) is not None:
            crash.at("before_commit")
            await session.commit_block(block)
            crash.at("after_commit")
            return
        fence = self._fence(session, pieces)
        if all(piece.rows for piece in pieces):
            inserts = list(self._inserts(session, pieces))  # whatever cannot be sent is refused before anything is
            if len(inserts) == 1 and len(inserts[0]) + len(fence) < session.max_packet - ROOM:
                crash.at("before_commit")
                await session.commit("BEGIN", fence, inserts[0])
                crash.at("after_commit")
                return
        await session.begin()
        try:
            await self._apply(session, pieces)
        except BaseException:
            await session.undo()
            raise
        crash.at("before_commit")
        await session.commit()
        crash.at("after_commit")

    async def _block(self, session: MysqlSession, piece: Slice) -> bytes | None:
        """The execution of a block that commits the slice. None where it is too long for one."""
        rows, changes = piece.rows, changed((piece,))[0]
        if len(rows) > FEW:
            return None
        names = tuple(changes)
        text = self._blocks.get((len(rows), names))
        if text is None:
            text = self._blocks[len(rows), names] = self._text_of_block(len(rows), names)
        number = await session.prepared(text)
        if number is None:
            return None
        values = [*changes.values(), piece.run_id, piece.base_head, piece.epoch]
        for row in rows:
            values += row
        block = execution(number, values)
        return block if len(block) < session.max_packet - ROOM else None

    def _text_of_block(self, rows: int, names: tuple[str, ...]) -> str:
        fence = f"IF ROW_COUNT() <> 1 THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {NO_VALUE}; END IF"
        insert = [self._sql.insert_rows(rows)] if rows else []
        inner = ["START TRANSACTION", self._sql.advance(names), fence, *insert, "COMMIT"]
        return f"BEGIN NOT ATOMIC {'; '.join(inner)}; END"

    def _fence(self, session: MysqlSession, pieces: Sequence[Slice]) -> bytes:
        """One UPDATE of all runs that move on."""
        every = changed(pieces)
        if len(pieces) == 1:
            piece, names = pieces[0], tuple(every[0])
            values = (*every[0].values(), piece.run_id, piece.base_head, piece.epoch)
            return session.filled(self._sql.advance(names), values)
        used = [name for name in OPTIONAL if any(name in changes for changes in every)]
        columns = ("run_id", "base", "base_epoch", "mask", "head", "head_sum", "updated_at", *used)
        lines: list[bytes] = []
        for piece, changes in zip(pieces, every, strict=True):
            mask = sum(1 << n for n, name in enumerate(used) if name in changes)
            values = [piece.run_id, piece.base_head, piece.epoch, mask]
            values += [changes.get(name) for name in columns[4:]]
            cells = [literal(value) for value in values]
            if not lines:
                cells = [b"%b AS %b" % (cell, name.encode()) for cell, name in zip(cells, columns, strict=True)]
            lines.append(b"SELECT " + b", ".join(cells))
        settings = ["r.head = v.head", "r.head_sum = v.head_sum", "r.updated_at = v.updated_at"]
        settings += [f"r.{name} = IF(v.mask & {1 << n}, v.{name}, r.{name})" for n, name in enumerate(used)]
        return (
            b"UPDATE %b r JOIN (%b) v ON r.run_id = v.run_id AND r.head = v.base AND r.epoch = v.base_epoch SET %b"
            % (
                f"{self._sql.prefix}runs".encode(),
                b" UNION ALL ".join(lines),
                ", ".join(settings).encode(),
            )
        )

    async def _advance(self, session: MysqlSession, pieces: Sequence[Slice]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if (await session.ask(self._fence(session, pieces)))[0].affected != len(pieces):
            raise Conflict(pieces[0].run_id)

    async def _insert_rows(self, session: MysqlSession, rows: Sequence[Row]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for insert in self._packed(session, [_line(row) for row in rows]):
            await session.ask(insert)

    def _inserts(self, session: MysqlSession, pieces: Sequence[Slice]) -> Iterator[bytes]:
        """INSERTs of the rows of slices. The first row of each takes its run from the run's row, so that there is none,
        and the statement fails, where the fence did not let the slice through.
        """
        lines: list[bytes] = []
        for piece in pieces:
            guard = session.filled(self._guard, (piece.run_id, piece.head, piece.epoch, piece.head_sum))
            lines += [_line(row, None if n else guard) for n, row in enumerate(piece.rows)]
        return self._packed(session, lines)

    @property
    def _guard(self) -> str:
        return (
            f"(SELECT run_id FROM {self._sql.prefix}runs WHERE run_id = ? AND head = ? AND epoch = ? AND head_sum = ?)"  # noqa: S608  the names are ours
        )

    def _packed(self, session: MysqlSession, lines: Sequence[bytes]) -> Iterator[bytes]:
        """INSERTs of these rows, each of which fits a packet of the server."""
        head = self._sql.insert_rows(0).encode()
        room = session.max_packet - ROOM
        some: list[bytes] = []
        size = 0
        for line in lines:
            if len(line) > room:
                raise BadData(None, problem=_too_big(len(line), session.max_packet))
            if some and size + len(line) > room:
                yield head + b", ".join(some)
                some, size = [], 0
            some.append(line)
            size += len(line) + 2
        if some:
            yield head + b", ".join(some)

    async def _provision(self, session: MysqlSession, *, upgrade: bool) -> list[int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Statement by statement, since each ends its own transaction: what a boot that was killed left is made whole
        by the next one. Whoever comes at the same time waits, and finds it done.
        """
        name = f"orch {digest_text(f'{self._url.database} {self._sql.prefix}')[:40]}"
        if (await session.all("SELECT GET_LOCK(?, ?)", (name, LOCKED_SECONDS)))[0][0] != 1:
            raise StoreUnavailable(self.name, reason="another process has been making its tables for too long")
        try:
            await session.run(f"SET SESSION lock_wait_timeout = {LOCKED_SECONDS:.0f}")
            return await self._make_tables(session, upgrade=upgrade)
        except StoreNotWritable as error:
            raise TablesNotAllowed(self.name, reason=error.reason) from error
        finally:
            session.forget()  # and with it the lock, whatever happened

    async def _make_tables(self, session: MysqlSession, *, upgrade: bool) -> list[int]:
        sql = self._sql
        found = await schema.version(session, sql)
        if found >= (LATEST if upgrade else 1):
            return []
        missing = all_migrations()[found:]
        for migration in missing:
            for statement in sql.render(migration.template, idempotent=True):
                await session.run(statement)
        if lacking := schema.lacking(await schema.columns(session, sql), sql):
            raise SchemaIncomplete(self.name, missing=lacking)
        now = (await session.all(f"SELECT {sql.dialect.now}", (self._now(),)))[0][0]
        await session.begin()  # what was killed before is made again as a whole
        for migration in missing:
            await session.run(sql.insert_version, (migration.version, migration.checksum, now))
        await session.commit()
        return [migration.version for migration in missing]

    async def _problems(self, session: MysqlSession) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        names = (
            "'innodb_flush_log_at_trx_commit', 'log_bin', 'sync_binlog', 'max_allowed_packet', 'read_only', 'version'"
        )
        found: dict[str, str] = dict(await session.all(f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({names})"))
        out: list[str] = []
        if found["innodb_flush_log_at_trx_commit"] != "1":
            out.append("innodb_flush_log_at_trx_commit is not 1: a commit that returned may be lost")
        if found["log_bin"] == "ON" and found["sync_binlog"] != "1":
            out.append("sync_binlog is not 1: a commit that returned may be lost")
        if int(found["max_allowed_packet"]) < SMALLEST_PACKET:
            out.append("max_allowed_packet is less than 4 MiB: large results do not fit")
        if found["read_only"] == "ON":
            out.append("the server is read-only")
        kind = "MariaDB" if session.mariadb else "MySQL"
        if tuple(int(part) for part in found["version"].split("-")[0].split(".")[:2]) < OLDEST[kind]:
            out.append(f"{kind} {'.'.join(map(str, OLDEST[kind]))} or later is needed")
        expected = list(schema.expected_columns(self._sql))
        engines = await session.all(
            "SELECT table_name, engine FROM information_schema.tables "  # noqa: S608  the names are ours
            f"WHERE table_schema = DATABASE() AND table_name IN ({', '.join('?' * len(expected))})",
            expected,
        )
        out += [f"table {table} is kept by {engine}, not by InnoDB" for table, engine in engines if engine != "InnoDB"]
        collation = self._sql.dialect.collation
        keys = await session.all(
            "SELECT table_name, column_name, collation_name FROM information_schema.columns "  # noqa: S608  the names are ours
            f"WHERE table_schema = DATABASE() AND table_name IN ({', '.join('?' * len(expected))})",
            expected,
        )
        out += [
            f"column {t}.{c} compares by {how}, not by {collation}"
            for t, c, how in keys
            if how not in (None, collation)
        ]
        return out


def _line(row: Row, run_id: bytes | None = None) -> bytes:
    """A row as SQL, with another expression in the place of its run."""
    cells = [literal(value) for value in row]
    if run_id is not None:
        cells[0] = run_id
    return b"(%b)" % b", ".join(cells)


def _too_big(size: int, packet: int) -> str:
    return f"a row of {size} bytes does not fit the server's max_allowed_packet of {packet} bytes"
