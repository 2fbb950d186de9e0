from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from orchestrator.clock import ManualClock
from orchestrator.stores import StoreSettings, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.journal.store import Store

STORES = ("memory", "sqlite", "postgres", "mysql")
_numbers = itertools.count(1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "memory":
            return "memory:"
        case "sqlite":
            return f"sqlite:{tmp_path}/runs.db"
        case name:
            return request.getfixturevalue(f"{name}_url")


@pytest.fixture
async def store(store_url: str, clock: ManualClock) -> AsyncIterator[Store]:
    # Tables of its own for each test: making them takes less than emptying others'.
    opened = open_store(
        store_url, clock=clock, settings=StoreSettings(table_prefix=f"t{os.getpid()}_{next(_numbers)}_")
    )
    await opened.open()
    yield opened
    assert_at_rest(opened)
    assert await opened.check() == []
    await opened.aclose()
    await opened.aclose()


def assert_at_rest(opened: Store) -> None:
    """No connection is left inside a transaction, and none is out."""
    for name in ("_db", "_reader"):
        connection = getattr(opened, name, None)
        assert connection is None or not connection.in_transaction
    pool = getattr(opened, "pool", None)
    assert pool is None or pool.lent == 0
