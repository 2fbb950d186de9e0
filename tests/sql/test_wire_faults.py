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
from orchestrator.journal.errors import Held, StoreError, StoreUnavailable
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


CLAIM_FAULTS = ("cut before", "cut after", "lands late")


async def claiming(server_url: str, fault: str, *, thief: bool) -> list[str]:
    """A claim by force whose end nobody hears, and, if wanted, one by another person before it is tried again. Who has
    claimed, in order."""
    settings = StoreSettings(table_prefix=f"c{random.randrange(10**9)}_")
    direct = open_store(server_url, settings=settings)
    await direct.open()
    begun = await held(direct, "r1", "old")
    armed, broken = asyncio.Event(), asyncio.Event()

    def choose() -> str | None:
        if not armed.is_set() or broken.is_set():
            return None
        broken.set()
        proxy.gate.clear()
        return fault

    async with Proxy(server_url, choose) as proxy:
        store = open_store(proxy.url, settings=settings)
        await store.open()
        for each, name in ((store, "me"), (direct, "thief")):
            await each.register_driver(driver(name), LEASE)
        armed.set()
        claim = asyncio.ensure_future(store.claim("r1", "me", force=True, explicit=True))
        await broken.wait()
        while thief and fault != "cut before" and (await direct.get_run("r1")).epoch == 1:
            pass  # until it has landed
        if thief:
            await direct.claim("r1", "thief", force=True, explicit=True)
        proxy.gate.set()
        if thief:
            with pytest.raises(Held, match="thief"):
                await claim
        else:
            assert (await claim).epoch == 2
        run = await direct.get_run("r1")
        assert run.owner == ("thief" if thief else "me")
        claims = await direct.load("r1", from_seq=begun.head + 1)
        await store.aclose()
        await direct.aclose()
        return [record.body["owner"] for record in claims]


@pytest.mark.parametrize("fault", CLAIM_FAULTS)
async def test_a_claim_whose_end_is_not_known_is_made_once(server_url: str, fault: str) -> None:
    assert await claiming(server_url, fault, thief=False) == ["me"]


@pytest.mark.parametrize("fault", CLAIM_FAULTS)
async def test_a_claim_that_is_tried_again_robs_nobody(server_url: str, fault: str) -> None:
    """What ``--force`` was said of is who held the run then, not who has claimed it since."""
    assert await claiming(server_url, fault, thief=True) == (["thief"] if fault == "cut before" else ["me", "thief"])


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
