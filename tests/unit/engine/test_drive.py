"""Runs driven for real that are cancelled, in doubt, late, or taken up again; and agents and built-in tools on a store."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from orchestrator.agents.messages import Reply, Usage
from orchestrator.clock import SystemClock
from orchestrator.engine.verify import verify
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import Join, Retry
from orchestrator.journal.errors import StoreUnavailable
from orchestrator.journal.state import fold
from orchestrator.journal.store import InboxRow
from orchestrator.providers.protocol import ModelError
from orchestrator.tools.protocol import Done, Failed, Lost
from tests.unit.engine.test_decide import agent, group, map_
from tests.unit.engine.test_host import Bench, bench, records
from tests.unit.engine.world import call, calls_reply, graph, text_reply, tool

pytestmark = pytest.mark.anyio
__all__ = ["bench"]


def row(request_id, kind="cancel", path="", **body):
    return InboxRow(run_id="r", request_id=request_id, kind=kind, path=path, body=body, by="me", at=1)


async def proved(bench, found, run_id="r"):
    """The journal of a run, which its decider could have written, with one end for each attempt."""
    all_records = await records(bench, run_id)
    assert verify(found, all_records, run_id=run_id) is None
    ends = [
        (r.path, r.body["attempt"])
        for r in all_records
        if r.kind in ("done", "failed", "cancelled") and "attempt" in r.body
    ]
    assert len(ends) == len(set(ends))
    assert all(step.open is False for step in fold(all_records).steps.values())
    return all_records


class Gate:
    """A tool that says what has begun, and goes on when it is told."""

    def __init__(self, bench, *, wait=lambda path: True):
        self.begun = set()
        self.news = anyio.Event()
        self.go = anyio.Event()
        self.wait = wait
        bench.perform = self.perform

    async def perform(self, request, context):
        self.begun.add(context.path)
        self.news.set()
        if self.wait(context.path):
            await self.go.wait()
        return Done(context.path)

    async def until(self, *paths):
        while not set(paths) <= self.begun:
            self.news = anyio.Event()
            await self.news.wait()


@asynccontextmanager
async def running(bench, host, found, ends):
    async def run():
        ends.append(await bench.start(host, found))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        yield


async def test_a_cancel_reaches_into_nested_maps_and_finally_still_runs(bench):
    gate = Gate(bench, wait=lambda path: "tidy" not in path and path != "f")
    inner = map_("inner", "range(3)", call("", {"x": "item"}, id="i", effect="write"), concurrency=Const(2))
    do = group("", inner, finally_=(call("tidy"),))
    found = graph(map_("outer", "range(3)", do, concurrency=Const(2)), finally_=(call("f"),))
    ends = []
    async with bench.host(lease=0.3) as host, running(bench, host, found, ends):
        await gate.until(*[f"outer[{a}]/inner[{b}]" for a in range(2) for b in range(2)])
        await host.store.send(row("c", reason="enough"))
    assert ends[0].status == "cancelled"
    assert ends[0].waits == []
    all_records = await proved(bench, found)
    done = {r.path for r in all_records if r.kind == "done"}
    assert done == {"outer[0]/tidy", "outer[1]/tidy", "f"}
    cut = [r for r in all_records if r.kind == "cancelled"]
    assert [r.body["in_doubt"] for r in cut] == [True] * 4


async def test_what_was_sent_is_taken_once_and_a_second_cancel_is_noted(bench):
    gate = Gate(bench)
    found = graph(call("a"))
    ends = []
    async with bench.host() as host, running(bench, host, found, ends):
        await gate.until("a")
        await host.store.send(row("one"))
        await host.store.send(row("two"))
        rows = await host.store.pending("r")
        driver = host._drivers["r"]
        driver.take(rows)
        driver.take(rows)
    assert ends[0].status == "cancelled"
    assert [r.kind for r in await proved(bench, found)] == [
        "run_started",
        "started",
        "cancel_requested",
        "received",
        "cancelled",
        "run_finished",
    ]


async def test_a_cancel_that_comes_while_finally_runs_is_too_late(bench):
    gate = Gate(bench, wait=lambda path: path == "f")
    found = graph(call("a"), finally_=(call("f"),), outputs={"a": "steps.a.output"})
    ends = []
    async with bench.host(lease=0.3) as host, running(bench, host, found, ends):
        await gate.until("f")
        await host.store.send(row("c"))
        await bench.kind("received").wait()
        gate.go.set()
    assert (ends[0].status, ends[0].outputs) == ("done", {"a": "a"})
    await proved(bench, found)


async def lost(request, context):
    return Lost("unavailable", "cut")


async def test_two_doubts_at_once_pause_until_both_are_settled(bench):
    bench.perform = lost
    found = graph(
        call("a", effect="write"), call("b", effect="write"), outputs={"a": "steps.a.output", "b": "steps.b.output"}
    )
    async with bench.host() as host:
        end = await bench.start(host, found)
        assert (end.status, {wait["step"] for wait in end.waits}) == ("paused", {"a", "b"})
        await host.store.send(row("1", "resolve", "b", result=2))
        end = await host.resume("r")
        assert (end.status, [wait["step"] for wait in end.waits]) == ("paused", ["a"])
        await host.store.send(row("2", "resolve", "a", retry=True))
        await host.store.send(row("3", "resolve", "a", fail=True))
        bench.perform = bench.plus
        end = await host.resume("r")
    assert (end.status, end.outputs) == ("done", {"a": 1, "b": 2})
    assert [r.kind for r in await proved(bench, found)].count("resolved") == 2


async def test_a_word_that_was_sent_while_nobody_drove_is_heard_wherever_the_step_stands(bench):
    """Of a step that begins after others: it is known before anything is decided."""

    async def perform(request, context):
        return Lost("unavailable", "cut") if context.path == "g/w" else Done(1)

    bench.perform = perform
    found = graph(call("a"), group("g", call("w", effect="write"), needs=("a",)), outputs={"w": "steps.g.output.w"})
    async with bench.host() as host:
        assert (await bench.start(host, found)).status == "paused"
        await host.store.send(row("1", "resolve", "g/w", result=7))
        end = await host.resume("r")
    assert (end.status, end.outputs) == ("done", {"w": 7})
    await proved(bench, found)


async def test_a_run_that_waits_in_doubt_can_be_cancelled(bench):
    bench.perform = lost
    found = graph(call("a", effect="write"), finally_=(call("f"),))
    async with bench.host() as host:
        assert (await bench.start(host, found)).status == "paused"
        await host.store.send(row("c"))
        bench.perform = bench.plus
        end = await host.resume("r")
    assert (end.status, end.waits, [path for path, *_ in bench.calls]) == ("cancelled", [], ["f"])
    await proved(bench, found)


async def test_a_word_that_comes_while_the_run_parks_is_heard(bench):
    """Parking looks into the inbox after it has locked the row."""
    found = graph(call("a", effect="write"), outputs={"a": "steps.a.output"})
    async with bench.host() as host:
        bench.perform = lost
        park = host.writer.park
        sent = []

        async def send_first(*args, **more):
            if not sent:
                sent.append(await host.store.send(row("1", "resolve", "a", result=7)))
            return await park(*args, **more)

        host.writer.park = send_first
        end = await bench.start(host, found)
    assert (end.status, end.outputs) == ("done", {"a": 7})
    await proved(bench, found)


class Later(SystemClock):
    """An hour from now."""

    def now(self):
        return super().now() + 3_600_000_000


async def test_a_doubt_in_a_group_with_a_timeout_ends_with_it(bench):
    bench.perform = lost
    found = graph(
        group("g", call("a", effect="write"), timeout=Const(60_000_000), on_error="continue"),
        outputs={"g": "steps.g.error.code"},
    )
    async with bench.host() as host:
        end = await bench.start(host, found)
        assert (end.status, (await host.store.get_run("r")).wake_at is not None) == ("paused", True)
    async with bench.host(clock=Later()) as host:
        end = await host.resume("r")
    assert (end.status, end.outputs) == ("done", {"g": "timeout"})
    await proved(bench, found)


async def test_a_failing_fallback_fails_its_scope_and_the_rest_is_cut_off(bench):
    gate = Gate(bench)
    slow = gate.perform

    async def perform(request, context):
        if context.path == "slow":
            return await slow(request, context)
        await gate.until("slow")
        return Failed("nasty", context.path)

    bench.perform = perform
    found = graph(
        call("a", on_error="step", fallback=call("", id="fb")),
        call("slow"),
        on_failure=call("@f", id="@failure", on_error="continue"),
    )
    async with bench.host() as host:
        end = await bench.start(host, found)
    assert (end.status, end.error["step"], end.error["message"]) == ("failed", "a/@error", "a/@error")
    kinds = [(r.kind, r.path) for r in await proved(bench, found)]
    assert ("cancelled", "slow") in kinds
    assert ("failed", "@failure") in kinds


async def test_failed_items_of_a_map_are_taken_up_and_done_ones_are_not(bench):
    bad = {"m[3]", "m[7]"}

    async def perform(request, context):
        bench.calls.append(context.path)
        return Failed("nasty", "no") if context.path in bad else Done(request["args"]["x"])

    bench.perform = perform
    node = map_(
        "m",
        "range(10)",
        call("", {"x": "item"}, id="m/do", effect="idempotent"),
        join=Join(mode="settled", min_success=Const(10)),
        concurrency=Const(4),
    )
    found = graph(node, outputs={"m": "steps.m.output"})
    async with bench.host() as host:
        assert (await bench.start(host, found)).error["code"] == "too_few"
        bench.calls.clear()
        bad.remove("m[3]")
        assert (await host.resume("r", retry_failed=True)).error["code"] == "too_few"
        assert sorted(bench.calls) == ["m[3]", "m[7]"]
        bench.calls.clear()
        bad.clear()
        end = await host.resume("r", retry_failed=True)
        assert bench.calls == ["m[7]"]
        assert end.outputs == {"m": list(range(10))}
    await proved(bench, found)


class Jumping(SystemClock):
    """Time that a test sends ahead."""

    ahead = 0

    def now(self):
        return super().now() + self.ahead


async def test_an_end_that_came_too_late_for_its_timeout_is_the_timeouts(bench):
    """A step whose thread cannot be stopped ends when it ends: its group has failed by then."""
    clock = Jumping()
    found = graph(
        group("g", call("a"), timeout=Const(60_000_000), on_error="continue"),
        outputs={"g": "steps.g.error.code"},
    )
    async with bench.host(clock=clock) as host:

        async def stubborn(request, context):
            clock.ahead = 3_600_000_000
            host._drivers["r"].poke()
            with anyio.CancelScope(shield=True):
                await bench.kind("fired").wait()
            return Done("late")

        bench.perform = stubborn
        end = await bench.start(host, found)
    assert end.outputs["g"] == "timeout"
    assert ("done", "g/a") in [(r.kind, r.path) for r in await proved(bench, found)]


async def test_a_store_that_comes_back_is_gone_on_with(bench):
    """While it is away results are kept and nothing starts; then all goes on."""
    found = graph(call("a"), call("b", {"x": "1"}, needs=("a",)), outputs={"b": "steps.b.output"})
    async with bench.host(lease=0.3) as host:
        commit = host.store.commit
        times = []

        async def flaky(*args, **more):
            times.append(1)
            if len(times) in (2, 3):
                raise StoreUnavailable("x.db", reason="gone fishing")
            return await commit(*args, **more)

        host.store.commit = flaky
        end = await bench.start(host, found)
    assert (end.status, end.outputs) == ("done", {"b": 2})
    assert [path for path, *_ in bench.calls] == ["a", "b"]
    await proved(bench, found)


async def test_a_store_that_stays_away_ends_the_driver_and_not_the_run(bench):
    found = graph(call("a"), call("b", needs=("a",)), outputs={"b": "steps.b.output"})

    async def gone(*args, **more):
        raise StoreUnavailable("x.db", reason="gone for good")

    async def fails():
        async with bench.host(lease=0.3, outage=0.1, grace=0.2) as host:

            async def perform(request, context):
                host.store.commit = gone
                return Done(1)

            bench.perform = perform
            await bench.start(host, found)

    with pytest.raises(StoreUnavailable):
        await fails()
    bench.perform = bench.plus
    async with bench.host() as host:
        end = await host.resume("r", force=True)
    assert (end.status, [path for path, *_ in bench.calls]) == ("done", ["a", "b"])
    await proved(bench, found)


# Agents, on a store


class Script:
    """A provider whose replies a test gives, and whose requests it sees."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.requests = []

    async def call(self, request, context):
        self.requests.append(replace(request, messages=list(request.messages)))
        reply = self.replies.pop(0)
        if callable(reply):
            reply = await reply(context)
        if isinstance(reply, Exception):
            raise reply
        return reply


class Talks(Bench):
    def __init__(self, folder, url, *replies):
        super().__init__(folder, url)
        self.script = Script(*replies)

    def services(self):
        return replace(
            super().services(), provider=lambda name: self.script, cost=lambda settings, usage: 10 * usage.total,
            reserve=lambda settings, size: 500,
        )  # fmt: skip


async def talk(tmp_path, *replies, tools=(), **more):
    bench = Talks(tmp_path, f"sqlite:///{tmp_path / 'x.db'}", *replies)
    found = graph(agent("g", *tools, **more), outputs={"g": "steps.g.output"})
    async with bench.host() as host:
        end = await bench.start(host, found)
    return end, await proved(bench, found), bench


ANY = {"type": "object"}


async def test_a_long_result_is_read_on_by_the_model(tmp_path):
    class Long(Talks):
        async def plus(self, request, context):
            return Done("head", overflow="head and a long tail")

    bench = Long(
        tmp_path, f"sqlite:///{tmp_path / 'x.db'}", calls_reply(("t", {})),
        calls_reply(("read_result", {"id": "turn1/tool0", "offset": 9, "limit": 6}), ("read_result", {"id": "turn1/tool0", "offset": -5})),
        text_reply("well"),
    )  # fmt: skip
    found = graph(agent("g", tool(input=ANY)))
    async with bench.host() as host:
        assert (await bench.start(host, found)).status == "done"
    first, last = bench.script.requests[1].messages[-1], bench.script.requests[2].messages[-1]
    assert "read_result, id 'turn1/tool0', offset 4" in first["content"][0]["content"]
    assert [block["content"] for block in last["content"]] == ["a long", "head and a long tail"]


async def test_what_a_model_call_cost_is_settled(tmp_path):
    end, all_records, bench = await talk(tmp_path, text_reply("well"))
    assert (end.outputs, end.spend, end.tokens) == ({"g": "well"}, 20, 2)
    started = next(r for r in all_records if r.kind == "started")
    assert started.body["reserve"]["usd"] == 500
    assert bench.script.requests[0].system == "be good"


@pytest.mark.parametrize(
    ("raised", "code", "spend"),
    [
        (ModelError("auth", "no key", sent=False, usage=Usage()), "auth", 0),
        (ModelError("invalid_reply", "what?", usage=Usage(1, 1)), "invalid_reply", 20),
        (ModelError("timeout", "late"), "timeout", 500),
        (RuntimeError("oops"), "invalid_reply", 500),
    ],
)
async def test_what_a_model_call_raises_is_its_end(tmp_path, raised, code, spend):
    end, _, _ = await talk(tmp_path, raised)
    assert (end.error["code"], end.spend) == (code, spend)


@pytest.mark.parametrize("block", [{"type": "tool_use"}, {"type": "text"}, {}, 5])
async def test_a_reply_that_nobody_could_read_again_is_not_recorded(tmp_path, block):
    end, _, _ = await talk(tmp_path, Reply([block], "tool_use", Usage(1, 1)))
    assert (end.status, end.error["code"], end.spend) == ("failed", "invalid_reply", 20)


async def test_a_reply_without_usage_costs_what_was_reserved(tmp_path):
    end, _, _ = await talk(tmp_path, Reply([{"type": "text", "text": "x"}], "end_turn", None))
    assert (end.status, end.spend) == ("done", 500)


async def test_a_model_that_is_busy_is_asked_again(tmp_path):
    busy = ModelError("unavailable", "busy", usage=Usage())
    end, all_records, _ = await talk(tmp_path, busy, text_reply("well"), retry=Retry(attempts=Const(2), delay=1_000))
    assert (end.outputs, end.spend) == ({"g": "well"}, 20)
    assert [r.body["attempt"] for r in all_records if r.kind == "started"] == [1, 2]


async def test_an_agent_that_runs_out_of_time_is_cut_off_and_charged(tmp_path):
    async def never(context):
        await anyio.sleep_forever()

    end, _, _ = await talk(tmp_path, never, timeout=Const(20_000))
    assert (end.error["code"], end.spend) == ("timeout", 500)


async def test_an_agent_goes_on_between_two_tool_calls(tmp_path):
    bench = Talks(tmp_path, f"sqlite:///{tmp_path / 'x.db'}", calls_reply(("t", {"x": 1}), ("t", {"x": 2})))
    found = graph(agent("g", tool("idempotent", input=ANY), parallel=False), outputs={"g": "steps.g.output"})
    stopped = anyio.Event()
    keys = []

    async def perform(request, context):
        keys.append((context.path, context.idempotency_key))
        if context.path.endswith("tool1") and not stopped.is_set():
            stopped.set()
            await anyio.sleep_forever()
        return Done(1)

    bench.perform = perform
    ends = []
    async with bench.host(grace=0.05) as host, running(bench, host, found, ends):
        await stopped.wait()
        host.stop(now=True)
    assert ends[0].status == "stopped"
    bench.script = Script(text_reply("well"))
    async with bench.host() as host:
        assert (await host.resume("r")).outputs == {"g": "well"}
    assert [path for path, _ in keys] == ["g/turn1/tool0", "g/turn1/tool1", "g/turn1/tool1"]
    assert keys[1] == keys[2]
    assert len(bench.script.requests) == 1
    await proved(bench, found)


async def test_tools_work_in_the_folder_that_is_asked_for(bench):
    async def where(request, context):
        return Done({"folder": str(context.folder), "root": request.get("root"), "made": context.folder.is_dir()})

    bench.perform = where
    on = tool(dir=Const("deep/er"), config={"root": Const("src")})
    found = graph(call("a", on=on), outputs={"a": "steps.a.output"})
    async with bench.host() as host:
        end = await bench.start(host, found)
    folder = bench.folder / "deep/er"
    assert end.outputs["a"] == {"folder": str(folder), "root": str(folder / "src"), "made": True}


async def test_outputs_of_many_shapes_survive_the_store(bench):
    value = {"é\x00": ["\ud800", 10**30, 1.5, None, True], "": {}}

    async def odd(request, context):
        return Done(value)

    bench.perform = odd
    found = graph(call("a"), outputs={"a": "steps.a.output"})
    async with bench.host() as host:
        end = await bench.start(host, found)
        again = fold(await host.store.load("r")).finished["outputs"]
    assert end.outputs == again
    assert list(end.outputs["a"]) != []


async def test_a_file_is_kept_once(bench):
    from orchestrator.tools.protocol import FileOut

    async def same(request, context):
        return Done(1, files={"report": FileOut("r.md", b"# all")})

    bench.perform = same
    found = graph(call("a"), call("b", needs=("a",)), outputs={"a": "steps.a.files.report.name"})
    async with bench.host() as host:
        assert (await bench.start(host, found)).outputs == {"a": "r.md"}
    assert len([file for file in (bench.folder / "files").iterdir() if file.name[0] != "."]) == 1


async def test_what_is_stopped_between_its_record_and_its_start_never_begins(bench):
    """Its scope fails while its ``started`` is on the way into the journal."""
    found = graph(call("a"), call("b", needs=("c",), effect="write"), call("c"))
    begun = []

    async with bench.host() as host:
        commit = host.store.commit

        async def perform(request, context):
            begun.append(context.path)
            if context.path == "a":
                await both.wait()
                return Failed("nasty", "no")
            return Done(1)

        async def slow(slices, *args, **more):
            kinds = {(record.kind, record.path) for piece in slices for record in piece.rows}
            if ("started", "b") in kinds:
                both.set()
                steps = host._drivers["r"].state.steps
                while steps["a"].status != "failed":
                    await anyio.lowlevel.checkpoint()
            return await commit(slices, *args, **more)

        both = anyio.Event()
        bench.perform = perform
        host.store.commit = slow
        end = await bench.start(host, found)
    assert (end.error["step"], sorted(begun)) == ("a", ["a", "c"])
    all_records = await proved(bench, found)
    (cut,) = [r for r in all_records if r.kind == "cancelled"]
    assert (cut.path, cut.body) == ("b", {"attempt": 1})
