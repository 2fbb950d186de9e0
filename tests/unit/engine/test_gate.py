"""The gate as the driver has it: more money for a run that is driven, and a pause that leaves no process behind."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from orchestrator.graph.nodes import BudgetDef
from orchestrator.journal.state import fold
from tests.unit.engine.test_drive import Gate, proved, row, running
from tests.unit.engine.test_host import bench, records
from tests.unit.engine.world import call, graph

pytestmark = pytest.mark.anyio
__all__ = ["bench"]


def two(then):
    return graph(call("a"), call("b"), call("c"), budget=BudgetDef(tool_calls=2, on_exceed=then))


async def test_a_driver_takes_what_is_added_at_once(bench):
    gate, ends, found = Gate(bench), [], two("pause")
    async with bench.host() as host, running(bench, host, found, ends):
        await gate.until("a", "b")
        await host.store.send(replace(row("more", kind="budget", add={"tool_calls": 1}), run_id="r"))
        await gate.until("c")
        gate.go.set()
    assert ends[0].status == "done"
    assert fold(await proved(bench, found)).totals("").spent("tool_calls") == 3


async def test_a_pause_gives_the_run_up_and_two_additions_of_one_amount_are_two(bench):
    found = two("pause")
    async with bench.host() as host:
        end = await bench.start(host, found)
        assert (end.status, end.reason) == ("paused", "limit")
        assert end.waits[0]["dimension"] == "tool_calls"
        assert (await host.store.get_run("r")).reason == "limit"
        for number in range(2):
            await host.store.send(row(f"more{number}", kind="budget", add={"tool_calls": 1}))
        end = await host.resume("r")
    assert end.status == "done"
    added = [record.body["add"] for record in await records(bench, "r") if record.kind == "budget_added"]
    assert added == [{"tool_calls": 1}, {"tool_calls": 1}]
    await proved(bench, found)


async def test_a_run_that_a_budget_ended_is_taken_up_and_waits(bench):
    from orchestrator.journal.records import Draft

    found = two("fail")
    async with bench.host() as host:
        assert (await bench.start(host, found)).status == "limited"
        await host.reopen("r", [Draft("budget_added", "", {"add": {"tool_calls": 5}, "by": "me"})], reason="limit")
        assert (await host.store.get_run("r")).status == "paused"
        assert (await host.resume("r")).status == "done"
    assert sum(record.kind == "started" for record in await proved(bench, found)) == 3


async def test_a_cancel_ends_a_run_that_waits_for_money_even_where_it_has_to_clean_up(bench):
    found = replace(two("pause"), root=replace(two("pause").root, finally_=(call("z"),)))
    async with bench.host() as host:
        assert (await bench.start(host, found)).status == "paused"
        await host.store.send(row("cancel"))
        with anyio.fail_after(10):
            assert (await host.resume("r")).status == "cancelled"
    assert [record.path for record in await records(bench, "r") if record.kind == "started"] == ["a", "b"]


async def test_a_deadline_ends_what_runs(bench):
    gate, ends = Gate(bench), []
    found = graph(call("a"), budget=BudgetDef(deadline=50_000))
    async with bench.host() as host, running(bench, host, found, ends):
        await gate.until("a")
    assert ends[0].status == "limited"
    assert ends[0].error["detail"]["dimension"] == "deadline"
