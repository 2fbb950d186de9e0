"""The floor: what a step must cost that is recorded before the next one starts.

One INSERT per step and nothing else, awaited until it is committed; steps that wait at the same time share a commit. An
engine that records every step cannot be faster than this by much. Durability is as an engine's has to be:
``synchronous=FULL`` in WAL mode, and the servers as they are.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from benchmarks import measure
from benchmarks.measure import NAP, TOOL_RESULT, Place, Steps, crash_point, resumed, timed

if TYPE_CHECKING:
    from collections.abc import Sequence

DDL = "CREATE TABLE IF NOT EXISTS journal (run VARCHAR(64), step INTEGER, body TEXT, PRIMARY KEY (run, step))"
Row = tuple[str, int, str]


class Floor(Protocol):
    """A journal and no more."""

    async def open(self) -> None: ...
    async def append(self, *row: Any) -> None: ...
    async def load(self, run: str) -> Sequence[Any]: ...
    async def close(self) -> None: ...


class Sqlite:
    """One writer thread."""

    def __init__(self, place: Place) -> None:
        self._db = sqlite3.connect(str(place.sqlite_path), isolation_level=None, check_same_thread=False)
        self._queue: queue.SimpleQueue[tuple[Row, asyncio.Future[None]] | None] = queue.SimpleQueue()

    async def open(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(DDL)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            while not self._queue.empty() and (more := self._queue.get()) is not None:
                batch.append(more)
            if len(batch) == 1:
                self._db.execute("INSERT INTO journal VALUES (?, ?, ?)", first[0])
            else:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT INTO journal VALUES (?, ?, ?)", [row for row, _ in batch])
                self._db.execute("COMMIT")
            self._loop.call_soon_threadsafe(_settle, [future for _, future in batch])

    async def append(self, *row: Any) -> None:
        future = self._loop.create_future()
        self._queue.put((row, future))
        await future

    async def load(self, run: str) -> Sequence[Any]:
        return self._db.execute("SELECT step, body FROM journal WHERE run = ? ORDER BY step", (run,)).fetchall()

    async def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self._db.close()


class _Server(ABC):
    """One connection; the rows that wait are one statement, so one commit."""

    async def open(self) -> None:
        await self.connect()
        self._wake = asyncio.Event()
        self._batch: list[tuple[Row, asyncio.Future[None]]] = []
        self._task = asyncio.create_task(self._work())

    @abstractmethod
    async def connect(self) -> None:
        """Open the connection."""

    @abstractmethod
    async def insert(self, rows: list[Row]) -> None:
        """Insert the rows as one statement."""

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._batch = self._batch, []
            await self.insert([row for row, _ in batch])
            _settle([future for _, future in batch])

    async def append(self, *row: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        self._batch.append((row, future))
        self._wake.set()
        await future

    async def close(self) -> None:
        self._task.cancel()


class Postgres(_Server):
    """asyncpg, its statements prepared."""

    def __init__(self, place: Place) -> None:
        self._url = place.store

    async def connect(self) -> None:
        import asyncpg

        self._db = await asyncpg.connect(self._url)
        await self._db.execute(DDL)

    async def insert(self, rows: list[Row]) -> None:
        if len(rows) == 1:
            await self._db.execute("INSERT INTO journal VALUES ($1, $2, $3)", *rows[0])
            return
        columns = [list(column) for column in zip(*rows, strict=True)]
        await self._db.execute("INSERT INTO journal SELECT * FROM unnest($1::text[], $2::int[], $3::text[])", *columns)

    async def load(self, run: str) -> Sequence[Any]:
        return await self._db.fetch("SELECT step, body FROM journal WHERE run = $1 ORDER BY step", run)


class Mysql(_Server):
    """aiomysql."""

    def __init__(self, place: Place) -> None:
        self._where = urlsplit(place.store)

    async def connect(self) -> None:
        import aiomysql

        at = self._where
        self._db = await aiomysql.connect(
            host=at.hostname, port=at.port or 3306, user=at.username, password=at.password or "", db=at.path[1:],
            autocommit=True,
        )  # fmt: skip
        self._cursor = await self._db.cursor()
        await self._cursor.execute(DDL)

    async def insert(self, rows: list[Row]) -> None:
        values = ", ".join(["(%s, %s, %s)"] * len(rows))
        await self._cursor.execute(f"INSERT INTO journal VALUES {values}", [value for row in rows for value in row])

    async def load(self, run: str) -> Sequence[Any]:
        await self._cursor.execute("SELECT step, body FROM journal WHERE run = %s ORDER BY step", (run,))
        return await self._cursor.fetchall()

    async def close(self) -> None:
        await super().close()
        self._db.close()


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


def _floor(place: Place) -> Floor:
    if place.sqlite_path:
        return Sqlite(place)
    return Postgres(place) if place.store.startswith("postgres") else Mysql(place)


Body = "Callable[[Place, Floor, Steps], Coroutine[Any, Any, None]]"


def _run(body: Body, place: Place, steps: Steps) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        out: dict[str, Any] = {}
        floor = _floor(place)
        await floor.open()
        with timed(out):
            await body(place, floor, steps)
        await floor.close()
        return out

    return asyncio.run(main())


async def _step(floor: Floor, run: str, i: int, steps: Steps, nap: float = 0.0) -> None:
    steps.tick()
    if nap:
        await asyncio.sleep(nap)
    await floor.append(run, i, json.dumps({"i": i}))


async def _sequence(place: Place, floor: Floor, steps: Steps) -> None:
    done = await floor.load("run")
    for i in range(len(done), place.n):
        await _step(floor, "run", i, steps)


async def _parallel(place: Place, floor: Floor, steps: Steps) -> None:
    await asyncio.gather(*(_step(floor, "run", i, steps) for i in range(place.n)))


async def _naps(floor: Floor, run: str, steps: Steps) -> None:
    for i in range(10):
        await _step(floor, run, i, steps, NAP)


async def _runs(place: Place, floor: Floor, steps: Steps) -> None:
    await asyncio.gather(*(_naps(floor, f"run{k}", steps) for k in range(place.n)))


async def _turns(place: Place, floor: Floor, steps: Steps) -> None:
    """A model's reply and a tool's result per turn, each of them a row, committed before going on."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]

    async def add(message: dict[str, Any]) -> None:
        steps.tick()
        messages.append(message)
        await floor.append("run", len(messages), json.dumps(message))

    for turn in range(1, place.n + 1):
        call = {"id": f"c{turn}", "name": "look", "args": {"q": str(turn)}}
        await add({"role": "assistant", "tool_calls": [call]})
        await add({"role": "tool", "id": call["id"], "content": TOOL_RESULT})
    await add({"role": "assistant", "content": "ok"})


def _resume(place: Place) -> dict[str, Any]:
    steps = Steps()
    return _run(_sequence, place, steps) | resumed(steps, place.n)


if __name__ == "__main__":
    measure.main(
        {
            "w1": lambda place: _run(_sequence, place, Steps()),
            "w2": lambda place: _run(_turns, place, Steps()),
            "w3": lambda place: _run(_parallel, place, Steps()),
            "w4": lambda place: _run(_runs, place, Steps()),
            "crash": lambda place: _run(_sequence, place, Steps(crash_point(place.n))),
            "resume": _resume,
            "hello": lambda place: _run(_sequence, place, Steps()),
        }
    )
