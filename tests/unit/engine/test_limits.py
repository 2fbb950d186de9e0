"""A host under the limits of a model: what waits is permitted and not started, and goes when the minute is over."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from orchestrator.agents.messages import Reply, Usage
from orchestrator.clock import SystemClock
from orchestrator.engine.effects import Services
from orchestrator.engine.host import Host, Settings
from orchestrator.engine.verify import verify
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import AgentConfig, AgentDef, ModelDef, Node
from orchestrator.providers.protocol import ModelError
from orchestrator.stores.memory import MemoryStore
from tests.unit.engine.world import graph

pytestmark = pytest.mark.anyio


class Jumping(SystemClock):
    """The machine's clock, set forward by a test."""

    def __init__(self):
        super().__init__()
        self.ahead = 0.0
        self.asked = 0

    def now(self):
        self.asked += 1
        return super().now() + int(self.ahead * 1_000_000)

    def boot(self):
        return super().boot() + self.ahead


class Models:
    """A provider whose calls a test lets end."""

    def __init__(self):
        self.called = []
        self.gates = {}
        self.answer = lambda name: Reply([{"type": "text", "text": name}], "end_turn", Usage(1, 1))

    async def call(self, request, context):
        name = request.messages[0]["content"][0]["text"]
        self.called.append(name)
        if name in self.gates:
            await self.gates[name].wait()
        return self.answer(name)

    async def aclose(self):
        pass


def agent(name, **limits):
    model = ModelDef(name="m", settings={"provider": Const("mine"), "limits": Const(limits)})
    config = AgentConfig(agent=AgentDef(name=name, model=model), prompt=Const(name))
    return Node(name=name, id=name, kind="agent", config=config)


class Bench:
    def __init__(self, folder):
        self.folder = folder
        self.models = Models()
        self.clock = Jumping()
        self.store = MemoryStore()
        self.ends = {}

    def host(self, **settings):
        services = Services(
            provider=lambda name: self.models, performer=lambda kind: None, reveal=lambda value: value,
            redact=lambda value: value, reserve=lambda settings, size: None, cost=lambda settings, usage: None,
            files_folder=self.folder,
        )  # fmt: skip
        return Host(store=self.store, services=services, clock=self.clock, settings=Settings(**settings))

    async def start(self, host, found, run):
        self.ends[run] = await host.start(found, inputs={}, run_id=run, folder=str(self.folder))

    async def began(self, run):
        return [r.path for r in await self.store.load(run) if r.kind == "started"]


@pytest.fixture
async def bench(tmp_path):
    found = Bench(tmp_path)
    await found.store.open()
    yield found
    await found.store.aclose()


async def settle(until):
    with anyio.fail_after(10):
        while not until():
            await anyio.lowlevel.checkpoint()


async def test_a_minute_that_is_full_is_waited_out(bench):
    found = graph(
        agent("a", requests_per_minute=2), agent("b", requests_per_minute=2), agent("c", requests_per_minute=2)
    )
    async with bench.host(lease=600) as host, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.start, host, found, "r")
        await settle(lambda: host.rates.ready_in("r") is not None)
        await settle(lambda: len(bench.models.called) == 2)
        assert len(await bench.began("r")) == 2  # the third is no record yet
        assert 50 < host.rates.ready_in("r") <= 60
        bench.clock.ahead += 60
        host._poke("r")
        await settle(lambda: "r" in bench.ends)
    assert bench.ends["r"].status == "done"
    records = await bench.store.load("r")
    assert verify(found, records, run_id="r") is None
    begun = [r.at for r in records if r.kind == "started"]
    assert begun[2] - begun[0] >= 60_000_000


async def test_a_slot_goes_to_the_run_that_waits(bench):
    bench.models.gates["a"] = anyio.Event()
    one, two = graph(agent("a", concurrency=1)), graph(agent("b", concurrency=1), agent("c", concurrency=1))
    async with bench.host() as host, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.start, host, one, "one")
        await settle(lambda: bench.models.called == ["a"])
        tasks.start_soon(bench.start, host, two, "two")
        await settle(lambda: _waits(host, "two"))
        bench.models.gates["a"].set()
        await settle(lambda: len(bench.ends) == 2)
    assert bench.models.called == ["a", "b", "c"]
    (ended,) = (r.at for r in await bench.store.load("one") if r.kind == "done" and r.path == "a/turn1")
    assert all(r.at >= ended for r in await bench.store.load("two") if r.kind == "started")


async def test_a_run_that_is_stopped_stands_in_no_ones_way(bench):
    bench.models.gates["a"] = anyio.Event()
    found = [graph(agent(name, concurrency=1)) for name in "abc"]
    async with bench.host() as host, anyio.create_task_group() as tasks:
        for run in "abc":
            tasks.start_soon(bench.start, host, found["abc".index(run)], run)
            await settle(lambda run=run: run in host._drivers and (run == "a" or _waits(host, run)))
        host._drivers["b"].stop(now=True)
        await settle(lambda: "b" in bench.ends)
        bench.models.gates["a"].set()
        await settle(lambda: len(bench.ends) == 3)
    assert bench.models.called == ["a", "c"]
    assert {run: end.status for run, end in bench.ends.items()} == {"a": "done", "b": "stopped", "c": "done"}


def _waits(host, run):
    return any(run in lane.line for lane in host.rates._lanes.values())


async def test_what_a_call_used_counts_and_one_that_was_refused_counts_nothing(bench):
    def refuse(name):
        raise ModelError("bad_request", "no", sent=False, usage=Usage())

    used = bench.models.answer
    found = graph(agent("a", tokens_per_minute=20_000))
    async with bench.host() as host:
        await bench.start(host, found, "r1")
        (lane,) = host.rates._lanes.values()
        assert (lane.tokens, lane.running) == (2, 0)
        bench.models.answer = refuse
        await bench.start(host, found, "r2")
        assert (lane.tokens, lane.running) == (2, 0)
        bench.models.answer = used
        await bench.start(host, found, "r3")
    assert lane.tokens == 4
    assert [bench.ends[run].status for run in ("r1", "r2", "r3")] == ["done", "failed", "done"]


async def test_a_driver_that_may_start_nothing_does_not_spin(bench):
    """A permit is free and the lease is not sure: whoever renews it pokes."""
    found = graph(agent("a", requests_per_minute=1), agent("b", requests_per_minute=1))
    async with bench.host(lease=600) as host, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.start, host, found, "r")
        await settle(lambda: host.rates.ready_in("r") is not None and len(bench.models.called) == 1)
        renewed, host._renewed = host._renewed, -1e9
        bench.clock.ahead += 61
        assert host.rates.ready_in("r") == 0
        host._poke("r")
        before = bench.clock.asked
        for _ in range(300):
            await anyio.lowlevel.checkpoint()
        assert bench.clock.asked - before < 30
        host._renewed = renewed + 61
        host._poke("r")
        await settle(lambda: "r" in bench.ends)
    assert bench.models.called == ["a", "b"]
