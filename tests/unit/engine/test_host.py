"""Driving for real: a store on disk, effects as tasks, signals, fences, leases and doubt."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from orchestrator.clock import ManualClock, SystemClock
from orchestrator.engine.effects import Services
from orchestrator.engine.host import SURELY_THERE, Host, Settings
from orchestrator.engine.verify import verify
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import OnDoubt, Retry
from orchestrator.journal.errors import Fenced, Held, NoSuchRun, RunTaken, StoreFull
from orchestrator.journal.state import fold
from orchestrator.journal.store import InboxRow
from orchestrator.stores import open_store
from orchestrator.stores.sqlite import SqliteStore
from orchestrator.tools.protocol import Done, Failed, FileOut
from tests.unit.engine.world import call, graph, tool

pytestmark = pytest.mark.anyio


class Bench:
    """A store in a folder, and hosts whose tools do what a test says."""

    def __init__(self, folder, url):
        self.folder = folder
        self.url = url
        self.calls = []
        self.kinds = {}
        self.perform = self.plus

    def listen(self, event):
        if event.record is not None:
            self.kind(event.record.kind).set()

    def kind(self, name):
        """Set once a record of a kind has been seen."""
        return self.kinds.setdefault(name, anyio.Event())

    async def plus(self, request, context):
        self.calls.append((context.path, context.attempt, context.idempotency_key))
        return Done(request["args"].get("x", 0) + 1)

    async def _perform(self, request, context):
        return await self.perform(request, context)

    def services(self):
        return Services(
            provider=lambda name: None, performer=lambda kind: self._perform, reveal=lambda value: value, redact=lambda value: value,
            reserve=lambda settings, size: None, cost=lambda settings, usage: None, files_folder=self.folder / "files",
        )  # fmt: skip

    @asynccontextmanager
    async def host(self, *, clock=None, **settings):
        services = self.services()
        store = open_store(self.url)
        await store.open()
        try:
            async with Host(
                store=store,
                services=services,
                clock=clock or SystemClock(),
                settings=Settings(**settings),
                listen=self.listen,
            ) as host:
                yield host
        finally:
            await store.aclose()

    async def start(self, host, found, run_id="r", **more):
        return await host.start(found, inputs={}, run_id=run_id, folder=str(self.folder), **more)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, f"sqlite:///{tmp_path / 'x.db'}")


async def records(bench, run_id="r"):
    store = open_store(bench.url)
    await store.open()
    try:
        return await store.load(run_id)
    finally:
        await store.aclose()


async def test_many_runs_at_once_in_one_process(bench):
    chain = graph(call("a"), call("b", {"x": "steps.a.output"}, needs=("a",)), outputs={"b": "steps.b.output"})
    ends = []

    async def one(host, index):
        ends.append(await bench.start(host, chain, f"r{index}"))

    async with bench.host() as host, anyio.create_task_group() as tasks:
        for index in range(20):
            tasks.start_soon(one, host, index)
    assert [end.outputs for end in ends] == [{"b": 2}] * 20
    for index in range(20):
        assert verify(chain, await records(bench, f"r{index}"), run_id=f"r{index}") is None


async def test_runs_of_one_graph_keep_it_once_a_minute(bench, monkeypatch):
    kept = []
    put = SqliteStore.put_blobs

    async def counted(store, contents):
        kept.append(len(contents))
        return await put(store, contents)

    monkeypatch.setattr(SqliteStore, "put_blobs", counted)
    clock = ManualClock(1000.0)
    found = graph(call("a"))
    async with bench.host(clock=clock) as host:
        async with anyio.create_task_group() as tasks:
            for index in range(5):
                tasks.start_soon(bench.start, host, found, f"r{index}")
        await bench.start(host, replace(found, name="other"), "s")
        await bench.start(host, found, "t", files=[b"file"])
        assert kept == [1, 1, 1]
        clock.advance(SURELY_THERE)
        host._renewed = clock.boot()
        await bench.start(host, found, "u", files=[b"file"])
        assert kept == [1, 1, 1, 2]
        assert await host.store.get_blob(found.stored.name) == found.stored.body


async def test_a_graph_that_could_not_be_kept_is_kept_by_the_next_run(bench, monkeypatch):
    put, failures = SqliteStore.put_blobs, [StoreFull("here")]

    async def failing(store, contents):
        await anyio.lowlevel.checkpoint()
        if failures:
            raise failures.pop()
        return await put(store, contents)

    monkeypatch.setattr(SqliteStore, "put_blobs", failing)
    found, ends = graph(call("a")), {}

    async def one(host, name):
        try:
            ends[name] = (await bench.start(host, found, name)).status
        except StoreFull:
            ends[name] = "full"

    async with bench.host() as host, anyio.create_task_group() as tasks:
        for name in ("r1", "r2", "r3"):
            tasks.start_soon(one, host, name)
    assert sorted(ends.values()) == ["done", "done", "full"]


async def test_a_graph_at_hand_is_used_where_it_is_that_of_the_run(bench, monkeypatch):
    read = []
    get = SqliteStore.get_blob

    async def counted(store, name):
        read.append(name)
        return await get(store, name)

    async def fails(request, context):
        return Failed("tool_error", "no")

    monkeypatch.setattr(SqliteStore, "get_blob", counted)
    found = graph(call("a"), outputs={"a": "steps.a.output"})
    bench.perform = fails
    async with bench.host() as host:
        await bench.start(host, found)
        await host.resume("r", retry_failed=True, graph=found)
        assert read == []
        bench.perform = bench.plus
        end = await host.resume("r", retry_failed=True, graph=graph(call("b")))
        assert (read, end.outputs) == ([found.stored.name], {"a": 1})


async def test_an_id_is_used_once(bench):
    async with bench.host() as host:
        await bench.start(host, graph(call("a")))
        with pytest.raises(RunTaken):
            await bench.start(host, graph(call("a")))


async def test_a_done_run_is_only_looked_at(bench):
    async with bench.host() as host:
        await bench.start(host, graph(call("a"), outputs={"a": "steps.a.output"}))
        end = await host.resume("r")
        assert (end.status, end.outputs, len(bench.calls)) == ("done", {"a": 1}, 1)
        with pytest.raises(NoSuchRun):
            await host.resume("other")


async def test_retries_wait_for_their_time_and_end(bench):
    async def flaky(request, context):
        return Failed("tool_error", "not yet") if context.attempt < 3 else Done(context.attempt)

    bench.perform = flaky
    async with bench.host() as host:
        end = await bench.start(
            host, graph(call("a", retry=Retry(attempts=Const(5), delay=1000)), outputs={"a": "steps.a.output"})
        )
    assert end.outputs == {"a": 3}


async def test_a_timeout_ends_an_attempt_and_puts_a_write_in_doubt(bench):
    async def slow(request, context):
        await anyio.sleep_forever()

    bench.perform = slow
    async with bench.host() as host:
        end = await bench.start(host, graph(call("a", timeout=Const(5_000))))
        assert end.error["code"] == "timeout"
        end = await bench.start(host, graph(call("a", timeout=Const(5_000), effect="write")), "w")
        assert (end.status, end.reason) == ("paused", "doubt")
        assert end.waits[0]["step"] == "a"
        row = await host.store.get_run("w")
        assert (row.status, row.owner) == ("paused", None)


async def test_a_group_times_out(bench):
    from tests.unit.engine.test_decide import group

    async def slow(request, context):
        await anyio.sleep_forever()

    bench.perform = slow
    async with bench.host() as host:
        end = await bench.start(host, graph(group("g", call("a"), timeout=Const(10_000))))
    assert end.error["code"] == "timeout"
    assert "cancelled" in {record.kind for record in await records(bench)}


async def test_a_person_resolves_what_is_in_doubt(bench):
    from orchestrator.tools.protocol import Lost

    async def lost(request, context):
        return Lost("unavailable", "cut")

    bench.perform = lost
    async with bench.host() as host:
        assert (
            await bench.start(host, graph(call("a", effect="write"), outputs={"a": "steps.a.output"}))
        ).status == "paused"
        assert (await host.resume("r")).status == "paused"
        row = InboxRow(run_id="r", request_id="one", kind="resolve", path="a", body={"result": 5}, by="me", at=1)
        await host.store.send(row)
        noise = InboxRow(run_id="r", request_id="two", kind="resolve", path="zz", body={"result": 5}, by="me", at=1)
        await host.store.send(noise)
        end = await host.resume("r")
    assert (end.status, end.outputs) == ("done", {"a": 5})
    assert [r.kind for r in await records(bench)].count("received") == 1


async def test_a_cancel_that_comes_while_it_runs(bench):
    begun = anyio.Event()

    async def slow(request, context):
        begun.set()
        await anyio.sleep_forever()

    bench.perform = slow
    ends = []
    async with bench.host(lease=0.3) as host, anyio.create_task_group() as tasks:

        async def run():
            ends.append(await bench.start(host, graph(call("a"))))

        tasks.start_soon(run)
        await begun.wait()
        await host.store.send(
            InboxRow(run_id="r", request_id="c", kind="cancel", path="", body={"reason": "enough"}, by="me", at=1)
        )
    assert ends[0].status == "cancelled"


async def test_a_stop_gives_what_runs_its_grace_and_leaves_the_run_resumable(bench):
    begun, go = anyio.Event(), anyio.Event()

    async def slow(request, context):
        begun.set()
        await go.wait()
        return Done(1)

    bench.perform = slow
    found = graph(call("a"), call("b", needs=("a",)))
    async with bench.host() as host, anyio.create_task_group() as tasks:
        ends = []

        async def run():
            ends.append(await bench.start(host, found))

        tasks.start_soon(run)
        await begun.wait()
        host.stop()
        go.set()
    assert ends[0].status == "stopped"
    assert [r.kind for r in await records(bench)][-1] == "done"
    bench.perform = bench.plus
    async with bench.host() as host:
        assert (await host.resume("r")).status == "done"
    assert bench.calls == [("b", 1, "")]


async def test_a_second_stop_waits_for_nothing(bench):
    begun = anyio.Event()

    async def slow(request, context):
        begun.set()
        await anyio.sleep_forever()

    bench.perform = slow
    async with bench.host(grace=60) as host, anyio.create_task_group() as tasks:
        ends = []

        async def run():
            ends.append(await bench.start(host, graph(call("a"))))

        tasks.start_soon(run)
        await begun.wait()
        host.stop()
        host.stop()
    assert ends[0].status == "stopped"


async def test_a_live_run_is_held_and_one_taken_by_force_fences_its_driver(bench):
    begun, go = anyio.Event(), anyio.Event()

    async def slow(request, context):
        if context.path == "a" and context.attempt == 1:
            begun.set()
            await go.wait()
        return Done(context.attempt)

    bench.perform = slow
    found = graph(call("a"), call("b", {"x": "steps.a.output"}, needs=("a",)), outputs={"a": "steps.a.output"})
    async with bench.host() as one, bench.host() as two, anyio.create_task_group() as tasks:

        async def first():
            with pytest.raises(Fenced):
                await bench.start(one, found)

        tasks.start_soon(first)
        await begun.wait()
        with pytest.raises(Held):
            await two.resume("r")
        end = await two.resume("r", force=True)
        go.set()
        assert (end.status, end.outputs) == ("done", {"a": 2})
    epochs = [r.epoch for r in await records(bench)]
    assert epochs == sorted(epochs)


async def test_a_write_of_a_fenced_driver_leaves_evidence(bench):
    begun, go, over = anyio.Event(), anyio.Event(), anyio.Event()

    async def slow(request, context):
        if not begun.is_set():
            begun.set()
            await go.wait()
        return Done(context.path)

    bench.perform = slow
    found = graph(call("w", effect="write"), call("beside"), outputs={"w": "steps.w.output"})
    async with bench.host() as one, bench.host() as two, anyio.create_task_group() as tasks:

        async def first():
            with pytest.raises(Fenced):
                await bench.start(one, found)
            over.set()

        tasks.start_soon(first)
        await begun.wait()
        assert (await two.resume("r", force=True)).status == "paused"
        go.set()
        await over.wait()
        rows = [row for row in await two.store.pending("r") if row.path == "w"]
    assert (rows[0].kind, rows[0].body["output"]) == ("evidence", "w")


async def test_failed_runs_are_taken_up_again_where_they_failed(bench):
    async def fails(request, context):
        bench.calls.append(context.path)
        return Failed("nasty", "no") if context.path == "b" and bench.calls.count("b") == 1 else Done(1)

    bench.perform = fails
    found = graph(
        call("a"), call("b", needs=("a",), effect="idempotent"), call("c", {"x": "steps.b.output"}, needs=("b",)),
        finally_=(call("f"),), outputs={"c": "steps.c.output"},
    )  # fmt: skip
    async with bench.host() as host:
        assert (await bench.start(host, found)).status == "failed"
        assert (await host.resume("r")).status == "failed"
        end = await host.resume("r", retry_failed=True)
    assert (end.status, end.outputs) == ("done", {"c": 1})
    assert bench.calls == ["a", "b", "f", "b", "c", "f"]
    found_records = await records(bench)
    keys = [r.body["key"] for r in found_records if r.kind == "started" and r.path == "b"]
    assert len(keys) == 2
    assert len(set(keys)) == 1  # nothing proves that the first one had no effect
    assert verify(found, found_records, run_id="r") is None


async def test_files_are_kept(bench):
    async def files(request, context):
        return Done("head", files={"report": FileOut("r.md", b"# all", "text/markdown")})

    bench.perform = files
    async with bench.host() as host:
        end = await bench.start(host, graph(call("a"), outputs={"f": "steps.a.files.report", "p": "'' + string(1)"}))
        value = end.outputs["f"]
        assert (value["name"], value["size"], value["media_type"]) == ("r.md", 5, "text/markdown")
        assert (bench.folder / "files" / value["$file"]).read_bytes() == b"# all"


async def test_what_a_tool_raises_or_cannot_say_is_its_failure(bench):
    async def raises(request, context):
        if context.path == "a":
            raise KeyError("x")
        return Done(float("nan"))

    bench.perform = raises
    async with bench.host() as host:
        end = await bench.start(
            host,
            graph(
                call("a", on_error="continue"),
                call("b", on_error="continue"),
                outputs={"a": "steps.a.error.message", "b": "steps.b.error.code"},
            ),
        )
    assert end.outputs == {"a": "KeyError: 'x'", "b": "invalid_output"}


async def test_on_doubt_retry_after_a_crash_uses_the_same_key(bench):
    found = graph(call("a", on=tool("write", on_doubt=OnDoubt(mode="retry"))))
    crashed = anyio.Event()

    async def slow(request, context):
        bench.calls.append(context.idempotency_key)
        if not crashed.is_set():
            crashed.set()
            await anyio.sleep_forever()
        return Done(1)

    bench.perform = slow
    async with bench.host(grace=0.05) as host, anyio.create_task_group() as tasks:

        async def run():
            await bench.start(host, found)

        tasks.start_soon(run)
        await crashed.wait()
        host.stop(now=True)
    async with bench.host() as host:
        assert (await host.resume("r")).status == "done"
    assert bench.calls[0] == bench.calls[1]


async def test_a_result_that_does_not_fit_resolves_nothing(bench):
    from orchestrator.tools.protocol import Lost

    async def lost(request, context):
        return Lost("unavailable", "cut")

    bench.perform = lost
    found = graph(call("a", effect="write", output={"type": "integer"}))
    async with bench.host() as host:
        assert (await bench.start(host, found)).status == "paused"
        row = InboxRow(run_id="r", request_id="one", kind="resolve", path="a", body={"result": "x"}, by="me", at=1)
        await host.store.send(row)
        assert (await host.resume("r")).status == "paused"
        await host.store.send(replace(row, request_id="two", body={"result": 5}))
        assert (await host.resume("r")).status == "done"


async def test_a_step_whose_result_was_cut_fails(bench):
    async def much(request, context):
        return Done("head", overflow="head and tail")

    bench.perform = much
    async with bench.host() as host:
        end = await bench.start(host, graph(call("a")))
    assert end.error["code"] == "too_large"


@pytest.mark.parametrize(("kind", "config"), [("shell", {}), ("python", {"isolate": Const("process")})])
async def test_only_so_many_children_at_once(bench, monkeypatch, kind, config):
    from orchestrator.engine import host as hosts
    from orchestrator.graph.nodes import ToolDef

    monkeypatch.setattr(hosts, "MOST_PROCESSES", 3)
    most = now = 0

    async def child(request, context):
        nonlocal most, now
        now += 1
        most = max(most, now)
        await anyio.lowlevel.checkpoint()
        now -= 1
        return Done(1)

    bench.perform = child
    tool = ToolDef(name="t", kind=kind, effect="read", config=config)
    found = graph(*(call(f"s{index}", on=tool) for index in range(20)))
    async with bench.host() as host, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.start, host, found, "one")
        tasks.start_soon(bench.start, host, found, "two")
    assert most == 3


def guarded():
    return tool("write", approve="true")


def an_answer(step, **more):
    body = {"choice": "approve", "request": step.waiting["request"], **more}
    return InboxRow(run_id="r", request_id=f"answer:{more}", kind="answer", path=step.path, body=body, by="ann", at=1)


async def test_a_run_that_asks_parks_until_it_is_answered(bench):
    flow = graph(call("a", {"x": 1}, on=guarded()), call("b", {"x": 5}), outputs={"a": "steps.a.output"})
    async with bench.host() as host:
        end = await bench.start(host, flow, "r")
        assert (end.status, end.reason, [wait["step"] for wait in end.waits]) == ("waiting", "approval", ["a"])
        row = await host.store.get_run("r")
        assert (row.status, row.reason) == ("waiting", "approval")
        for wrong in ({"request": "another"}, {"choice": "perhaps"}):
            step = fold(await host.store.load("r")).steps["a"]
            await host.store.send(an_answer(step, **wrong))
            assert (await host.resume("r")).status == "waiting"
        await host.store.send(an_answer(step))
        assert (await host.resume("r")).outputs == {"a": 2}
        await sound(host, flow)


async def test_an_attended_run_stays_for_its_answer_and_goes_on_at_once(bench):
    flow = graph(call("a", {"x": 1}, on=guarded()), outputs={"a": "steps.a.output"})
    async with bench.host() as host, anyio.create_task_group() as tasks:
        host.attend(somebody=True)
        ends = []

        async def drive():
            ends.append(await bench.start(host, flow, "r"))

        tasks.start_soon(drive)
        with anyio.fail_after(20):
            await bench.kind("waiting").wait()
            step = fold(await host.store.load("r")).steps["a"]
            assert (await host.store.get_run("r")).status == "running"
            await host.store.send(an_answer(step))
            await bench.kind("answered").wait()
    assert ends[0].outputs == {"a": 2}


async def test_a_run_that_nobody_attends_any_more_parks(bench):
    async with bench.host() as host, anyio.create_task_group() as tasks:
        host.attend(somebody=True)
        ends = []

        async def drive():
            ends.append(await bench.start(host, graph(call("a", {"x": 1}, on=guarded())), "r"))

        tasks.start_soon(drive)
        with anyio.fail_after(20):
            await bench.kind("waiting").wait()
            host.attend(somebody=False)
    assert ends[0].status == "waiting"


async def test_whether_anybody_is_asked_is_recorded(bench):
    flow = graph(call("a", {"x": 1}, on=guarded()))
    async with bench.host() as host:
        assert (await bench.start(host, flow, "r")).status == "waiting"
        assert (await host.resume("r", approve="ask")).status == "waiting"
        assert (await host.resume("r", approve="never")).error["code"] == "denied"
        await sound(host, flow)


async def sound(host, flow):
    records = await host.store.load("r")
    assert verify(flow, records, run_id="r") is None
