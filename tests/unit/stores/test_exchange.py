"""Work that goes on by itself, whoever waits for it; and what a pool lends at once."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio.lowlevel
import pytest

from orchestrator.journal.errors import Conflict
from orchestrator.stores.exchange import Exchange
from orchestrator.stores.pool import Alarm, Pool

pytestmark = pytest.mark.anyio


class Work:
    """Waits for two futures, one after the other, and gives the sum of their results."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.first: asyncio.Future[int] = loop.create_future()
        self.second: asyncio.Future[int] = loop.create_future()
        self.left: list[str] = []
        self.among: set[Exchange[Any]] = set()

    async def do(self) -> int:
        try:
            return await self.first + await self.second
        finally:
            self.left.append("over")

    def begin(self) -> Exchange[int]:
        return Exchange(self.do(), self.among)


async def turns() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def test_it_begins_at_once_and_gives_its_result() -> None:
    work = Work()
    exchange = work.begin()
    assert work.among == {exchange}
    work.first.set_result(1)
    asyncio.get_running_loop().call_soon(work.second.set_result, 2)
    assert await exchange.end == 3
    assert work.among == set()


async def test_work_that_waits_for_nothing_is_over_at_once() -> None:
    async def refused() -> None:
        raise Conflict("r1")

    among: set[Exchange[Any]] = set()
    exchange = Exchange(refused(), among)
    assert among == set()
    with pytest.raises(Conflict):
        await exchange.end


async def test_an_error_of_what_it_waits_for_is_told() -> None:
    work = Work()
    exchange = work.begin()
    work.first.set_exception(Conflict("r1"))
    with pytest.raises(Conflict):
        await exchange.end
    assert work.left == ["over"]


@pytest.mark.parametrize("well", [True, False])
async def test_a_waiter_who_is_cancelled_stops_nothing_else(well: bool) -> None:
    work = Work()
    exchange = work.begin()

    async def wait() -> int:
        return await exchange.end

    waiter = asyncio.ensure_future(wait())
    await turns()
    waiter.cancel()
    await turns()
    assert (waiter.cancelled(), work.left, work.among) == (True, [], {exchange})
    over = exchange.over()
    assert over is exchange.over()
    work.first.set_result(1)
    if well:
        work.second.set_result(2)
    else:
        work.second.set_exception(Conflict("r1"))
    await over
    assert (work.left, work.among) == (["over"], set())


async def test_what_is_abandoned_tells_why() -> None:
    work = Work()
    exchange = work.begin()
    exchange.cancel(Conflict("given up"))
    with pytest.raises(Conflict, match="given up"):
        await exchange.end
    assert work.left == ["over"]
    exchange.cancel(Conflict("too late"))


async def test_what_is_cancelled_by_others_is_cancelled() -> None:
    work = Work()
    exchange = work.begin()
    work.first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.end
    assert work.left == ["over"]


# --- pools ---


class Line:
    """A session that does nothing."""

    def __init__(self) -> None:
        self.whole = True
        self.broken = False
        self.gone = False

    async def all(self, statement: str, values: object = ()) -> list[Any]:
        del statement, values
        return []

    async def aclose(self) -> None:
        self.gone = True

    def abandon(self) -> None:
        self.gone = True


async def connect() -> Any:
    return Line()


async def test_a_session_is_lent_at_once_where_one_lies_ready() -> None:
    pool = Pool("p", connect, size=1, wait=1.0)
    assert pool.lend() is None
    async with pool.session():
        pass
    session = pool.lend()
    assert session is not None
    assert (pool.lent, pool.idle, pool.lend()) == (1, 0, None)

    async def take() -> Any:
        async with pool.session() as found:
            return found

    waiter = asyncio.ensure_future(take())
    await turns()
    assert not waiter.done()  # there is one, and it is out
    pool.take_back(session)
    assert await waiter is session
    assert (pool.lent, pool.idle) == (0, 1)
    await pool.aclose()


async def test_what_is_not_whole_is_not_lent_and_not_kept() -> None:
    pool = Pool("p", connect, size=2, wait=1.0)
    async with pool.session():
        pass
    session: Any = pool.lend()
    session.whole = False
    pool.take_back(session)
    assert (session.gone, pool.lent, pool.idle) == (True, 0, 0)
    async with pool.session() as other:
        pass
    setattr(other, "whole", False)  # noqa: B010 - a property elsewhere
    assert pool.lend() is None
    await pool.aclose()


async def test_an_alarm_rings_for_an_exchange_that_takes_too_long_and_for_no_other() -> None:
    rung: list[str] = []
    later = anyio.Event()
    ended, last = Alarm(0.0, lambda: rung.append("ended")), Alarm(0.0, later.set)
    ended.begin()
    ended.end()
    last.begin()
    await later.wait()
    assert rung == []
    again = anyio.Event()
    alarm = Alarm(0.001, again.set)
    for _ in range(3):
        alarm.begin()
        alarm.end()
        await turns()
    alarm.begin()
    await again.wait()
    alarm.begin()
    alarm.cancel()
    alarm.cancel()
