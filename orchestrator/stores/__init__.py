"""Databases of runs, behind the ``Store`` protocol."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.frozen import frozen
from orchestrator.stores.urls import MemoryUrl, ServerUrl, SqliteUrl, parse_url

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.journal.store import Store

__all__ = ["StoreSettings", "open_store", "parse_url"]


@frozen(kw_only=True)
class StoreSettings:
    """How to use a store, where its URL does not say.

    ``pool`` is how many connections of a server one process may hold; ``statement_timeout`` and ``connect_timeout``
    are seconds; ``busy_timeout`` is how many another program may hold an SQLite file's lock; ``base`` is the folder of
    relative paths.
    """

    table_prefix: str = ""
    pool: int = 5
    statement_timeout: float = 10.0
    connect_timeout: float = 5.0
    busy_timeout: float = 30.0
    base: Path | None = None


_USUAL = StoreSettings()


def open_store(url: str, *, settings: StoreSettings = _USUAL, clock: Clock | None = None) -> Store:
    """The store of a URL, not opened yet: ``await store.open()``. Raises ``BadStoreUrl`` and ``BadTablePrefix``.

    ``clock`` is for tests: without one, a server's own clock counts its leases.
    """
    match parse_url(url, base=settings.base):
        case MemoryUrl():
            from orchestrator.stores.memory import MemoryStore

            return MemoryStore(clock=clock)
        case SqliteUrl() as place:
            from orchestrator.stores.sqlite import SqliteStore

            return SqliteStore(
                place,
                clock=clock,
                table_prefix=settings.table_prefix,
                busy_timeout=settings.busy_timeout if place.timeout is None else place.timeout,
            )
        case ServerUrl(backend="PostgreSQL") as server:
            from orchestrator.stores.postgres import PostgresStore

            return PostgresStore(_filled(server, settings), clock=clock, table_prefix=settings.table_prefix)
        case ServerUrl() as server:
            from orchestrator.stores.mysql import MysqlStore

            return MysqlStore(_filled(server, settings), clock=clock, table_prefix=settings.table_prefix)


def _filled(server: ServerUrl, settings: StoreSettings) -> ServerUrl:
    """The server, with the settings for what its URL leaves open."""
    return replace(
        server,
        **{
            name: value
            for name, value in (
                ("pool", settings.pool),
                ("timeout", settings.statement_timeout),
                ("connect_timeout", settings.connect_timeout),
            )
            if name not in server.given
        },
    )
