"""The writer and the store by themselves: W1's records with no engine above, each appended when the one before is safe.

Beside the floor and `orch` this tells the share of the journal in the time of a step; the rest is the engine's.
"""

from __future__ import annotations

from typing import Any

import anyio

from benchmarks import measure
from benchmarks.measure import Place, timed

BODY = {"output": {"i": 1000}, "attempt": 1}


async def _chain(place: Place) -> dict[str, Any]:
    from orchestrator.clock import SystemClock
    from orchestrator.ids import new_owner
    from orchestrator.journal.records import Record
    from orchestrator.journal.store import Driver, NewRun
    from orchestrator.journal.writer import RunHandle, Writer
    from orchestrator.stores import open_store

    store, clock, owner, over = open_store(place.store), SystemClock(), new_owner(), anyio.Event()
    await store.open()
    await store.register_driver(Driver.of_this_process(owner), 60.0)
    writer = Writer(store, clock)

    def go_on(head: int) -> None:
        if head >= place.n:
            over.set()
        else:
            writer.append(handle, [Record(head + 1, 1, "done", "step", BODY, clock.now())])

    handle = RunHandle("run0", epoch=1, on_committed=go_on, on_fenced=_fail, on_error=_fail)
    new = NewRun(run_id="run0", name="chain", graph_hash="", root_id="run0", created_at=clock.now(), owner=owner)
    out: dict[str, Any] = {}
    async with anyio.create_task_group() as group:
        group.start_soon(writer.run)
        with timed(out):
            writer.append(handle, [Record(1, 1, "run_started", "", {}, clock.now())], create=new)
            await over.wait()
        writer.stop()
    await store.aclose()
    return out


def _fail(error: Exception) -> None:
    raise error


if __name__ == "__main__":
    measure.main({"w1": lambda place: anyio.run(_chain, place)})
