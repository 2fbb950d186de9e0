"""A TCP proxy in front of a database server that breaks connections at the worst moments.

It reads along: of PostgreSQL's protocol the names of prepared statements, of MySQL's the text of each. What counts as a
commit is COMMIT, and a statement that writes the journal outside of a transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

FAULTS = ("cut before", "cut after", "lands late", "half-open", "slow")
LATE_SECONDS = 0.2
SLOW_SECONDS = 0.3


class Proxy:
    """Passes bytes between clients and a server. ``choose`` is asked at each commit which fault to commit, if any."""

    def __init__(self, url: str, choose: Callable[[], str | None]) -> None:
        self._where = urlsplit(url)
        self._choose = choose
        self._reader = _Postgres if url.startswith("postgres") else _Mysql
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults: Counter[str] = Counter()
        self.gate = asyncio.Event()
        """While it is not set, nobody new gets through."""
        self.gate.set()
        self.url = ""
        self.query = "timeout=0.6" + ("&sslmode=disable" if url.startswith("postgres") else "")

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        who = f"{self._where.username}@" if self._where.username else ""
        self.url = urlunsplit(self._where._replace(netloc=f"{who}127.0.0.1:{port}", query=self.query))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.gate.wait()
            await _Link(self, reader, writer).live(str(self._where.hostname), self._where.port or 0)
        except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    def fault(self) -> str | None:
        """The fault of this commit."""
        found = self._choose()
        if found is not None:
            self.faults[found] += 1
        return found


class _Link:
    """One client, and its connection to the server."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.reader = reader
        self.writer = writer
        self.fault: str | None = None

    async def live(self, host: str, port: int) -> None:
        back, forth = await asyncio.open_connection(host, port)
        answers = asyncio.ensure_future(self._answers(back))
        try:
            await self._requests(forth)
        finally:
            forth.transport.abort()
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)

    async def _requests(self, forth: asyncio.StreamWriter) -> None:
        protocol = self.proxy._reader()
        while data := await self.reader.read(65536):
            if self.fault is None and protocol.commits(data):
                self.fault = self.proxy.fault()
                match self.fault:
                    case "cut before":
                        return
                    case "lands late":
                        self.writer.transport.abort()
                        await asyncio.sleep(LATE_SECONDS)
                        forth.write(data)
                        await forth.drain()
                        await asyncio.sleep(LATE_SECONDS)
                        return
                    case _:
                        pass
            if self.fault != "half-open":
                forth.write(data)
                await forth.drain()

    async def _answers(self, back: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await back.read(65536):
                match self.fault:
                    case "cut after":
                        break
                    case "half-open" | "lands late":
                        continue
                    case "slow":
                        await asyncio.sleep(SLOW_SECONDS)
                        self.fault = None
                    case _:
                        pass
                self.writer.write(data)
                await self.writer.drain()
        self.writer.transport.abort()


class _Postgres:
    """Reads along with a client of PostgreSQL, without TLS."""

    def __init__(self) -> None:
        self._data = b""
        self._begun = False
        self._writing: set[bytes] = set()
        self._open = False

    def commits(self, data: bytes) -> bool:
        """True where what comes now ends a transaction that wrote."""
        self._data += data
        found = False
        while len(self._data) >= 5:
            start = 0 if not self._begun else 1
            size = int.from_bytes(self._data[start : start + 4], "big") + start
            if len(self._data) < size:
                break
            message, self._data = self._data[:size], self._data[size:]
            if not self._begun:
                self._begun = True
            else:
                found = self._message(message[:1], message[5:]) or found
        return found

    def _message(self, kind: bytes, body: bytes) -> bool:
        match kind:
            case b"Q":
                self._open = self._open or body.startswith(b"BEGIN")
                ended = body.startswith((b"COMMIT", b"ROLLBACK"))
                self._open = self._open and not ended
                return body.startswith(b"COMMIT")
            case b"P":
                name, _, rest = body.partition(b"\0")
                if b"INSERT INTO" in rest and b"journal" in rest:
                    self._writing.add(name)
                else:
                    self._writing.discard(name)
                return False
            case b"B":
                _, _, rest = body.partition(b"\0")
                return rest.partition(b"\0")[0] in self._writing and not self._open
            case _:
                return False


class _Mysql:
    """Reads along with a client of MySQL: the text of each statement goes over the wire, but for that of batches, which
    alone are prepared.
    """

    def commits(self, data: bytes) -> bool:
        return data.endswith(b"COMMIT") or data[4:5] == _EXECUTE


_EXECUTE = b"\x17"


@contextlib.asynccontextmanager
async def hanging() -> AsyncIterator[int]:
    """The port of a server that accepts and says nothing."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
