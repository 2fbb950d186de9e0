"""The writer and its slices on a store in memory, and on one whose connection does what a test tells it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from orchestrator.clock import ManualClock
from orchestrator.journal.errors import (
    BadData,
    Conflict,
    Fenced,
    JournalWentBack,
    NoSuchRun,
    RunTaken,
    StoreFull,
    StoreUnavailable,
    Unknown,
)
from orchestrator.journal.records import Record
from orchestrator.journal.slices import RunHandle, Start
from orchestrator.journal.store import Projection
from orchestrator.journal.writer import Writer
from orchestrator.stores.memory import MemoryStore
from tests.contract.build import LEASE, driver, held, mail, new_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.journal.store import Slice

pytestmark = pytest.mark.anyio


class Told:
    """A run, and what the writer told of it."""

    def __init__(self, run_id: str, *, epoch: int = 1, head: int = 0, head_sum: str = "") -> None:
        self.heads: list[int] = []
        self.fenced: list[Fenced] = []
        self.errors: list[Exception] = []
        self.handle = RunHandle(
            run_id,
            epoch=epoch,
            head=head,
            head_sum=head_sum,
            on_committed=self.heads.append,
            on_fenced=self.fenced.append,
            on_error=self.errors.append,
        )

    def records(self, *bodies: dict[str, Any], kind: Any = "done") -> list[Record]:
        first = self.handle.tail + 1
        return [Record(seq, self.handle.epoch, kind, "a", body, 1) for seq, body in enumerate(bodies, first)]


class Scripted(MemoryStore):
    """A memory store that notes its batches, and whose next calls may end otherwise."""

    def __init__(self) -> None:
        super().__init__(clock=ManualClock(1))
        self.batches: list[list[tuple[str, int]]] = []
        self.sent: list[Slice] = []
        self.ends: list[Exception] = []
        self.settling: list[Exception] = []
        self.gate: anyio.Event | None = None

    async def commit(self, batch: Sequence[Slice], *, alone: bool = False) -> None:
        self.batches.append([(piece.run_id, len(piece.rows)) for piece in batch])
        self.sent += batch
        if self.gate is not None:
            await self.gate.wait()
        if self.ends:
            raise self.ends.pop(0)
        await super().commit(batch, alone=alone)

    async def settle(self, firsts: Sequence[tuple[str, int]]) -> dict[str, str | None]:
        if self.settling:
            raise self.settling.pop(0)
        return await super().settle(firsts)


@asynccontextmanager
async def writing(store: MemoryStore, **settings: Any) -> AsyncIterator[Writer]:
    clock = ManualClock(0)

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)
        await anyio.lowlevel.checkpoint()

    writer = Writer(store, clock, sleep=sleep, **settings)
    async with anyio.create_task_group() as group:
        group.start_soon(writer.run)
        yield writer
        await writer.idle()
        writer.stop()


async def told(store: MemoryStore, run_id: str) -> Told:
    begun = await held(store, run_id)
    return Told(run_id, head=1, head_sum=begun.head_sum)


@pytest.fixture
def store() -> Scripted:
    return Scripted()


async def test_a_run_from_its_first_record_to_its_end(store: Scripted) -> None:
    await store.register_driver(driver("me"), LEASE)
    run = Told("r1")
    async with writing(store) as writer:
        writer.append(run.handle, run.records({}, kind="run_started"), create=new_run("r1", owner="me"))
        writer.append(run.handle, run.records({"x": 1}), Projection(spend=3))
        assert (run.handle.head, run.handle.tail) == (0, 2)
        await writer.flush(run.handle)
        assert (run.handle.head, run.heads) == (2, [2])
        writer.append(run.handle, run.records({}, kind="run_finished"), Projection(status="done"), release=True)
        await writer.flush(run.handle)
        await writer.flush(run.handle)
    found = await store.get_run("r1")
    assert (found.status, found.spend, found.owner, found.head) == ("done", 3, None, 3)
    assert [record.kind for record in await store.load("r1")] == ["run_started", "done", "run_finished"]


async def test_runs_that_speak_at_once_share_a_batch(store: Scripted) -> None:
    runs = [await told(store, f"r{n}") for n in (2, 1, 0)]
    store.batches.clear()
    async with writing(store) as writer:
        for run in runs:
            writer.append(run.handle, run.records({}))
        await writer.idle()
        assert store.batches == [[("r0", 1), ("r1", 1), ("r2", 1)]]


async def test_what_comes_during_a_commit_gathers(store: Scripted) -> None:
    one, two = await told(store, "r1"), await told(store, "r2")
    store.batches.clear()
    store.gate = anyio.Event()
    async with writing(store) as writer:
        writer.append(one.handle, one.records({}))
        await anyio.lowlevel.checkpoint()
        for _ in range(3):
            writer.append(one.handle, one.records({}), Projection(spend=one.handle.tail))
            writer.append(two.handle, two.records({}, {}))
        store.gate.set()
        await writer.idle()
    assert store.batches == [[("r1", 1)], [("r1", 3), ("r2", 6)]]
    assert (one.heads, two.heads) == ([2, 5], [7])
    assert (await store.get_run("r1")).spend == 4


async def test_a_callback_appends_the_next_step(store: Scripted) -> None:
    run = await told(store, "r1")
    async with writing(store) as writer:

        def go_on(head: int) -> None:
            run.heads.append(head)
            if head < 5:
                writer.append(run.handle, run.records({}))

        run.handle.on_committed = go_on
        go_on(1)
        await writer.idle()
    assert run.heads == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("max_records", [1, 2, 3, 5, 100])
async def test_batches_have_a_limit_in_records(store: Scripted, max_records: int) -> None:
    runs = [await told(store, f"r{n}") for n in range(3)]
    await store.send(mail("r0", "early"))
    await store.send(mail("r0", "late"))
    store.batches.clear()
    async with writing(store, max_records=max_records) as writer:
        for run in runs:
            writer.append(
                run.handle,
                run.records(*[{}] * 7),
                Projection(spend=8),
                consumed=(("early", 2), ("late", 8)) if run is runs[0] else (),
                inbox=(mail("r1", f"from {run.handle.run_id}"),) if run is not runs[1] else (),
            )
        await writer.idle()
    for batch in store.batches:
        assert sum(count for _, count in batch) <= max_records
    assert [run.heads[-1] for run in runs] == [8, 8, 8]
    assert [(await store.get_run(f"r{n}")).spend for n in range(3)] == [8, 8, 8]
    assert await store.pending("r0") == []
    assert [row.request_id for row in await store.pending("r1")] == ["from r0", "from r2"]


async def test_batches_have_a_limit_in_bytes(store: Scripted) -> None:
    run, other = await told(store, "r1"), await told(store, "r2")
    store.batches.clear()
    async with writing(store, max_bytes=5000) as writer:
        writer.append(run.handle, run.records(*[{"x": "y" * 1500}] * 5))
        writer.append(other.handle, other.records({"x": "y" * 20_000}))
        writer.append(other.handle, other.records({}))
        await writer.idle()
    assert store.batches == [[("r1", 2)], [("r2", 1)], [("r1", 2), ("r2", 1)], [("r1", 1)]]
    assert (run.heads[-1], other.heads[-1]) == (6, 3)


async def test_bodies_that_are_blobs_travel_with_their_slice(store: Scripted) -> None:
    run = await told(store, "r1")
    async with writing(store) as writer:
        writer.append(run.handle, run.records({"x": "y" * 100_000}))
    assert (await store.load("r1"))[1].body == {"x": "y" * 100_000}


async def test_any_number_may_wait(store: Scripted) -> None:
    run = await told(store, "r1")
    store.gate = anyio.Event()
    over: list[str] = []

    async def wait(writer: Writer, what: str) -> None:
        await (writer.flush(run.handle) if what == "flush" else writer.idle())
        over.append(what)

    async with writing(store) as writer, anyio.create_task_group() as group:
        writer.append(run.handle, run.records({}))
        for what in ("flush", "idle", "flush", "idle"):
            group.start_soon(wait, writer, what)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        assert over == []
        store.gate.set()
    assert sorted(over) == ["flush", "flush", "idle", "idle"]


# --- wrong use ---


async def test_wrong_records_are_refused_and_nothing_is_taken(store: Scripted) -> None:
    run = await told(store, "r1")
    async with writing(store) as writer:
        right = run.records({})[0]
        for seq, epoch in ((1, 1), (3, 1), (2, 2), (2, 0)):
            with pytest.raises(ValueError, match="is next"):
                writer.append(run.handle, [Record(seq, epoch, right.kind, "a", {}, 1)])
        with pytest.raises(ValueError, match="not JSON compliant"):
            writer.append(run.handle, run.records({}, {"x": float("nan")}))
        with pytest.raises(ValueError, match="without records"):
            writer.append(run.handle, [], consumed=(("q", 2),))
        with pytest.raises(ValueError, match="starts with a record"):
            writer.append(run.handle, [right], coupled=(Start(new=new_run("c"), records=()),))
        assert run.handle.tail == 1
        writer.append(run.handle, [right])
    assert run.heads == [2]


# --- ends that are not good ---


@pytest.mark.parametrize("error", [Unknown(), Conflict(), StoreUnavailable("x", reason="y")])
async def test_what_did_not_land_is_sent_again_unchanged(store: Scripted, error: Exception) -> None:
    run = await told(store, "r1")
    store.sent.clear()
    store.ends = [error]
    async with writing(store) as writer:
        writer.append(run.handle, run.records({}))
        await anyio.lowlevel.checkpoint()
        writer.append(run.handle, run.records({}))
        await writer.idle()
        assert writer.away is None
    assert store.sent[0] is store.sent[1]
    assert run.heads == [2, 3]


async def test_the_store_away_is_waited_for(store: Scripted) -> None:
    run = await told(store, "r1")
    store.ends = [StoreUnavailable("x", reason="y")] * 12
    store.settling = [StoreUnavailable("x", reason="y")]
    async with writing(store) as writer:
        writer.append(run.handle, run.records({}))
        for _ in range(8):
            await anyio.lowlevel.checkpoint()
        assert writer.away is not None
        await writer.idle()
        assert writer.away is None
    assert (run.heads, run.errors) == ([2], [])


@pytest.mark.parametrize("error", [Unknown(), StoreUnavailable("x", reason="y")])
async def test_patience_has_an_end(store: Scripted, error: Exception) -> None:
    run, other = await told(store, "r1"), await told(store, "r2")
    store.ends = [error] * 1000
    store.settling = [StoreUnavailable("x", reason="y")] * 1000
    async with writing(store, patience=60.0) as writer:
        writer.append(run.handle, run.records({}))
        await anyio.lowlevel.checkpoint()
        writer.append(other.handle, other.records({}))
        await writer.idle()
        with pytest.raises(StoreUnavailable):
            await writer.flush(run.handle)
        writer.append(run.handle, run.records({}))
        store.ends, store.settling = [], []
        await writer.idle()
    for which in (run, other):
        assert [type(told_) for told_ in which.errors] == [StoreUnavailable]
        assert (await store.get_run(which.handle.run_id)).head == 1


async def test_unknown_ends_alone_run_out_of_patience_too(store: Scripted) -> None:
    run = await told(store, "r1")
    store.ends = [Unknown()] * 100_000
    async with writing(store, patience=60.0) as writer:
        writer.append(run.handle, run.records({}))
        await writer.idle()
    assert [type(error) for error in run.errors] == [StoreUnavailable]


async def test_a_store_that_is_full_stops_all_that_wait(store: Scripted) -> None:
    run, other = await told(store, "r1"), await told(store, "r2")
    store.ends = [StoreFull("x")]
    async with writing(store, max_records=1) as writer:
        writer.append(run.handle, run.records({}))
        writer.append(other.handle, other.records({}))
        with pytest.raises(StoreFull):
            await writer.flush(other.handle)
        later = await told(store, "r3")
        writer.append(later.handle, later.records({}))
        await writer.flush(later.handle)
    assert [type(error) for error in run.errors + other.errors] == [StoreFull, StoreFull]
    assert later.heads == [2]


async def test_another_drivers_row_fences_its_run_alone(store: Scripted) -> None:
    run, other = await told(store, "r1"), await told(store, "r2")
    await store.claim("r1", "me", force=True)
    async with writing(store) as writer:
        writer.append(run.handle, run.records({}))
        writer.append(other.handle, other.records({}))
        with pytest.raises(Fenced) as caught:
            await writer.flush(run.handle)
        writer.append(run.handle, [Record(99, 9, "done", "", {}, 1)])
        with pytest.raises(Fenced):
            await writer.park(run.handle, Projection(status="waiting"))
    assert run.fenced == [caught.value]
    assert (run.heads, other.heads, other.fenced) == ([], [2], [])
    assert (await store.get_run("r1")).head == 2


async def test_refused_data_stops_its_run_alone(store: Scripted) -> None:
    runs = [await told(store, f"r{n}") for n in range(3)]
    async with writing(store) as writer:
        for run in runs:
            consumed = (("nobody sent it", 2),) if run is runs[1] else ()
            writer.append(run.handle, run.records({}), consumed=consumed)
        await writer.idle()
    assert [run.heads for run in runs] == [[2], [], [2]]
    assert [type(error) for error in runs[1].errors] == [BadData]


async def test_refused_data_of_an_unknown_run_is_singled_out(store: Scripted) -> None:
    runs = [await told(store, f"r{n}") for n in range(3)]
    store.batches.clear()
    store.ends = [BadData(None, problem="x"), BadData(None, problem="x")]
    async with writing(store) as writer:
        for run in runs:
            writer.append(run.handle, run.records({}))
        await writer.idle()
    assert [len(batch) for batch in store.batches] == [3, 1, 1, 1]
    assert [run.heads for run in runs] == [[], [2], [2]]


async def test_a_journal_that_went_back_stops_its_run(store: Scripted) -> None:
    run = await told(store, "r1")
    run.handle.head, run.handle.tail = 7, 7
    async with writing(store) as writer:
        writer.append(run.handle, run.records({}))
        with pytest.raises(JournalWentBack):
            await writer.flush(run.handle)
    assert [type(error) for error in run.errors] == [JournalWentBack]


# --- coupled runs ---


async def test_a_child_starts_with_its_parents_record(store: Scripted) -> None:
    run = await told(store, "r1")
    child = Start(new=new_run("c1", parent_id="r1"), records=[Record(1, 0, "run_started", "", {}, 1)])
    store.ends = [Unknown()]
    async with writing(store, max_records=1) as writer:
        writer.append(run.handle, run.records({}, {}), coupled=[child])
        await writer.idle()
    found = await store.get_run("c1")
    assert (found.status, found.head, found.parent_id) == ("queued", 1, "r1")
    assert run.heads == [3]


async def test_a_fenced_parent_starts_no_child(store: Scripted) -> None:
    run = await told(store, "r1")
    await store.claim("r1", "me", force=True)
    async with writing(store) as writer:
        child = Start(new=new_run("c1"), records=[Record(1, 0, "run_started", "", {}, 1)])
        writer.append(run.handle, run.records({}), coupled=[child])
        await writer.idle()
    assert len(run.fenced) == 1
    with pytest.raises(NoSuchRun):
        await store.get_run("c1")


async def test_a_run_id_that_is_taken(store: Scripted) -> None:
    run, _ = await told(store, "r1"), await told(store, "c1")
    again = Told("c1", epoch=0)
    async with writing(store) as writer:
        child = Start(new=new_run("c1"), records=[Record(1, 0, "run_started", "", {}, 1)])
        writer.append(run.handle, run.records({}), coupled=[child])
        writer.append(again.handle, again.records({}, kind="run_started"), create=new_run("c1"))
        await writer.idle()
    assert [type(error) for error in run.errors + again.errors] == [RunTaken, RunTaken]
    assert (await store.get_run("r1")).head == 1


# --- parking ---


async def test_parking_comes_after_all_that_was_appended(store: Scripted) -> None:
    run, other = await told(store, "r1"), await told(store, "r2")
    parked: list[bool] = []

    async def park(writer: Writer) -> None:
        parked.append(await writer.park(run.handle, Projection(status="waiting", wake_at=9)))

    async with writing(store) as writer, anyio.create_task_group() as group:
        writer.append(run.handle, run.records({}))
        group.start_soon(park, writer)
        await anyio.lowlevel.checkpoint()
        with pytest.raises(ValueError, match="about to park"):
            writer.append(run.handle, run.records({}))
        writer.append(other.handle, other.records({}))
    assert parked == [True]
    found = await store.get_run("r1")
    assert (found.status, found.wake_at, found.owner, found.head) == ("waiting", 9, None, 2)
    assert other.heads == [2]


async def test_mail_keeps_a_run_awake_and_its_head_where_it_was(store: Scripted) -> None:
    run = await told(store, "r1")
    await store.send(mail("r1"))
    async with writing(store) as writer:
        asleep = Projection(status="waiting")
        assert not await writer.park(run.handle, asleep, records=run.records({}, kind="paused"))
        assert (run.handle.tail, run.heads) == (1, [])
        writer.append(run.handle, run.records({}, kind="answered"), consumed=(("q1", 2),))
        assert await writer.park(run.handle, asleep, records=run.records({}, kind="paused"))
    assert (await store.get_run("r1")).head == 3


class Unsure(Scripted):
    """Its parkings land, and nobody hears of it."""

    async def park(self, piece: Slice) -> bool:
        if not self.ends:
            return await super().park(piece)
        await super().park(piece)
        raise self.ends.pop()


@pytest.mark.parametrize("records", [0, 1])
async def test_a_parking_whose_end_is_not_known(records: int) -> None:
    store = Unsure()
    run = await told(store, "r1")
    store.ends = [Unknown()]
    async with writing(store) as writer:
        paused = run.records(*[{}] * records, kind="paused")
        assert await writer.park(run.handle, Projection(status="waiting"), records=paused)
    assert (await store.get_run("r1")).head == 1 + records


async def test_a_parking_that_is_fenced_or_fails(store: Scripted) -> None:
    run, other = await told(store, "r1"), await told(store, "r2")
    await store.claim("r1", "me", force=True)
    async with writing(store) as writer:
        with pytest.raises(Fenced):
            await writer.park(run.handle, Projection(status="waiting"))
        store.ends = [StoreFull("x")]
        writer.append(other.handle, other.records({}))
        with pytest.raises(StoreFull):
            await writer.park(other.handle, Projection(status="waiting"))


# --- cancelling ---


async def test_a_cancelled_writer_finishes_the_commit_in_flight(store: Scripted) -> None:
    run = await told(store, "r1")
    store.gate = anyio.Event()
    writer = Writer(store, ManualClock(0))
    async with anyio.create_task_group() as group:
        group.start_soon(writer.run)
        writer.append(run.handle, run.records({}))
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
        asyncio.get_running_loop().call_later(0.01, store.gate.set)
    assert run.heads == [2]
    assert (await store.get_run("r1")).head == 2


# --- the crash suite's points ---

POINTS = """
import signal
from orchestrator.journal.points import at
for n in range(3):
    at("one")
    at("two")
"""


def test_points_note_their_names_and_kill(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr("os.kill", lambda pid, signal: killed.append(signal))
    monkeypatch.setenv("ORCH_CRASH_POINTS", str(tmp_path / "points"))
    monkeypatch.setenv("ORCH_CRASH_AT", "one:2")
    code = importlib.util.find_spec("orchestrator.journal.points")
    assert code is not None
    assert code.loader is not None
    copy = importlib.util.module_from_spec(code)
    code.loader.exec_module(copy)
    for name in ("one", "two", "one"):
        assert killed == []
        copy.at(name)
    os.close(copy._descriptor)
    assert killed == [9]
    assert (tmp_path / "points").read_text() == "one\ntwo\none\n"


@pytest.mark.parametrize(("at", "left"), [("one:2", "one two one"), ("two", "one two"), ("", "one two " * 3)])
def test_points(tmp_path: Any, at: str, left: str) -> None:
    log = tmp_path / "points"
    environment = {**os.environ, "ORCH_CRASH_POINTS": str(log), "ORCH_CRASH_AT": at}
    done = subprocess.run([sys.executable, "-c", POINTS], env=environment, check=False)
    assert done.returncode == (-9 if at else 0)
    assert log.read_text().split() == left.split()
