"""What the writer and the store cost by themselves: the floor's rows as records of a run, with no engine above.

One record per step, appended when the one before is safe, as the floor does. Beside ``floor.sequence`` this tells the
share of the journal in the time of a step; the rest is the engine's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from benchmarks.measure import main, timed
from orchestrator.clock import SystemClock
from orchestrator.ids import new_owner, new_run_id
from orchestrator.journal.records import Record
from orchestrator.journal.store import Driver, NewRun, Projection
from orchestrator.journal.writer import RunHandle, Writer
from orchestrator.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BODY = {"output": {"i": 1000}, "attempt": 1}


class Chain:
    """A run whose records follow one another, each when the one before is committed."""

    def __init__(self, writer: Writer, owner: str, length: int, over: Callable[[], None]) -> None:
        self.writer = writer
        self.length = length
        self.over = over
        self.clock = SystemClock()
        run_id = new_run_id()
        self.handle = RunHandle(run_id, epoch=1, on_committed=self.go_on, on_fenced=_fail, on_error=_fail)
        now = self.clock.now()
        self.new = NewRun(run_id=run_id, name="chain", graph_hash="", root_id=run_id, created_at=now, owner=owner)

    def start(self) -> None:
        self.writer.append(self.handle, [Record(1, 1, "run_started", "", {}, self.clock.now())], create=self.new)

    def go_on(self, head: int) -> None:
        if head >= self.length:
            self.over()
            return
        record = Record(head + 1, 1, "done", "step", BODY, self.clock.now())
        self.writer.append(self.handle, [record], Projection(spend=head))


def _fail(error: Exception) -> None:
    raise error


async def chains(folder: Path, count: int, length: int) -> dict[str, Any]:
    """``count`` runs at once, of ``length`` records each."""
    store = open_store(f"sqlite:{folder}/runs.db")
    await store.open()
    owner = new_owner()
    await store.register_driver(Driver.of_this_process(owner), 60.0)
    writer = Writer(store, SystemClock())
    left = count
    over = anyio.Event()

    def one_over() -> None:
        nonlocal left
        left -= 1
        if not left:
            over.set()

    async with anyio.create_task_group() as group:
        group.start_soon(writer.run)
        with timed() as out:
            for _ in range(count):
                Chain(writer, owner, length, one_over).start()
            await over.wait()
        writer.stop()
    await store.aclose()
    return out


def sequence(folder: Path, n: int) -> dict[str, Any]:
    """One run of ``n`` records, one after the other."""
    return anyio.run(chains, folder, 1, n)


def parallel(folder: Path, n: int) -> dict[str, Any]:
    """``n`` runs of ten records each, all at once."""
    return anyio.run(chains, folder, n, 10)


if __name__ == "__main__":
    main({"sequence": sequence, "parallel": parallel})
