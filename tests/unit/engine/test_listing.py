"""What a server offers is asked before it matters, recorded, and then never asked again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.expr.values import Const
from orchestrator.graph.nodes import AgentConfig, AgentDef, CallConfig, ModelDef, Node, Retry, ServerDef, ToolDef
from orchestrator.tools.protocol import Done, Failed, Lost
from tests.unit.engine.world import World, calls_reply, graph, text_reply

if TYPE_CHECKING:
    from orchestrator.engine.activation import Intent

LISTED = {
    "tools": [
        {"name": "look", "description": "looks", "input": {"type": "object"}, "hints": {"read_only": True}},
        {"name": "act", "description": "acts", "input": {"type": "object"}},
    ]
}
SERVER = ToolDef(name="s", kind="mcp", server=ServerDef(), config={"command": Const(["x"])})
MODEL = ModelDef(name="default", settings={})


def agent(*tools: ToolDef, operations: dict[str, tuple[str, ...]] | None = None, **more: Any) -> Node:
    made = AgentDef(name="a", model=MODEL, tools=tools, operations=operations or {})
    return Node(name="a", id="a", kind="agent", config=AgentConfig(agent=made, prompt=Const("go")), **more)


def step(name: str = "act", tool: ToolDef = SERVER, **more: Any) -> Node:
    return Node(name="a", id="a", kind="tool", config=CallConfig(tool=tool, operation=name), **more)


def answers(intent: Intent) -> Any:
    """A server that lists, and an agent that calls both of its tools at its first turn."""
    if "@tools" in intent.path:
        return Done(LISTED)
    if intent.kind == "model":
        return calls_reply(("s__look", {}), ("s__act", {})) if intent.path.endswith("turn1") else text_reply("end")
    return Done(f"{intent.request['operation']} done")


def paths(world: World) -> list[str]:
    return [path for path, _ in world.performed]


def started(world: World, path: str) -> dict[str, Any]:
    return next(one.body for one in world.records if one.kind == "started" and one.path == path)


def test_the_first_turn_waits_for_the_list_and_offers_what_is_in_it() -> None:
    world = World(graph(agent(SERVER), outputs={"a": "steps.a.output"}), answer=answers)
    world.play()
    assert world.end is not None
    assert world.end["outputs"] == {"a": "end"}
    assert paths(world)[:2] == ["a/@tools[s]", "a/turn1"]
    assert started(world, "a/@tools[s]")["effect"] == "read"
    assert started(world, "a/turn1/tool0")["effect"] == "read"
    assert started(world, "a/turn1/tool1")["effect"] == "write"


def test_after_a_crash_at_any_record_the_list_that_was_recorded_counts() -> None:
    whole = World(graph(agent(replace(SERVER, effect="read", server=ServerDef(declared=True)))), answer=answers)
    whole.play()
    turn = started(whole, "a/turn1")["hash"]
    for keep in range(1, len(whole.records)):
        world = World(whole.graph, answer=answers)
        world.play()
        world.crash(keep)
        world.performed.clear()
        listed = world.state.steps.get("a/@tools[s]")
        known = listed is not None and listed.status == "done"
        if known:  # another list by now, which nobody asks for
            world.answer = lambda intent: Done({"tools": []}) if "@tools" in intent.path else answers(intent)
        world.play()
        assert world.end is not None, keep
        assert ("a/@tools[s]" in paths(world)) is not known
        assert started(world, "a/turn1")["hash"] == turn
        assert world.verify() is None


def test_a_list_that_fails_fails_the_agent_and_is_asked_again_on_a_resume() -> None:
    broken = Failed("tool_error", "no such server", status=401, detail={"x": 1})
    world = World(graph(agent(SERVER)), answer=lambda intent: broken)
    world.play()
    assert paths(world) == ["a/@tools[s]"]
    assert world.state.steps["a"].error == {
        "code": "tool_error", "message": "the tools of `s`: no such server", "status": 401, "detail": {"x": 1},
        "step": "a/@tools[s]",
    }  # fmt: skip
    world.answer = answers
    world.reopen()
    world.play()
    assert world.state.steps["a"].status == "done"


def test_a_server_that_is_away_is_asked_three_times() -> None:
    world = World(graph(agent(SERVER)), answer=lambda intent: Lost("unavailable", "away"))
    world.play()
    assert world.performed == [("a/@tools[s]", 1), ("a/@tools[s]", 2), ("a/@tools[s]", 3)]
    own = World(graph(agent(SERVER, retry=Retry(attempts=Const(1)))), answer=world.answer)
    own.play()
    assert own.performed == [("a/@tools[s]", 1)]


def test_every_list_has_ended_before_a_failure_counts() -> None:
    other = replace(SERVER, name="z")
    world = World(
        graph(agent(SERVER, other)),
        answer=lambda intent: Failed("tool_error", "no") if "[s]" in intent.path else answers(intent),
    )
    world.play()
    assert sorted(paths(world)) == ["a/@tools[s]", "a/@tools[z]"]
    assert world.state.steps["a"].status == "failed"


def test_an_agent_that_has_some_tools_asks_for_these_alone() -> None:
    seen: list[Any] = []

    def answer(intent: Intent) -> Any:
        if "@tools" in intent.path:
            seen.append(intent.request["tools"])
            return Done({"tools": LISTED["tools"][:1]})
        return text_reply("end")

    named = replace(SERVER, server=ServerDef(tools=("look", "act")))
    World(graph(agent(named)), answer=answer).play()
    some = World(graph(agent(SERVER, operations={"s": ("look",)})), answer=answer)
    some.play()
    World(graph(agent(SERVER)), answer=answer).play()
    assert seen == [["look", "act"], ["look"], None]
    assert paths(some)[0] == "a/@tools[s.look]"


def test_a_server_has_a_folder_of_its_own_and_not_the_steps() -> None:
    folders: list[Any] = []

    def answer(intent: Intent) -> Any:
        folders.append(intent.request.get("dir"))
        return answers(intent)

    World(graph(step(dir=Const("steps"), tool=replace(SERVER, dir=Const("own")))), answer=answer).play()
    World(graph(step(dir=Const("steps"))), answer=answer).play()
    assert folders == ["own", "own", None, None]


@pytest.mark.parametrize(("name", "effect"), [("look", "read"), ("act", "write")])
def test_the_effect_of_a_step_comes_from_the_list(name: str, effect: str) -> None:
    world = World(graph(step(name), outputs={"a": "steps.a.output"}), answer=answers)
    world.play()
    assert paths(world) == [f"a/@tools[s.{name}]", "a"]
    assert started(world, "a")["effect"] == effect


def test_a_step_whose_effect_is_known_asks_for_no_list() -> None:
    world = World(graph(step(tool=replace(SERVER, server=ServerDef(effects={"act": "read"})))), answer=answers)
    world.play()
    assert paths(world) == ["a"]


def test_a_step_whose_list_fails_fails_like_it_and_asks_again_on_a_resume() -> None:
    world = World(graph(step()), answer=lambda intent: Failed("tool_error", "gone"))
    world.play()
    assert paths(world) == ["a/@tools[s.act]"]
    assert world.state.steps["a"].error == {
        "code": "tool_error", "message": "the tools of `s`: gone", "step": "a/@tools[s.act]",
    }  # fmt: skip
    world.answer = answers
    world.reopen()
    world.play()
    assert world.state.steps["a"].status == "done"


def test_a_step_in_doubt_is_reconciled_though_a_list_came_first() -> None:
    from orchestrator.graph.nodes import OnDoubt

    teller = ToolDef(name="t", kind="python", effect="read")
    tool = replace(SERVER, on_doubt=OnDoubt(mode="reconcile", tool=teller))

    def answer(intent: Intent) -> Any:
        if "@reconcile" in intent.path:
            return Done({"told": True})
        return answers(intent)

    world = World(graph(step(tool=tool), outputs={"a": "steps.a.output"}), answer=answer)
    while "a" not in world.state.steps or not world.state.steps["a"].open:
        assert world.tick()
    world.crash()
    world.play()
    assert world.end is not None
    assert world.end["outputs"] == {"a": {"told": True}}


def test_a_cancelled_run_cancels_the_list() -> None:
    from orchestrator.journal.records import Draft

    world = World(graph(agent(SERVER)), answer=answers)
    assert world.tick()
    world.say(Draft("cancel_requested", "", {}))
    world.play()
    assert world.end is not None
    assert world.end["status"] == "cancelled"
    assert world.performed == []
