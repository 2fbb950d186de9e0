"""What runs cost in counts, which do not vary as times do: commits, rows, bytes, statements, round trips, calls."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from orchestrator.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from orchestrator.journal.store import Batch

# How often these are asked is a matter of time.
BY_THE_CLOCK = ("pending_for", "renew")


class CountingStore(MemoryStore):
    """Counts what it is asked, by the name of the method, and ``rows`` and ``bytes`` of bodies and paths."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if callable(found) and not name.startswith("_") and name not in BY_THE_CLOCK:
            self.counts[name] += 1
        return found

    async def commit(self, batch: Batch, *, alone: bool = False) -> None:
        await super().commit(batch, alone=alone)
        for piece in batch:
            self.counts["rows"] += len(piece.rows)
            self.counts["bytes"] += sum(len(row.body or b"") + len(row.path) for row in piece.rows)


@contextlib.contextmanager
def counted_calls(counts: Counter[str]) -> Generator[None]:
    """Counts the Python functions that this thread enters, and resumes of generators, as ``calls``."""
    entered = 0

    def look(frame: object, event: str, arg: object) -> None:
        nonlocal entered
        if event == "call":
            entered += 1

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
        counts["calls"] += entered


@contextlib.contextmanager
def counted_statements(counts: Counter[str]) -> Generator[None]:
    """Counts the statements of every SQLite connection that is opened inside, by their first word; the looks into
    inboxes, which the clock brings, are left out."""
    real = sqlite3.connect

    def look(sql: str) -> None:
        word = sql.split(None, 1)[0].upper()
        if word != "SELECT" or "inbox" not in sql:
            counts[word] += 1

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = real(*args, **kwargs)
        connection.set_trace_callback(look)
        return connection

    sqlite3.connect = connect
    try:
        yield
    finally:
        sqlite3.connect = real


@contextlib.asynccontextmanager
async def counted_trips(url: str, counts: Counter[str]) -> AsyncGenerator[str]:
    """The URL of a server behind a wire that counts ``trips``: a client that speaks again after it was answered."""
    where = urlsplit(url)
    links: set[asyncio.Task[None]] = set()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.add(task) if (task := asyncio.current_task()) else None
        back, forth = await asyncio.open_connection(where.hostname, where.port)
        answered = True

        async def answers() -> None:
            nonlocal answered
            while data := await back.read(65536):
                answered = True
                writer.write(data)
            writer.close()

        replies = asyncio.create_task(answers())
        try:
            while data := await reader.read(65536):
                counts["trips"] += answered
                answered = False
                forth.write(data)
        except ConnectionError:
            pass
        finally:
            forth.close()
            replies.cancel()
            await asyncio.gather(replies, return_exceptions=True)
            writer.close()

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    query = "sslmode=disable" if url.startswith("postgres") else ""
    try:
        yield urlunsplit(where._replace(netloc=f"{where.username}@127.0.0.1:{port}", query=query))
    finally:
        server.close()
        await asyncio.gather(*links, return_exceptions=True)
