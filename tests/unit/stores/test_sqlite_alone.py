"""Commits for which nothing else waits: in the caller's thread, unless that would take long."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import pytest

from orchestrator.journal.errors import Conflict
from orchestrator.stores import sqlite
from tests.contract.build import after, first
from tests.unit.stores.test_sqlite import opened

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.stores.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


def threads_of(store: SqliteStore) -> list[int]:
    """Threads in which transactions begin from now on."""
    found: list[int] = []
    store._db.raw.set_trace_callback(
        lambda statement: found.append(threading.get_ident()) if statement.startswith("BEGIN") else None
    )
    return found


async def test_a_commit_that_is_alone_needs_no_other_thread(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/runs.db") as store:
        threads = threads_of(store)
        begun = first("r")
        await store.commit([begun], alone=True)
        await store.commit([after(begun, ["done"])])
        assert threads[0] == threading.get_ident()
        assert threads[1] != threading.get_ident()
        with pytest.raises(Conflict):
            await store.commit([begun], alone=True)
        assert [record.seq for record in await store.load("r")] == [1, 2]


async def test_the_lock_of_another_program_is_waited_for_in_the_writers_thread(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/runs.db") as store:
        threads = threads_of(store)
        begun = first("r")
        with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: store.commit([begun], alone=True))
                while len(threads) < 2:  # the loop goes on meanwhile
                    await anyio.lowlevel.checkpoint()
                other.execute("ROLLBACK")
        assert threads == [threading.get_ident(), threads[1]]
        assert threads[1] != threads[0]
        # For a while it is not tried here again; then it is, and waits as long as ever where it has to.
        second = after(begun, ["done"])
        await store.commit([second], alone=True)
        assert threads[2] == threads[1]
        assert await store._write(lambda: store._db.one("PRAGMA busy_timeout")) == (30_000,)
        store._here_again = 0.0
        await store.commit([after(second, ["done"])], alone=True)
        assert threads[3] == threading.get_ident()
        assert [record.seq for record in await store.load("r")] == [1, 2, 3]


async def test_after_a_slow_commit_they_go_to_the_writers_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LONGEST_HERE", 0.0)
    async with opened(f"sqlite:///{tmp_path}/runs.db") as store:
        threads = threads_of(store)
        begun = first("r")
        await store.commit([begun], alone=True)
        await store.commit([after(begun, ["done"])], alone=True)
        assert threads[0] == threading.get_ident()
        assert threads[1] != threading.get_ident()


async def test_what_the_writers_thread_has_to_do_comes_first(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/runs.db") as store:
        threads = threads_of(store)
        gate = threading.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(store._write, gate.wait)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(lambda: store.commit([first("r")], alone=True))
            await anyio.wait_all_tasks_blocked()
            assert threads == []
            gate.set()
        assert len(threads) == 1
        assert threading.get_ident() not in threads
