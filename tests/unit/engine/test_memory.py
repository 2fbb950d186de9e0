"""Facts over runs: what a call asks for, and what the store makes of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from orchestrator.agents.keeping import FACT_BYTES, RECALLED_FACTS
from orchestrator.engine.steps.memory import PAGE, perform
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import AgentConfig, AgentDef, MemoryDef, ModelDef, Node
from orchestrator.journal.store import Fact
from orchestrator.stores import open_store
from orchestrator.tools.protocol import Done, Failed
from tests.unit.engine.world import World, calls_reply, graph, text_reply

pytestmark = pytest.mark.anyio


def world(*calls, runs=False):
    """A run whose agent makes these calls at once; left where they are permitted, unless it ``runs``."""
    definition = AgentDef(
        name="a", model=ModelDef(name="m", settings={"provider": Const("scripted")}), memory=MemoryDef(scope="team")
    )
    node = Node(name="a", id="a", kind="agent", config=AgentConfig(agent=definition, prompt=Const("go")))
    replies = {"a/turn1": calls_reply(*calls)}
    made = World(graph(node), answer=lambda intent: replies.get(intent.path, text_reply("end")))
    if not runs:
        made.start(made.decider.permitted["a/turn1"])
        made.end_of(made.decider.in_flight["a/turn1"])
    return made


def intents(*calls):
    return list(world(*calls).decider.permitted.values())


def test_remember_has_a_key_and_says_the_same_when_it_is_sent_again():
    made = world(("remember", {"key": "k", "text": "t"}), ("recall", {"query": "q"}))
    one, two = made.decider.permitted.values()
    at = made.state.steps["a/turn1"].ended_at
    assert (one.kind, one.tool, one.effect, bool(one.key)) == ("builtin", "remember", "idempotent", True)
    assert one.request == {"scope": "team", "key": "k", "text": "t", "at": at, "by_run": "run-1"}
    assert (two.kind, two.tool, two.effect, two.key) == ("builtin", "recall", "read", "")
    assert two.request == {"scope": "team", "query": "q"}
    made.start(one)
    made.crash()
    again = made.decider.permitted["a/turn1/tool0"]
    assert (again.request, again.key, again.hash, again.attempt) == (one.request, one.key, one.hash, 2)


def test_what_is_asked_does_not_depend_on_the_run():
    one, two, three = intents(*[("remember", {"key": "k", "text": text}) for text in ("t", "t", "other")])
    assert one.hash == two.hash != three.hash


def test_a_text_has_a_largest_size():
    made = world(("remember", {"key": "k", "text": "ä" * (FACT_BYTES // 2) + "x"}))
    step = made.state.steps["a/turn1/tool0"]
    assert (step.status, step.error["code"]) == ("failed", "too_large")
    assert len(intents(("remember", {"key": "k", "text": "ä" * (FACT_BYTES // 2)}))) == 1


async def test_a_run_finds_what_another_one_kept():
    store = open_store("memory:")
    (one,) = intents(("remember", {"key": "oven", "text": "It is slow."}))
    assert await perform(store, one) == Done({"key": "oven"})
    assert await perform(store, one) == Done({"key": "oven"})
    (found,) = await store.facts("team")
    assert (found.key, found.text, found.by_run, found.at) == ("oven", "It is slow.", "run-1", one.request["at"])
    asked = intents(("recall", {"query": "OVEN"}), ("recall", {"query": "fridge"}))
    assert [await perform(store, intent) for intent in asked] == [
        Done([{"key": "oven", "text": "It is slow."}]),
        Done([]),
    ]


async def test_the_best_facts_are_found_over_all_pages():
    store = open_store("memory:")
    for number in range(PAGE + 50):
        await store.remember(Fact("team", f"k{number:04}", "tin" if number % 100 else "silver spoon", 1, "r"))
    await store.remember(Fact("team", "zz", "silver spoon, the spoon of silver", 1, "r"))
    await store.remember(Fact("other", "silver", "silver", 1, "r"))
    (intent,) = intents(("recall", {"query": "silver spoon"}))
    found = await perform(store, intent)
    assert isinstance(found, Done)
    assert [one["key"] for one in found.output] == ["k0000", "k0100", "k0200", "k0300", "k0400", "k0500", "zz"]
    (everything,) = intents(("recall", {"query": ""}))
    assert len((await perform(store, everything)).output) == RECALLED_FACTS


async def test_what_the_store_refuses_is_a_failed_call(tmp_path):
    (bad,) = intents(("remember", {"key": "k", "text": "a\0b"}))
    found = await perform(open_store("memory:"), bad)
    assert isinstance(found, Failed)
    assert found.code == "invalid_input"
    store = open_store(f"sqlite:{tmp_path}/runs.db")
    await store.open()
    with closing(sqlite3.connect(tmp_path / "runs.db")) as db:
        db.execute("DROP TABLE memory")
    away = [await perform(store, intent) for intent in intents(("recall", {"query": ""}))]
    await store.aclose()
    assert [one.code for one in away] == ["unavailable"]
