"""What goes from every store, and what stays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from orchestrator.journal.errors import NoSuchRun, SchemaNewer, SchemaOlder, UnknownBlob, UnknownDriver
from orchestrator.journal.records import INLINE_BYTES
from orchestrator.journal.store import Projection, RunFilter
from orchestrator.jsonish import canonical, digest
from orchestrator.stores import StoreSettings, open_store
from orchestrator.stores.migrations import LATEST, Migration, all_migrations
from tests.contract.build import LEASE, after, driver, first, held, mail, new_run, piece

if TYPE_CHECKING:
    from orchestrator.clock import ManualClock
    from orchestrator.journal.store import Slice, Store

pytestmark = pytest.mark.anyio

DAY = 86_400.0


async def ended(store: Store, run_id: str, *bodies: dict[str, Any], status: str = "done", at: int = 10) -> Slice:
    """A run that has ended, with a ``done`` for each body."""
    begun = await held(store, run_id)
    over = Projection(status=status, finished_at=at)  # pyright: ignore[reportArgumentType]
    kinds = ["done"] * len(bodies) + ["run_finished"]
    last = after(begun, kinds, bodies=[*bodies, {"status": status}], projection=over, release=True)
    await store.commit([last])
    return last


# --- runs ---


async def test_a_run_goes_whole(store: Store) -> None:
    begun = await held(store, "r1")
    await store.send(mail("r1"))
    over = Projection(status="done", finished_at=10)
    await store.commit([after(begun, ["answered", "run_finished"], consumed=(("q1", 2),), projection=over)])
    await ended(store, "r2")
    assert await store.delete_runs(["r1", "nobody"], ended_before=11) == ["r1"]
    for call in (store.get_run, store.load, store.rows):
        with pytest.raises(NoSuchRun):
            await call("r1")
    assert await store.settle([("r1", 1), ("r2", 1)]) | {"r2": ""} == {"r1": None, "r2": ""}
    assert [run.run_id for run in await store.list_runs()] == ["r2"]
    again = first("r1")
    await store.commit([again])
    assert await store.send(mail("r1", by="someone else")) == mail("r1", by="someone else")


async def test_a_long_run_goes_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.stores.server_upkeep.DELETED_AT_ONCE", 7)
    await ended(store, "r1", *[{"n": n} for n in range(20)])
    assert await store.delete_runs(["r1"], ended_before=11) == ["r1"]
    await store.commit([first("r1")])
    assert len(await store.rows("r1")) == 1


@pytest.mark.parametrize("status", ["queued", "running", "waiting", "paused"])
async def test_a_run_that_goes_on_stays(store: Store, status: str) -> None:
    begun = await held(store, "r1")
    # What an earlier end left behind does not count.
    stands = Projection(status=status, finished_at=1)  # pyright: ignore[reportArgumentType]
    await store.commit([after(begun, ["resumed"], projection=stands)])
    assert await store.delete_runs(["r1"], ended_before=2**60) == []
    assert (await store.get_run("r1")).head == 2


@pytest.mark.parametrize("status", ["done", "failed", "limited", "cancelled"])
async def test_a_run_goes_once_it_is_old_enough(store: Store, status: str) -> None:
    await ended(store, "r1", status=status, at=10)
    assert await store.delete_runs(["r1"], ended_before=10) == []
    assert await store.delete_runs(["r1"], ended_before=11) == ["r1"]


async def test_a_child_stays_until_its_root_has_ended(store: Store) -> None:
    root = await held(store, "root")
    begun = first("child", new=replace(new_run("child", owner="me", parent_id="root"), root_id="root"))
    over = Projection(status="done", finished_at=10)
    await store.commit([begun])
    await store.commit([after(begun, ["run_finished"], projection=over)])
    assert await store.delete_runs(["child"], ended_before=11) == []
    await store.commit([after(root, ["run_finished"], projection=over)])
    assert await store.delete_runs(["root", "child"], ended_before=11) == ["root", "child"]


async def test_a_run_that_is_taken_up_again_stays(store: Store) -> None:
    await ended(store, "r1")
    outcome: list[object] = []

    async def take() -> None:
        try:
            outcome.append((await store.claim("r1", "me", explicit=True)).epoch)
        except NoSuchRun:
            outcome.append(None)

    async def remove() -> None:
        outcome.append(await store.delete_runs(["r1"], ended_before=11))

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        group.start_soon(remove)
    there = [run.run_id for run in await store.list_runs()]
    assert (there, outcome.count([]), outcome.count(2)) in ((["r1"], 1, 1), ([], 0, 0))


async def test_what_has_ended_before(store: Store) -> None:
    for n in range(3):
        await ended(store, f"r{n}", at=10 + n, status="failed" if n == 1 else "done")
    await held(store, "r9")

    async def listed(**chosen: Any) -> list[str]:
        return sorted(run.run_id for run in await store.list_runs(RunFilter(**chosen)))

    assert await listed(ended_before=12) == ["r0", "r1"]
    assert await listed(ended_before=100) == ["r0", "r1", "r2"]
    assert await listed(ended_before=100, status=("failed",)) == ["r1"]
    assert await listed(ended_before=10) == []


# --- blobs ---


async def test_a_blob_that_nothing_names_goes_after_a_while(store: Store, clock: ManualClock) -> None:
    names = await store.put_blobs([b"old", b"touched", b"x" * 3_000_000])
    clock.advance(DAY)
    assert (await store.sweep_blobs(age=DAY)).names == ()
    await store.touch([names[1]])
    clock.advance(1)
    before = await store.sweep_blobs(age=DAY, dry_run=True)
    assert await store.held_blobs([*names, "0" * 64]) == set(names)
    swept = await store.sweep_blobs(age=DAY)
    assert swept == before
    assert set(swept.names) == {names[0], names[2]}
    assert swept.size > 0
    assert await store.held_blobs(names) == {names[1]}
    with pytest.raises(UnknownBlob):
        await store.get_blob(names[2])
    assert await store.put_blobs([b"old"]) == [names[0]]
    assert await store.get_blob(names[0]) == b"old"
    assert await store.sweep_blobs(age=DAY) == await store.sweep_blobs(age=DAY, dry_run=True)


async def test_a_blob_stays_as_long_as_a_run_names_it(store: Store, clock: ManualClock) -> None:
    long = {"text": "y" * (INLINE_BYTES + 1)}
    graph, shared, own, deep = await store.put_blobs([b"graph", b"shared", b"own", b"named in a long body"])
    deeper = {"file": {"$file": deep}, **long}
    await ended(store, "r1", {"graph": graph, "files": [shared]}, {"overflow": own}, long)
    await ended(store, "r2", {"graph": graph, "files": {"a": {"$file": shared}}}, deeper)
    mine = {graph, shared, own, deep, digest(canonical(long)), digest(canonical(deeper))}
    clock.advance(2 * DAY)
    assert (await store.sweep_blobs(age=DAY)).names == ()
    assert set((await store.sweep_blobs(age=DAY, without=["r1"], dry_run=True)).names) == {own, digest(canonical(long))}
    assert await store.delete_runs(["r1"], ended_before=11) == ["r1"]
    assert set((await store.sweep_blobs(age=DAY)).names) == {own, digest(canonical(long))}
    assert [record.kind for record in await store.load("r2")] == ["run_started", "done", "done", "run_finished"]
    assert await store.delete_runs(["r2"], ended_before=11) == ["r2"]
    assert set((await store.sweep_blobs(age=DAY)).names) == {graph, shared, deep, digest(canonical(deeper))}
    assert await store.held_blobs(mine) == set()


async def test_a_blob_stays_that_waits_in_an_inbox(store: Store, clock: ManualClock) -> None:
    (name,) = await store.put_blobs([b"evidence"])
    await store.commit([first("r1")])
    await store.send(mail("r1", file={"$file": name}))
    clock.advance(2 * DAY)
    assert (await store.sweep_blobs(age=DAY)).names == ()
    assert (await store.sweep_blobs(age=DAY, without=["r1"])).names == (name,)


async def test_names_are_found_on_every_page(store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.stores.server_upkeep.ROWS_AT_ONCE", 3)
    for module in ("server_upkeep", "sqlite_upkeep"):
        monkeypatch.setattr(f"orchestrator.stores.{module}.NAMES_AT_ONCE", 2)
    names = await store.put_blobs([bytes([n]) for n in range(24)])
    for n in range(4):
        begun = first(f"r{n}")
        await store.commit([begun])
        bodies = [{"file": name} for name in names[5 * n : 5 * n + 5]]
        await store.commit([piece(f"r{n}", ["done"] * 5, head=1, base_sum=begun.head_sum, bodies=bodies)])
        await store.send(mail(f"r{n}", "q", file=names[20 + n]))
    stray = await store.put_blobs([bytes([100 + n]) for n in range(5)])
    clock.advance(2 * DAY)
    assert set((await store.sweep_blobs(age=DAY)).names) == set(stray)
    assert await store.held_blobs([*names, *stray]) == set(names)


async def test_blobs_that_come_back_while_they_go(store: Store, clock: ManualClock) -> None:
    contents = [bytes([n]) * 50 for n in range(60)]
    names = await store.put_blobs(contents)
    clock.advance(2 * DAY)
    kept: list[str] = []

    async def put_again() -> None:
        for content in contents[::3]:
            kept.extend(await store.put_blobs([content]))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(put_again)
        group.start_soon(lambda: store.sweep_blobs(age=DAY))
    assert await store.held_blobs(names) == set(kept)
    for name in kept:
        assert digest(await store.get_blob(name)) == name


# --- drivers ---


async def test_a_driver_is_forgotten_once_it_holds_nothing_and_is_long_gone(store: Store, clock: ManualClock) -> None:
    await held(store, "r1", "holds")
    for name in ("gone", "lives"):
        await store.register_driver(driver(name), LEASE)
    clock.advance(DAY + LEASE)
    assert await store.forget_drivers(age=DAY) == 0
    await store.renew("lives", LEASE)
    clock.advance(1)
    assert await store.forget_drivers(age=DAY) == 1
    with pytest.raises(UnknownDriver):
        await store.renew("gone", LEASE)
    kept = [await store.owner(name) for name in ("holds", "lives", "gone")]
    assert [row is not None for row in kept] == [True, True, False]
    await store.release("holds")
    await store.register_driver(driver("gone"), LEASE)
    clock.advance(2 * DAY)
    assert await store.forget_drivers(age=DAY) == 2
    assert (await store.get_run("r1")).owner is None


# --- tables ---

MORE = Migration(LATEST + 1, "more", "CREATE INDEX {prefix}runs_root ON {prefix}runs (root_id);\n")


async def test_older_tables_are_refused_until_they_are_brought_up_to_date(
    store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``memory:`` has no tables: it is always up to date."""
    begun = await held(store, "r1")
    prefix = "" if store_url == "memory:" else store._sql.prefix  # pyright: ignore[reportAttributeAccessIssue]
    for module in ("schema", "server_schema", "postgres", "mysql"):
        monkeypatch.setattr(f"orchestrator.stores.{module}.all_migrations", lambda: (*all_migrations(), MORE))
        monkeypatch.setattr(f"orchestrator.stores.{module}.LATEST", MORE.version)
    later = open_store(store_url, settings=StoreSettings(table_prefix=prefix))
    if store_url != "memory:":
        with pytest.raises(SchemaOlder):
            await later.open()
    await later.open(create=False, older=True)
    assert await later.migrate() == ([] if store_url == "memory:" else [MORE.version])
    assert await later.migrate() == []
    await later.aclose()
    await later.open()
    assert await later.check() == []
    if store_url != "memory:":
        assert (await later.get_run("r1")).head_sum == begun.head_sum
    await later.aclose()
    monkeypatch.undo()
    if store_url != "memory:":
        # What is newer than the program is left alone; the test of the store ends with tables that it knows.
        with pytest.raises(SchemaNewer):
            await open_store(store_url, settings=StoreSettings(table_prefix=prefix)).open(older=True)
        await forget_last_version(store)


async def forget_last_version(store: Any) -> None:
    statement = f"DELETE FROM {store._sql.prefix}schema_version WHERE version = {MORE.version}"
    if store.name.startswith("sqlite"):
        await store._write(lambda: store._db.execute(statement))
    else:
        async with store.pool.session() as session:
            await session.run(statement)
