from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.clock import ManualClock
from orchestrator.stores import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.journal.store import Store


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Store]:
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path}/runs.db"
    opened = open_store(url, clock=clock)
    await opened.open()
    yield opened
    assert_at_rest(opened)
    assert await opened.check() == []
    await opened.aclose()
    await opened.aclose()


def assert_at_rest(opened: Store) -> None:
    """No connection is left inside a transaction."""
    for name in ("_db", "_reader"):
        connection = getattr(opened, name, None)
        assert connection is None or not connection.in_transaction
