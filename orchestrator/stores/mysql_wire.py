"""One connection to MariaDB or MySQL: how it is opened, what is sent over it, and what its errors mean."""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aiomysql.connection import Connection
from pymysql.constants import CLIENT, COMMAND, CR, SERVER_STATUS
from pymysql.err import Error as MysqlError
from pymysql.err import OperationalError

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
    Unknown,
)
from orchestrator.stores.mysql_values import literal
from orchestrator.stores.pool import Alarm, Busy, Lost
from orchestrator.stores.statements import MARIADB, MYSQL, MYSQL_MODE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from orchestrator.stores.server_urls import ServerUrl

T = TypeVar("T")

CONNECT_AGAIN_SECONDS = 0.1

NO_VALUE = 1048
"""What a batch ends with that the fence did not let through."""

KEPT = 100
"""So many prepared statements of one connection, at most."""

_DUPLICATE = frozenset({1062, 1586})
_LOST = frozenset(
    {1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1243, 1927, 2003, 2006, 2013, 2014, 2055, 4031}
)
_FULL_OF_CONNECTIONS = frozenset({1040, 1203, 1226})
_BUSY = frozenset({1205, 1213, 3572})
_UNAVAILABLE = frozenset({1037, 1041, 1135, 1317, 1969, 3024, *_FULL_OF_CONNECTIONS})
_REFUSED = frozenset({1044, 1045, 1049, 1129, 1130, 1251, 1524, 1698, 1820, 1862, 2026, 2059, 3118})
_NOT_WRITABLE = frozenset({1036, 1142, 1143, 1227, 1290, 1792, 1836, 4047})
_NOT_PREPARED = frozenset({1295, 1461})  # no such statement here, or too many
_NO_SUCH_TABLE = frozenset({1146, 1054, 1932})
_FULL = frozenset({20, 1021, 1114, 3675})
_ON_DISK = frozenset({3, 1004, 1005, 1026, 1030})
_NO_SPACE = re.compile(r"(?:errno|errcode|error):? 28\b", re.IGNORECASE)  # ENOSPC, which comes in words alone
_DAMAGED = frozenset({126, 127, 144, 145, 1030, 1034, 1194, 1712, 1877})
_BAD_DATA = frozenset({1048, 1153, 1264, 1300, 1366, 1406, 1690, 3140, 3988})
_UNKNOWN_AT_COMMIT = frozenset({1105, 1180, 1181, 1030, 1021, 1026, *_LOST})
# One that was stopped, or ran out of time, may have been stopped right after its COMMIT.
_UNKNOWN_IN_BLOCK = _UNKNOWN_AT_COMMIT | {1317, 1969}


class Answer(NamedTuple):
    """What one statement gave: how many rows it met, and the rows of a query."""

    affected: int
    rows: Sequence[tuple[Any, ...]]


class _Wire(Connection):
    """aiomysql's connection, with whole exchanges of several statements and without a way around TLS."""

    def __init__(self, url: ServerUrl, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            host=url.host,
            port=url.port,
            user=url.user,
            # aiomysql would send Latin-1, where servers and their own clients know UTF-8.
            password=(url.password or "").encode().decode("latin-1"),
            db=url.database,
            charset="utf8mb4",
            autocommit=True,
            client_flag=CLIENT.FOUND_ROWS,
            ssl=tls,
            program_name="orch",
        )
        self._url = url
        self.answered = 0

    @property
    def mariadb(self) -> bool:
        return "mariadb" in self.server_version.lower()

    @property
    def gone(self) -> bool:
        """True once the other side has closed."""
        return self._reader is None or self._reader.at_eof() or self._reader.exception() is not None

    async def open(self) -> None:
        await self._connect()

    def close(self) -> None:
        """Close at once: under TLS, aiomysql's way waits for the other side, and leaves a socket to whoever comes."""
        writer = self._writer
        super().close()
        if writer is not None:
            writer.transport.abort()

    async def _request_authentication(self) -> None:
        """Where the server has no TLS, aiomysql would go on without it and say that it has it."""
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            if self._url.tls != "prefer":
                raise MysqlError(2026, "the server offers no TLS, and the URL asks for it")
            self._ssl_context = None
            self.client_flag &= ~CLIENT.SSL
        try:
            await super()._request_authentication()
        except BaseException:
            self.close()  # while there is something to close: aiomysql forgets it
            raise

    async def exchange(self, text: bytes) -> list[Answer]:
        """Send statements, and read the answers of all; ``answered`` counts them."""
        self.answered = 0
        await self.query(text)
        out: list[Answer] = []
        while True:
            found: Any = self._result
            out.append(Answer(found.affected_rows, found.rows or ()))
            self.answered += 1
            if not found.has_next:
                return out
            await self.next_result()

    async def prepare(self, text: bytes) -> int:
        """Prepare a statement; its number."""
        await self._execute_command(COMMAND.COM_STMT_PREPARE, text)
        number, columns, values = struct.unpack_from("<xIHH", (await self._read_packet()).get_all_data())
        for count in (values, columns):
            for _ in range(count + 1 if count else 0):  # what each is, and an end
                await self._read_packet()
        return number

    async def execute(self, what: bytes) -> None:
        """Execute a prepared statement that gives no rows. ``what`` is an ``execution``."""
        await self._execute_command(COMMAND.COM_STMT_EXECUTE, what)
        reader: Any = self._reader
        answer = await reader.read(4096)
        # What is short, well and the only one is read here; whatever else comes, aiomysql reads from its beginning.
        if (
            len(answer) >= 11
            and int.from_bytes(answer[:3], "little") == len(answer) - 4
            and answer[3:5] == b"\1\0"
            and answer[6] == 0
        ):
            status = answer[7] | answer[8] << 8
            if answer[5] < 251 and not status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS:
                self.server_status = status
                return
        if reader.at_eof() or self.closed:
            raise OperationalError(CR.CR_SERVER_LOST, "the server has closed the connection")
        reader.feed_data(answer)
        await self._read_query_result()


async def connect(url: ServerUrl) -> MysqlSession:
    """A connection. One that is refused since the server is starting, or full, is tried again while there is time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + url.connect_timeout
    tls = url.tls_context()
    while True:
        wire = _Wire(url, tls)
        left = deadline - loop.time()
        try:
            return await asyncio.wait_for(_prepared(wire, url), left)
        except TimeoutError as error:
            wire.close()
            reason = f"{url.host}:{url.port} did not answer within {url.connect_timeout:g} s"
            raise StoreUnavailable(url.shown, reason=reason) from error
        except BaseException as error:
            wire.close()
            if not isinstance(error, (MysqlError, OSError, asyncio.IncompleteReadError)):
                raise
            if _code(error) not in _FULL_OF_CONNECTIONS or left <= 2 * CONNECT_AGAIN_SECONDS:
                raise _meaning(error, url) from error
        await asyncio.sleep(CONNECT_AGAIN_SECONDS)


async def _prepared(wire: _Wire, url: ServerUrl) -> MysqlSession:
    await wire.open()
    dialect = MARIADB if wire.mariadb else MYSQL
    ms = int(url.timeout * 1000)
    locks = ["innodb_lock_wait_timeout = 2", "lock_wait_timeout = 2"]  # of rows, and of tables
    settings = [f"sql_mode = '{MYSQL_MODE}'", *locks, "time_zone = '+00:00'"]
    if wire.mariadb:
        settings += [f"max_statement_time = {url.timeout}", "idle_transaction_timeout = 5"]
    else:
        settings += [f"max_execution_time = {ms}", "wait_timeout = 15"]
    answers = await wire.exchange(
        f"SET NAMES utf8mb4 COLLATE {dialect.collation}; SET SESSION {', '.join(settings)}; "
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SELECT @@max_allowed_packet".encode()
    )
    return MysqlSession(url, wire, max_packet=answers[-1].rows[0][0])


class MysqlSession:
    """One connection. A statement that takes longer than its time loses it. ``max_packet`` in bytes."""

    def __init__(self, url: ServerUrl, wire: _Wire, *, max_packet: int) -> None:
        self._url = url
        self._wire = wire
        self._busy = False
        self._forgotten = False
        self._texts: dict[str, list[bytes]] = {}
        self._prepared: dict[str, int] = {}
        # A little later than the server's own limit, which leaves the connection whole.
        self._alarm = Alarm(url.timeout * 1.2 + 0.2, self.abandon)
        self.max_packet = max_packet
        self.mariadb = wire.mariadb

    @property
    def broken(self) -> bool:
        return self._busy or self._wire.closed or self._wire.gone

    @property
    def whole(self) -> bool:
        return not self.broken and not self._forgotten and not self._wire.get_transaction_status()

    async def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        return (await self.ask(self.filled(statement, values)))[0].affected

    async def all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return list((await self.ask(self.filled(statement, values)))[0].rows)

    async def begin(self) -> None:
        await self.ask("BEGIN")

    async def commit(self, *last: str | bytes) -> None:
        """End the transaction, after these last statements. ``Unknown`` where its end is not known."""
        try:
            await self._ask(*last, "COMMIT")
        except (MysqlError, OSError) as error:
            # What fails before COMMIT keeps the server from it.
            doubtful = _LOST if self._wire.answered < len(last) else _UNKNOWN_AT_COMMIT
            if _code(error) in doubtful or not isinstance(error, MysqlError):
                self.abandon()
                raise Unknown(self._url.shown) from error
            await self.undo()
            # A row without a run: the fence did not let its slice through.
            raise (Conflict(None) if _code(error) == NO_VALUE else _meaning(error, self._url)) from error

    async def prepared(self, statement: str) -> int | None:
        """The number of a statement that is kept on this connection. None where it keeps no more."""
        number = self._prepared.get(statement)
        if number is None and len(self._prepared) < KEPT:
            try:
                number = await self._exchanged(self._wire.prepare, statement.encode())
            except (MysqlError, OSError) as error:
                if _code(error) in _NOT_PREPARED:
                    return None
                raise _meaning(error, self._url) from error
            self._prepared[statement] = number
        return number

    async def commit_block(self, what: bytes) -> None:
        """Execute a prepared block that begins a transaction and commits it. ``Unknown`` where its end is not known."""
        try:
            await self._exchanged(self._wire.execute, what)
        except (MysqlError, OSError) as error:
            if _code(error) in _LOST or not isinstance(error, MysqlError):
                self.abandon()
                raise Unknown(self._url.shown) from error
            if _code(error) in _UNKNOWN_IN_BLOCK and not await self._in_transaction():
                raise Unknown(self._url.shown) from error
            await self.undo()
            raise (Conflict(None) if _code(error) == NO_VALUE else _meaning(error, self._url)) from error

    async def _in_transaction(self) -> bool:
        """Whether what was begun is still open, and not committed. False where nobody says."""
        try:
            return bool((await self.ask("SELECT @@in_transaction"))[0].rows[0][0])
        except StoreUnavailable:
            self.abandon()
            return False

    async def roll_back(self) -> None:
        await self.ask("ROLLBACK")

    async def undo(self) -> None:
        """Roll back; a connection that cannot is thrown away."""
        try:
            if not self.broken:
                await self.roll_back()
        except StoreUnavailable:
            self.abandon()

    async def aclose(self) -> None:
        self._alarm.cancel()
        await self._wire.ensure_closed()

    def forget(self) -> None:
        """Lend this session to nobody else."""
        self._forgotten = True

    def abandon(self) -> None:
        self._alarm.cancel()
        self._wire.close()

    async def ask(self, *statements: str | bytes) -> list[Answer]:
        """Statements in one exchange; the server stops at the first that fails."""
        try:
            return await self._ask(*statements)
        except (MysqlError, OSError) as error:
            raise _meaning(error, self._url) from error

    async def _ask(self, *statements: str | bytes) -> list[Answer]:
        text = b"; ".join([item.encode() if isinstance(item, str) else item for item in statements])
        if len(text) > self.max_packet - 1:
            raise BadData(None, problem=f"{len(text)} bytes do not fit max_allowed_packet ({self.max_packet} bytes)")
        return await self._exchanged(self._wire.exchange, text)

    async def _exchanged(self, how: Callable[[bytes], Awaitable[T]], what: bytes) -> T:
        """One exchange. Interrupted, it leaves the session broken."""
        self._busy = True
        self._alarm.begin()
        try:
            answer = await how(what)
        except MysqlError:
            self._busy = False
            raise
        finally:
            self._alarm.end()
        self._busy = False
        return answer

    def filled(self, statement: str, values: Sequence[Any]) -> bytes:
        """The statement with its values in it."""
        if (parts := self._texts.get(statement)) is None:
            parts = self._texts[statement] = statement.encode().split(b"?")
        if len(parts) != len(values) + 1:
            raise ValueError(f"{len(values)} values for {len(parts) - 1} places")
        out = [parts[0]]
        for value, part in zip(values, parts[1:], strict=True):
            out += (literal(value), part)
        return b"".join(out)


def _code(error: BaseException) -> int:
    first = error.args[0] if error.args else 0
    return first if isinstance(error, MysqlError) and isinstance(first, int) else 0


def _meaning(error: BaseException, url: ServerUrl) -> Exception:
    """What an error means for its user."""
    shown, code = url.shown, _code(error)
    cause = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError) or isinstance(cause, ssl.SSLCertVerificationError):
        return StoreRefused(shown, reason=str(cause or error))
    reason = str(error.args[1])[:300] if len(error.args) > 1 else str(error)[:300] or type(error).__name__
    if code in _FULL or (code in _ON_DISK and _NO_SPACE.search(reason)):
        return StoreFull(shown)
    for codes, kind in (
        (_LOST, Lost),
        (_BUSY, Busy),
        (_UNAVAILABLE, StoreUnavailable),
        (_REFUSED, StoreRefused),
        (_NOT_WRITABLE, StoreNotWritable),
        (_DAMAGED, StoreDamaged),
    ):
        if code in codes:
            return kind(shown, reason=reason)
    if code in _DUPLICATE:
        return Conflict(None)
    if code in _NO_SUCH_TABLE:
        return SchemaIncomplete(shown, missing=[reason])
    if code in _BAD_DATA:
        return BadData(None, problem=reason)
    return Lost(shown, reason=reason) if code == 0 else StoreFailed(shown, reason=reason)
