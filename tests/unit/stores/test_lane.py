from __future__ import annotations

import asyncio
import threading

import pytest

from orchestrator.stores.lane import Lane

pytestmark = pytest.mark.anyio


async def test_work_is_done_in_order_in_one_other_thread() -> None:
    lane = Lane("test")
    seen: list[int] = []
    threads = await asyncio.gather(
        *(lane.call(lambda n=n: (seen.append(n), threading.get_ident())[1]) for n in range(20))
    )
    lane.close()
    assert seen == list(range(20))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_an_error_comes_back_and_the_next_call_works() -> None:
    lane = Lane("test")
    with pytest.raises(ZeroDivisionError):
        await lane.call(lambda: 1 // 0)
    assert await lane.call(lambda: 7) == 7
    lane.close()


@pytest.mark.parametrize("fails", [False, True])
async def test_work_whose_caller_is_gone_is_done_all_the_same(fails: bool) -> None:
    lane = Lane("test")
    gate, done = threading.Event(), threading.Event()

    def work() -> None:
        gate.wait(5)
        done.set()
        if fails:
            raise ValueError

    task = asyncio.ensure_future(lane.call(work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    assert await lane.call(done.is_set)
    lane.close()


def test_a_loop_that_is_closed_hears_nothing() -> None:
    gate = threading.Event()
    lanes: list[Lane] = []

    async def leave() -> None:
        lanes.append(Lane("test"))
        task = asyncio.ensure_future(lanes[0].call(lambda: gate.wait(5)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    gate.set()
    lanes[0].close()
    lanes[0]._thread.join(5)
    assert not lanes[0]._thread.is_alive()


async def test_whoever_waits_for_an_abandoned_lane_is_told_at_once() -> None:
    lane, gate = Lane("test"), threading.Event()
    waits = asyncio.ensure_future(lane.call(lambda: gate.wait(5)))
    await asyncio.sleep(0)
    lane.abandon(LookupError())
    with pytest.raises(LookupError):
        await waits
    with pytest.raises(LookupError):
        await lane.call(lambda: 7)
    gate.set()
    lane.close()
