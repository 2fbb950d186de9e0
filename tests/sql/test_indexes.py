"""What is listed is found through an index, and comes out of it in order."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.journal.store import RunFilter
from orchestrator.stores import StoreSettings, open_store
from tests.contract.build import first, new_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

SERVED = [
    (RunFilter(), "created"),
    (RunFilter(since=1_000), "created"),
    (RunFilter(status=("failed",)), "status"),
    (RunFilter(status=("failed",), since=100), "status"),
    (RunFilter(name="name7"), "name"),
    (RunFilter(parent_id="p"), "parent"),
]
IDS = ["all", "since", "status", "status-since", "name", "parent"]


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return (
        f"sqlite:{tmp_path}/runs.db" if request.param == "sqlite" else request.getfixturevalue(f"{request.param}_url")
    )


@pytest.fixture
async def store(url: str) -> AsyncIterator[Any]:
    opened = open_store(url, settings=StoreSettings(table_prefix="lists_"))
    await opened.open()
    if not await opened.list_runs(RunFilter(limit=1)):
        for start in range(0, 400, 100):
            runs = [
                replace(new_run(f"r{n:04}", at=n, parent_id=f"p{n}"), name=f"name{n % 40}")
                for n in range(start, start + 100)
            ]
            await opened.commit([first(run.run_id, new=run) for run in runs])
        if opened.name.startswith("mysql"):
            async with opened.pool.session() as session:  # pyright: ignore[reportAttributeAccessIssue]
                await session.all("ANALYZE TABLE lists_runs")
    yield opened
    await opened.aclose()


async def plan(store: Any, statement: str, values: list[Any]) -> str:
    """How the database would answer, as it says it."""
    if store.name.startswith("sqlite"):
        return await store._read(lambda: json.dumps(store._reader.all(f"EXPLAIN QUERY PLAN {statement}", values)))
    async with store.pool.session() as session:
        if store.name.startswith("postgres"):
            # A table of a few pages is read faster as a whole.
            await session.run("SET enable_seqscan = off")
            try:
                return "\n".join(line for (line,) in await session.all(f"EXPLAIN {statement}", values))
            finally:
                await session.run("RESET enable_seqscan")
        return json.dumps([(row[5], row[9]) for row in await session.all(f"EXPLAIN {statement}", values)])


@pytest.mark.parametrize(("chosen", "index"), SERVED, ids=IDS)
async def test_a_filter_uses_an_index(store: Any, chosen: RunFilter, index: str) -> None:
    statement, values = store._sql.list_runs(chosen, limit=5)
    now = [1] if store.name.startswith("sqlite") else [None]
    found = await plan(store, statement, [*now, *values])
    assert f"lists_runs_{index}" in found, found


async def test_newest_first_needs_no_sorting(store: Any) -> None:
    for chosen in (RunFilter(), RunFilter(status=("failed",)), RunFilter(name="name7")):
        statement, values = store._sql.list_runs(chosen, limit=5)
        found = await plan(store, statement, [*([1] if store.name.startswith("sqlite") else [None]), *values])
        for word in ("TEMP B-TREE", "Sort", "filesort"):
            assert word not in found, found
