"""The floor: what a step must cost that is recorded before the next one starts.

One row per step, one commit per row, each awaited, on one writer thread with WAL and ``synchronous=FULL``; rows that
wait at the same time share a commit. An engine that records every step cannot be faster than this by much.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

from benchmarks.measure import main, timed

if TYPE_CHECKING:
    from pathlib import Path

DDL = "CREATE TABLE journal (run TEXT, seq INTEGER, body BLOB, PRIMARY KEY (run, seq)) WITHOUT ROWID"
ROW = "INSERT INTO journal VALUES (?, ?, ?)"
BODY = b'{"output":{"i":1000},"attempt":1}'


class Floor:
    """Awaited one-row commits. ``append`` returns when its row is on the disk."""

    def __init__(self, path: Path) -> None:
        self.loop = asyncio.get_running_loop()
        self.queue: queue.SimpleQueue[tuple[tuple[Any, ...], asyncio.Future[None]] | None] = queue.SimpleQueue()
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute(DDL)
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        while (first := self.queue.get()) is not None:
            batch = [first]
            while not self.queue.empty() and (more := self.queue.get()) is not None:
                batch.append(more)
            if len(batch) == 1:
                self.db.execute(ROW, first[0])
            else:
                self.db.execute("BEGIN IMMEDIATE")
                self.db.executemany(ROW, [row for row, _ in batch])
                self.db.execute("COMMIT")
            self.loop.call_soon_threadsafe(_settle, [future for _, future in batch])

    async def append(self, *row: Any) -> None:
        future = self.loop.create_future()
        self.queue.put((row, future))
        await future

    def close(self) -> None:
        self.queue.put(None)
        self.thread.join()
        self.db.close()


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


def sequence(folder: Path, n: int) -> dict[str, Any]:
    """``n`` rows, one after the other."""

    async def go() -> dict[str, Any]:
        floor = Floor(folder / "floor.db")
        with timed() as out:
            for i in range(n):
                await floor.append("r", i, BODY)
        floor.close()
        return out

    return asyncio.run(go())


def parallel(folder: Path, n: int) -> dict[str, Any]:
    """``n`` rows at once."""

    async def go() -> dict[str, Any]:
        floor = Floor(folder / "floor.db")
        with timed() as out:
            await asyncio.gather(*(floor.append("r", i, BODY) for i in range(n)))
        floor.close()
        return out

    return asyncio.run(go())


if __name__ == "__main__":
    main({"sequence": sequence, "parallel": parallel})
