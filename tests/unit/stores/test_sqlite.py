"""What is SQLite's own: its file, its errors, its statements."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest

from orchestrator.clock import ManualClock
from orchestrator.errors import Exit
from orchestrator.journal.errors import (
    BadData,
    Conflict,
    Damaged,
    NoDatabase,
    NotADatabase,
    SchemaIncomplete,
    SchemaNewer,
    SchemaOlder,
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreLocked,
    StoreNotWritable,
    UnknownBlob,
)
from orchestrator.journal.store import Projection
from orchestrator.stores import StoreSettings, open_store
from orchestrator.stores.sqlite import SqliteStore
from orchestrator.stores.statements import TABLES
from tests.contract.build import LEASE, after, driver, first, held, mail, piece

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(url: str, *, create: bool = True, busy: float = 30.0, prefix: str = "") -> AsyncIterator[SqliteStore]:
    settings = StoreSettings(busy_timeout=busy, table_prefix=prefix)
    store = open_store(url, settings=settings, clock=ManualClock(1000))
    assert isinstance(store, SqliteStore)
    await store.open(create=create)
    try:
        yield store
        assert not store._db.in_transaction
        assert not store._reader.in_transaction
    finally:
        await store.aclose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def looked_at(path: Path, *statements: str) -> list[object]:
    """What another program finds, or does, in the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        return [row for statement in statements for row in other.execute(statement).fetchall()]


def read(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def exists(path: Path) -> bool:
    return path.exists()


# --- the file ---


async def test_the_file_its_folder_and_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "c#d?é.db"
    async with opened(f"sqlite:{str(path).replace('?', '%3F')}") as store:
        await held(store, "r1")
        pragmas = [store._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert pragmas == ["wal", 2]
        with pytest.raises(StoreNotWritable):
            store._reader.execute("DELETE FROM runs")
    assert sorted(item.name for item in path.parent.iterdir()) == [path.name]
    assert looked_at(path, "PRAGMA auto_vacuum", "PRAGMA journal_mode") == [(2,), ("wal",)]


async def test_what_was_written_is_there_afterwards(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        await store.commit([after(begun, ["done"], bodies=[{"x": "y" * 100_000}])])
    async with opened(f"sqlite:{path}", create=False) as store:
        assert len((await store.load("r1"))[1].body["x"]) == 100_000


async def test_nothing_is_made_where_nothing_was_asked_for(path: Path) -> None:
    with pytest.raises(NoDatabase):
        async with opened(f"sqlite:{path}", create=False):
            pass
    with pytest.raises(NoDatabase):
        async with opened(f"sqlite:{path}?mode=rw"):
            pass
    assert not exists(path)


async def test_read_only(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
    async with opened(f"sqlite:{path}?mode=ro") as store:
        assert (await store.get_run("r1")).head == 1
        for call in (store.commit([after(begun, ["done"])]), store.send(mail("r1")), store.put_blobs([b"x"])):
            with pytest.raises(StoreNotWritable) as caught:
                await call
            assert caught.value.exit == Exit.STORE


@pytest.mark.parametrize("place", ["/proc/nowhere/x.db", "/dev/null/x.db", "{}/taken/x.db", "{}"])
async def test_places_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreNotWritable, match="not writable"):
        async with opened(f"sqlite:{place.format(tmp_path)}"):
            pass


@pytest.mark.parametrize(
    "content", [b"This is a text, and a long one. " * 40, b"\0" * 4096, b"SQLite format 3\0" * 300]
)
async def test_files_that_are_something_else(content: bytes, path: Path) -> None:
    write(path, content)
    with pytest.raises((NotADatabase, StoreDamaged)) as caught:
        async with opened(f"sqlite:{path}"):
            pass
    assert str(path) in str(caught.value)
    assert read(path) == content


async def test_a_full_disk(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 3}")
        bulky = after(begun, ["done"] * 8, bodies=[{"x": os.urandom(9000).hex()}] * 8)
        with pytest.raises(StoreFull, match="no room is left"):
            await store.commit([bulky])
        assert len(await store.load("r1")) == 1
        store._db.execute("PRAGMA max_page_count = 100000")
        await store.commit([bulky])
        assert len(await store.load("r1")) == 9


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Another program holds the write lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


async def test_locked_by_another_program(path: Path) -> None:
    async with opened(f"sqlite:{path}", busy=0.05) as store:
        begun = await held(store, "r1")
        async with locked(path):
            with pytest.raises(StoreLocked, match=r"locked by another program for 0\.05 s") as caught:
                await store.commit([after(begun, ["done"])])
            assert (caught.value.exit, len(await store.load("r1"))) == (Exit.STORE, 1)
        await store.commit([after(begun, ["done"])])


async def test_a_lock_is_waited_for_in_vain_once(path: Path) -> None:
    async with opened(f"sqlite:{path}", busy=0.3) as store:
        begun = await held(store, "r1")
        patience = [await store._write(lambda: store._db.one("PRAGMA busy_timeout"))]
        async with locked(path):
            with pytest.raises(StoreLocked):
                await store.commit([after(begun, ["done"])])
            patience.append(await store._write(lambda: store._db.one("PRAGMA busy_timeout")))
            with pytest.raises(StoreLocked):
                await store.release("nobody")
        await store.commit([after(begun, ["done"])])
        patience.append(await store._write(lambda: store._db.one("PRAGMA busy_timeout")))
        assert patience == [(300,), (200,), (300,)]


async def test_who_only_reads_waits_for_no_lock(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        await held(store, "r1")
    async with locked(path), opened(f"sqlite:{path}", create=False, busy=0) as store:
        assert [row.run_id for row in await store.list_runs()] == ["r1"]


async def test_a_lock_that_ends_in_time_is_waited_for(path: Path) -> None:
    async with opened(f"sqlite:{path}", busy=20) as store:
        begun = await held(store, "r1")
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        ending = threading.Timer(0.1, other.close)
        ending.start()
        await store.commit([after(begun, ["done"])])
        ending.join()
        assert (await store.get_run("r1")).head == 2


async def test_the_url_says_how_long_to_wait(path: Path) -> None:
    async with opened(f"sqlite:{path}"), opened(f"sqlite:{path}?timeout=0.01") as store, locked(path):
        with pytest.raises(StoreLocked, match=r"0\.01 s"):
            await store.put_blobs([b"x"])


async def test_an_old_library(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 37, 2))
    with pytest.raises(StoreFailed, match="too old"):
        async with opened(f"sqlite:{path}"):
            pass


# --- the tables ---


async def test_newer_older_and_incomplete_tables(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(f"sqlite:{path}"):
        pass
    looked_at(path, "INSERT INTO schema_version VALUES (3, 'x', 0)")
    with pytest.raises(SchemaNewer, match="version 3"):
        async with opened(f"sqlite:{path}"):
            pass
    looked_at(path, "DELETE FROM schema_version WHERE version = 3")
    monkeypatch.setattr("orchestrator.stores.schema.LATEST", 3)
    with pytest.raises(SchemaOlder):
        async with opened(f"sqlite:{path}"):
            pass
    monkeypatch.undo()
    looked_at(path, "DROP TABLE inbox")
    with pytest.raises(SchemaIncomplete, match="table inbox"):
        async with opened(f"sqlite:{path}"):
            pass
    looked_at(path, "DROP TABLE schema_version")
    with pytest.raises(SchemaIncomplete, match="inbox, table schema_version"):
        async with opened(f"sqlite:{path}"):
            pass


async def test_a_table_that_goes_while_the_store_is_open(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        looked_at(path, "DROP TABLE inbox")
        with pytest.raises(SchemaIncomplete, match="table inbox"):
            await store.pending("r1")


async def test_the_check_finds_what_is_wrong(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        assert await store.check() == []
        looked_at(
            path,
            "ALTER TABLE runs DROP COLUMN claims",
            "UPDATE schema_version SET checksum = 'x'",
            "PRAGMA writable_schema = ON",
        )
        assert await store.check() == [
            "schema version 1 was made by other statements than this program's",
            "schema version 2 was made by other statements than this program's",
            "table runs lacks the column claims",
        ]
    looked_at(path, "PRAGMA journal_mode = DELETE")
    async with opened(f"sqlite:{path}?mode=ro") as store:
        assert (await store.check())[-1] == "journal_mode is not WAL"


async def test_a_damaged_page(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        await store.commit([after(begun, ["done"] * 200, bodies=[{"x": "y" * 500}] * 200)])
    data = bytearray(read(path))
    for page in range(20, len(data) // 4096, 2):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    write(path, bytes(data))
    async with opened(f"sqlite:{path}") as store:
        with pytest.raises((StoreDamaged, Damaged)) as caught:
            await store.load("r1")
        assert caught.value.exit == Exit.MISMATCH
        assert any("integrity" in problem for problem in await store.check())


async def test_the_printed_statements_make_the_same_tables(path: Path, tmp_path: Path) -> None:
    async with opened(f"sqlite:{path}", prefix="orch_") as store:
        ddl = store.ddl()
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.executescript(ddl)
    async with opened(f"sqlite:{other}", create=False, prefix="orch_") as store:
        await held(store, "r1")
    schema = "SELECT name, sql FROM sqlite_master WHERE name LIKE 'orch%' ORDER BY name"
    assert looked_at(path, schema) == looked_at(other, schema) != []


async def test_two_prefixes_share_a_file(path: Path) -> None:
    async with opened(f"sqlite:{path}", prefix="a_") as one, opened(f"sqlite:{path}", prefix="b_") as two:
        await held(one, "r1")
        await held(two, "r1")
    assert len(looked_at(path, "SELECT name FROM sqlite_master WHERE type = 'table'")) == 2 * len(TABLES)


BOOT = """
import asyncio, sys
from orchestrator.stores import open_store
async def main():
    store = open_store(sys.argv[1])
    sys.stdin.readline()
    await store.open()
    print(len(await store.list_runs()), await store.check())
    await store.aclose()
asyncio.run(main())
"""


async def test_ten_processes_boot_at_once(path: Path) -> None:
    booting = [
        subprocess.Popen(  # noqa: ASYNC220 - the test is about processes, and waits for nothing else
            [sys.executable, "-c", BOOT, f"sqlite:{path}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(10)
    ]
    ended = [process.communicate("go\n", timeout=25) for process in booting]
    assert ended == [("0 []\n", "")] * 10
    assert looked_at(path, "SELECT version FROM schema_version", "PRAGMA auto_vacuum") == [(1,), (2,), (2,)]


# --- damage ---


@pytest.mark.parametrize(
    ("damage", "seq"),
    [
        ("DELETE FROM journal WHERE seq = 3", 3),
        ("DELETE FROM journal WHERE seq = 1", 1),
        ("DELETE FROM journal WHERE seq = 5", 5),
        ("UPDATE journal SET body = CAST('{\"n\":9}' AS BLOB) WHERE seq = 2", 2),
        ("UPDATE journal SET kind = 'failed' WHERE seq = 4", 4),
        ("UPDATE journal SET path = 'b' WHERE seq = 4", 4),
        ("UPDATE journal SET at = at + 1 WHERE seq = 4", 4),
        ("UPDATE journal SET epoch = 2 WHERE seq = 4", 4),
        ("UPDATE journal SET body = NULL WHERE seq = 5", 5),
        ("UPDATE journal SET sum = 'x' WHERE seq = 5", 5),
        ("UPDATE runs SET head_sum = 'x'", 5),
        ("UPDATE runs SET head = 6", 6),
    ],
)
async def test_a_journal_that_was_tampered_with(path: Path, damage: str, seq: int) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        await store.commit([after(begun, ["started", "done", "started", "done"])])
        looked_at(path, damage)
        with pytest.raises(Damaged) as caught:
            await store.load("r1")
        assert (caught.value.exit, caught.value.seq) == (Exit.MISMATCH, seq)
        assert len(await store.rows("r1")) >= 4


async def test_a_load_from_the_middle_sees_the_row_before(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        await store.commit([after(begun, ["started", "done"])])
        assert [record.seq for record in await store.load("r1", from_seq=3)] == [3]
        looked_at(path, "DELETE FROM journal WHERE seq = 2")
        assert [record.seq for record in await store.load("r1", verify=False)] == [1, 3]
        with pytest.raises(Damaged):
            await store.load("r1", from_seq=3)
        with pytest.raises(Damaged):
            await store.load("r1", from_seq=2)


@pytest.mark.parametrize("damage", ["DELETE FROM blobs", "UPDATE blobs SET body = x'00'"])
async def test_a_blob_that_was_tampered_with(path: Path, damage: str) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        await store.commit([after(begun, ["done"], bodies=[{"x": "y" * 100_000}])])
        looked_at(path, damage)
        with pytest.raises(UnknownBlob) as caught:
            await store.load("r1")
        assert caught.value.exit == Exit.MISMATCH


# --- commits ---


async def test_a_commit_is_two_statements(path: Path) -> None:
    seen: list[str] = []
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        other = await held(store, "r2")
        store._db.raw.set_trace_callback(seen.append)
        second = after(begun, ["done", "started"], projection=Projection(spend=3, status="running"))
        await store.commit([second])
        assert [text.split()[0] for text in seen] == ["BEGIN", "UPDATE", "INSERT", "COMMIT"]
        seen.clear()
        await store.commit([after(second, ["done"] * 500), after(other, ["done"])])
        assert [text.split()[0] for text in seen] == ["BEGIN", "UPDATE", "UPDATE", "INSERT", "COMMIT"]


@pytest.mark.parametrize("at", [2**63, "soon\ud800", b"x" * 10, object()])
async def test_values_that_sqlite_refuses(path: Path, at: object) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun, other = await held(store, "r1"), await held(store, "r2")
        bad = Projection(finished_at=at, status="done")  # pyright: ignore[reportArgumentType]
        part = after(begun, ["done"], projection=bad)
        if isinstance(at, bytes):
            part = after(begun, ["done"], projection=Projection(status=None))  # pyright: ignore[reportArgumentType]
        with pytest.raises(BadData) as caught:
            await store.commit([after(other, ["done"]), part])
        assert caught.value.run_id == "r1"
        assert (await store.get_run("r2")).head == 1


async def test_a_row_that_sqlite_refuses(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        with pytest.raises(BadData):
            await store.commit([piece("r1", ["done"], epoch=1, head=1, base_sum=begun.head_sum, at=2**63)])


async def test_a_taken_seq_is_a_conflict(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        await store.commit([after(begun, ["done"])])
        looked_at(path, "UPDATE runs SET head = 1")
        with pytest.raises(Conflict):
            await store.commit([after(begun, ["done"])])


async def test_reads_do_not_wait_for_a_write(path: Path) -> None:
    async with opened(f"sqlite:{path}", busy=20) as store:
        begun = await held(store, "r1")
        async with locked(path):
            writing = asyncio.ensure_future(store.commit([after(begun, ["done"])]))
            assert (await store.get_run("r1")).head == 1
            assert len(await store.load("r1")) == 1
            assert await store.pending("r1") == []
            assert not writing.done()
        await writing
        assert (await store.get_run("r1")).head == 2


async def test_a_cancelled_commit_leaves_a_working_connection(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        last = await held(store, "r1")
        for turn in range(30):
            task = asyncio.ensure_future(store.commit([after(last, ["done"])]))
            for _ in range(turn % 3):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await store.settle([("r1", 1)])
            assert not store._db.in_transaction
            run = await store.get_run("r1")
            last = piece("r1", [], epoch=1, head=run.head, base_sum=run.head_sum)
        assert len(await store.load("r1")) == run.head > 10


async def test_a_thousand_commits_have_a_thousand_ends(path: Path) -> None:
    async with opened(f"sqlite:{path}") as store:
        await store.register_driver(driver("me"), LEASE)
        await asyncio.gather(*(store.commit([first(f"r{n}")]) for n in range(50)))
        assert len(await store.list_runs()) == 50


# --- the connection ---


class Breaking(sqlite3.Connection):
    """A connection of the standard library that fails where it is told to."""

    fails: dict[str, tuple[int, str]] = {}  # noqa: RUF012 - the factory has no other way in

    def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:  # pyright: ignore[reportIncompatibleMethodOverride]
        word = next((start for start in self.fails if sql.startswith(start)), None)
        if word is None:
            return super().execute(sql, parameters)  # pyright: ignore[reportArgumentType]
        code, text = self.fails.pop(word)
        if text == "landed":
            super().execute(sql)
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = code
        raise error


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[int, str]]]:
    real = sqlite3.connect
    monkeypatch.setattr("sqlite3.connect", lambda *args, **more: real(*args, factory=Breaking, **more))
    Breaking.fails = {}
    yield Breaking.fails
    assert not Breaking.fails, "it did not fail where it should"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (sqlite3.SQLITE_FULL, StoreFull),
        (sqlite3.SQLITE_BUSY, StoreLocked),
        (sqlite3.SQLITE_READONLY, StoreNotWritable),
        (sqlite3.SQLITE_CORRUPT, StoreDamaged),
        (sqlite3.SQLITE_NOTADB, NotADatabase),
        (sqlite3.SQLITE_NOMEM, StoreError),
        (sqlite3.SQLITE_INTERNAL, StoreFailed),
    ],
)
async def test_a_commit_that_fails_leaves_no_transaction(
    path: Path, breaking: dict[str, tuple[int, str]], code: int, error: type[StoreError]
) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        breaking["COMMIT"] = (code, "broken")
        with pytest.raises(error):
            await store.commit([after(begun, ["done"])])
        assert not store._db.in_transaction
        await store.commit([after(begun, ["done"])])
        assert (await store.get_run("r1")).head == 2


@pytest.mark.parametrize("landed", ["landed", "lost"])
async def test_a_commit_whose_end_is_not_known(path: Path, breaking: dict[str, tuple[int, str]], landed: str) -> None:
    from orchestrator.journal.errors import Unknown

    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        part = after(begun, ["done"])
        breaking["COMMIT"] = (sqlite3.SQLITE_IOERR_FSYNC, landed)
        with pytest.raises(Unknown):
            await store.commit([part])
        found = await store.settle([("r1", 2)])
        assert found == {"r1": part.nonce if landed == "landed" else None}
        if landed == "lost":
            await store.commit([part])
        assert (await store.get_run("r1")).head == 2


@pytest.mark.parametrize("landed", ["landed", "lost"])
async def test_what_may_be_done_twice_is_done_again(
    path: Path, breaking: dict[str, tuple[int, str]], landed: str
) -> None:
    async with opened(f"sqlite:{path}") as store:
        await store.commit([first("r1")])
        await store.register_driver(driver("me"), LEASE)
        breaking["COMMIT"] = (sqlite3.SQLITE_IOERR, landed)
        claimed = await store.claim("r1", "me")
        assert (claimed.epoch, len(await store.rows("r1"))) == (1, 2)
        breaking["COMMIT"] = (sqlite3.SQLITE_IOERR, landed)
        await store.send(mail("r1"))
        assert len(await store.pending("r1")) == 1


async def test_a_failed_rollback_does_not_hide_its_cause(path: Path, breaking: dict[str, tuple[int, str]]) -> None:
    async with opened(f"sqlite:{path}") as store:
        begun = await held(store, "r1")
        breaking["INSERT"] = (sqlite3.SQLITE_FULL, "broken")
        breaking["ROLLBACK"] = (sqlite3.SQLITE_IOERR, "worse")
        with pytest.raises(StoreFull) as caught:
            await store.commit([after(begun, ["done"])])
        assert caught.value.__notes__ == ["and the rollback failed: worse"]
        await store.commit([after(begun, ["done"])])
        assert (await store.get_run("r1")).head == 2


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_PROTOCOL])
async def test_entering_wal_is_tried_again(path: Path, breaking: dict[str, tuple[int, str]], code: int) -> None:
    breaking["PRAGMA journal_mode"] = (code, "busy")
    async with opened(f"sqlite:{path}") as store:
        assert await store.check() == []


@pytest.mark.parametrize("statement", ["PRAGMA journal_mode", "PRAGMA synchronous"])
async def test_opening_that_fails_closes_what_it_opened(
    path: Path, breaking: dict[str, tuple[int, str]], statement: str
) -> None:
    breaking[statement] = (sqlite3.SQLITE_IOERR, "broken")
    with pytest.raises(StoreFailed, match="broken"):
        async with opened(f"sqlite:{path}"):
            pass
    async with opened(f"sqlite:{path}"):
        pass


async def test_a_listing_that_fails(path: Path, breaking: dict[str, tuple[int, str]]) -> None:
    async with opened(f"sqlite:{path}") as store:
        await held(store, "r1")
        breaking["SELECT r.run_id"] = (sqlite3.SQLITE_CORRUPT, "broken")
        with pytest.raises(StoreDamaged):
            await store.list_runs()
        assert len(await store.list_runs()) == 1


async def test_a_reading_that_fails_to_end(path: Path, breaking: dict[str, tuple[int, str]]) -> None:
    async with opened(f"sqlite:{path}") as store:
        await held(store, "r1")
        breaking["ROLLBACK"] = (sqlite3.SQLITE_IOERR, "broken")
        assert len(await store.load("r1")) == 1
        assert len(await store.load("r1")) == 1


async def test_entering_wal_waits_for_others(path: Path) -> None:
    async with opened(f"sqlite:{path}"):
        pass
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    ending = threading.Timer(0.05, other.close)
    ending.start()
    async with opened(f"sqlite:{path}", busy=20):
        ending.join()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreLocked):
            async with opened(f"sqlite:{path}", busy=0.03):
                pass
