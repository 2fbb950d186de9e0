"""Databases that tests make for themselves in a server, and drop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import warnings
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from tests.services import or_skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@contextlib.contextmanager
def database(name: str) -> Iterator[str]:
    """The URL of a database of its own in the server of that name, gone afterwards."""
    with or_skip(name) as server, made(server.url) as url:
        yield url


@contextlib.contextmanager
def made(server: str) -> Iterator[str]:
    """The URL of a new database beside the one that ``server`` names, gone afterwards."""
    title = f"orch_test_{os.getpid()}_{secrets.token_hex(4)}"
    asyncio.run(_tell(server, f"CREATE DATABASE {title}"))
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{title}"))
    finally:
        force = " WITH (FORCE)" if server.startswith("postgres") else ""
        asyncio.run(_tell(server, f"DROP DATABASE {title}{force}"))


def tell(url: str, *statements: str) -> None:
    """Run statements as whoever ``url`` names."""
    asyncio.run(_tell(url, *statements))


@contextlib.asynccontextmanager
async def locked(url: str, table: str) -> AsyncIterator[None]:
    """A table that another session holds for itself."""
    if url.startswith("postgres"):
        import asyncpg

        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await connection.execute(f"LOCK TABLE {table}")
                yield
        finally:
            await connection.close()
        return
    import aiomysql

    where = urlsplit(url)
    async with aiomysql.connect(
        host=where.hostname, port=where.port or 3306, user=where.username, password=where.password or "",
        db=where.path.strip("/"), autocommit=True,
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        await cursor.execute(f"LOCK TABLES {table} WRITE")
        yield


async def _tell(url: str, *statements: str) -> None:
    where = urlsplit(url)
    if url.startswith("postgres"):
        import asyncpg

        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()
        return
    import aiomysql

    async with aiomysql.connect(
        host=where.hostname, port=where.port or 3306, user=where.username, password=where.password or "",
        db=where.path.strip("/"), autocommit=True,
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes of the server: what IF NOT EXISTS found
            for statement in statements:
                await cursor.execute(statement)
