"""The writer over real connections that break in the middle of a commit."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from orchestrator.clock import SystemClock
from orchestrator.journal.errors import StoreError, StoreUnavailable
from orchestrator.journal.writer import Writer
from orchestrator.stores import StoreSettings, open_store
from tests.contract.build import LEASE, after, driver, first, held, mail
from tests.contract.conftest import assert_at_rest
from tests.contract.test_writer_faults import Walker, check
from tests.proxy import FAULTS, Proxy, hanging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.journal.store import Store

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

PROVE = os.environ.get("ORCH_PROVE") == "1"
WANTED = 100 if PROVE else 4


@pytest.fixture(params=["postgres", "mysql"])
def server_url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
async def server_store(server_url: str) -> AsyncIterator[Store]:
    prefix = f"w{random.randrange(10**9)}_"
    opened = open_store(server_url, settings=StoreSettings(table_prefix=prefix))
    await opened.open()
    yield opened
    assert_at_rest(opened)
    await opened.aclose()


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_and_nothing_doubled(server_url: str, fault: str) -> None:
    chance = random.Random(fault)
    share = 0.0
    settings = StoreSettings(table_prefix=f"p{random.randrange(10**9)}_")
    async with Proxy(server_url, lambda: fault if chance.random() < share else None) as proxy:
        store = open_store(proxy.url, settings=settings)
        await store.open()
        direct = open_store(server_url, settings=settings)
        await direct.open()
        count = 0
        while proxy.faults[fault] < (WANTED if PROVE or fault != "half-open" else 2):
            count += 1
            writer = Writer(store, SystemClock(), max_records=7)
            walkers = [Walker(writer, f"{fault}-{count}-{n}", chance) for n in range(3)]
            sums = {walker: (await held(direct, walker.handle.run_id)).head_sum for walker in walkers}
            share = 0.3
            async with anyio.create_task_group() as group:
                group.start_soon(writer.run)
                for walker, total in sums.items():
                    walker.begin(total)
                await writer.idle()
                writer.stop()
            share = 0.0
            for walker in walkers:
                await check(direct, walker, set())
        assert_at_rest(store)
        await store.aclose()
        await direct.aclose()


async def test_a_server_that_accepts_and_hangs_is_given_up() -> None:
    async def give_up(scheme: str, port: int) -> None:
        store = open_store(f"{scheme}://ada:sesame@127.0.0.1:{port}/db")
        start = time.monotonic()
        with pytest.raises(StoreUnavailable, match="did not answer within 5 s") as caught:
            await store.open()
        assert time.monotonic() - start < 6
        assert "sesame" not in str(caught.value)

    async with hanging() as port, anyio.create_task_group() as group:
        for scheme in ("postgresql", "mysql", "mariadb"):
            group.start_soon(give_up, scheme, port)


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
@pytest.mark.parametrize("place", ["127.0.0.1:1", "no-such-host.invalid"])
async def test_a_server_that_is_not_there(scheme: str, place: str) -> None:
    store = open_store(f"{scheme}://ada:sesame@{place}/db")
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    assert "sesame" not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"
    await store.aclose()


async def test_a_database_that_is_not_there(server_url: str) -> None:
    store = open_store(server_url.rpartition("/")[0] + "/no_such_database")
    with pytest.raises(StoreError, match="no_such_database"):
        await store.open()


async def test_cancelled_at_any_time_a_store_stays_usable_and_its_pool_whole(server_store: Store) -> None:
    chance = random.Random(5)
    store = server_store
    await store.commit([first("r0")])
    await store.register_driver(driver("me"), LEASE)
    cancelled = index = 0
    while cancelled < (1000 if PROVE else 100):
        index += 1
        begun = first(f"r{index}-x")
        calls = [
            lambda begun=begun: store.commit([begun]),
            lambda begun=begun: store.commit([after(begun, ["started"])]),
            lambda: store.get_run("r0"),
            lambda: store.load("r0"),
            lambda index=index: store.send(mail("r0", f"q{index}")),
            lambda: store.renew("me", LEASE),
            lambda: store.claim("r0", "me", force=True),
            lambda index=index: store.put_blobs([b"x" * index]),
        ]
        task = asyncio.ensure_future(chance.choice(calls)())
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        await asyncio.sleep(chance.random() * 0.0005)
        task.cancel()
        (end,) = await asyncio.gather(task, return_exceptions=True)
        cancelled += isinstance(end, asyncio.CancelledError)
    await asyncio.gather(*(store.get_run("r0") for _ in range(20)))
    # What was cancelled comes to its end all the same.
    await asyncio.gather(*store._tasks, return_exceptions=True)  # pyright: ignore[reportAttributeAccessIssue]
    assert store.pool.lent == 0  # pyright: ignore[reportAttributeAccessIssue]
    assert 0 < store.pool.idle <= 5  # pyright: ignore[reportAttributeAccessIssue]
    rows = await store.rows("r0")
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    await store.load("r0")
