"""What comes to an agent from outside, and what is left out of its conversation: messages, hooks, compaction."""

from __future__ import annotations

import os
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.steps.agent import asked_of, reading_turn
from orchestrator.expr.values import Const, Expression
from orchestrator.graph.nodes import AgentConfig, AgentDef, ContextDef, HooksDef, ModelDef, Node
from orchestrator.journal.records import Draft
from orchestrator.tools.protocol import Done, Failed
from tests.unit.engine.graphs import NUMBER, Rough, fate
from tests.unit.engine.test_properties import prove, same, whole
from tests.unit.engine.world import World, call, calls_reply, graph, text_reply, tool

MODEL = ModelDef(name="m", settings={"provider": Const("scripted")})


def agent(name: str = "g", *, turns: int = 24, hooks: HooksDef | None = None, **more: Any) -> Node:
    definition = AgentDef(
        name="a", model=MODEL, tools=(tool("read", input=NUMBER),), turns=Const(turns), hooks=hooks, **more
    )
    return Node(name=name, id=name, kind="agent", config=AgentConfig(agent=definition, prompt=Const("go")))


class Talking(Rough):
    """An agent that calls on and on, with results of all sizes; people speak to it, hooks meddle, and it crashes."""

    def respond(self, intent: Any) -> Any:
        chosen = fate(intent.path, self.state.steps[intent.path].failures, 1000)
        if intent.act.role == "hook":
            if "tool" not in intent.path:
                return Done({"request.system": "other"} if chosen % 2 else {})
            return Done(({}, {"args": {"x": 7}}, {"result": "r" * (chosen % 300)})[chosen % 3])
        if intent.act.kind == "summary":
            return Failed("unavailable", "no") if chosen % 4 == 0 else text_reply("s" * (chosen % 700))
        if intent.kind == "model":
            if chosen % 9 == 0:
                return text_reply("well" * (chosen % 90), stop="pause_turn")
            return calls_reply(*[("t", {"x": index}) for index in range(chosen % 3 + 1)])
        return Done("y" * (chosen % 500 if chosen % 7 else 5_000))


def talk(seed: int) -> Node:
    rng = random.Random(seed)
    strategy: Any = rng.choice(["summarize", "drop"])
    context = ContextDef(max_tokens=rng.choice([500, 700, 1_500]), keep=rng.choice([None, 0, 2, 5]), strategy=strategy)
    hooks = HooksDef(before_model="m:f", before_tool="m:g") if rng.randrange(3) == 0 else None
    return agent(turns=14, context=context, hooks=hooks)


@settings(prove, max_examples=2_000 if os.environ.get("ORCH_PROVE") else 30)
@given(st.integers(0, 2**32))
def test_what_is_said_and_left_out_is_the_same_after_any_crash(seed):
    found = graph(talk(seed), call("other"))
    world = Talking(found, seed=seed, rough=True)
    while world.tick():
        same(world)
        if world.rng.randrange(15) == 0:
            world.crash()
    whole(world)


def test_conversations_are_cut_in_front_of_replies_and_stay_under_their_bound():
    seen = {"drop": 0, "summarize": 0, "shrink": 0}
    for seed in range(40):
        world = Talking(graph(talk(seed)), seed=seed)
        while world.tick():
            for act in world.decider.acts.values():
                if act.kind == "turn":
                    _fits(world, act)
        for record in world.records:
            if record.kind == "compacted":
                seen[record.body["strategy"]] += 1
                seen["shrink"] += "shrink" in record.body
    assert all(seen.values()), seen


def _fits(world: World, act: Any) -> None:
    context = act.owner.node.config.agent.context
    asked = asked_of(world.decider, act)
    assert act.owner.data.conversation.size + act.owner.data.frame_size <= context.max_tokens * 3
    calls = [block["id"] for message in asked.messages for block in message["content"] if block["type"] == "tool_use"]
    results = [
        block["tool_use_id"] for message in asked.messages for block in message["content"] if "tool_use_id" in block
    ]
    assert calls == results


def said_to(world: World, path: str = "g") -> list[str]:
    """The user's texts of the next request."""
    talked = world.decider.acts[path].data.conversation
    return [
        block["text"]
        for message in talked.messages
        if message["role"] == "user"
        for block in message["content"]
        if block["type"] == "text"
    ]


def speak(world: World, text: str) -> int:
    turn = reading_turn(world.decider.acts["g"])
    assert turn is not None
    world.say(Draft("received", "g", {"kind": "message", "by": "me", "text": text, "turn": turn}))
    return turn


def answer(replies: list[Any]) -> Any:
    return lambda intent: replies.pop(0) if intent.kind == "model" else Done(1)


def start(world: World) -> None:
    world.start(next(iter(world.decider.permitted.values())))


def end(world: World) -> None:
    world.end_of(next(iter(world.decider.in_flight.values())))


def test_what_is_said_while_the_model_is_asked_is_read_by_the_turn_after():
    world = World(graph(agent()), answer=answer([calls_reply(("t", {"x": 1})), text_reply("fine")]))
    start(world)
    assert speak(world, "hurry") == 2
    assert said_to(world) == ["go"]
    end(world)
    assert speak(world, "and be kind") == 2
    world.tick()
    world.tick()
    assert said_to(world) == ["go", "hurry", "and be kind"]
    assert world.play().end == {"status": "done", "outputs": {}}


def test_an_agent_that_was_spoken_to_answers_before_it_ends():
    world = World(graph(agent()), answer=answer([text_reply("done"), text_reply("really done")]))
    start(world)
    speak(world, "one more thing")
    end(world)
    assert "g/turn2" in world.decider.permitted
    world.crash()
    assert said_to(world) == ["go", "one more thing"]
    assert world.play().state.steps["g"].output == "really done"


def test_an_agent_without_turns_left_ends_all_the_same():
    world = World(graph(agent(turns=1)), answer=answer([text_reply("done")]))
    start(world)
    speak(world, "one more thing")
    end(world)
    assert world.state.steps["g"].output == "done"
    assert reading_turn(None) is None


def test_an_agent_that_is_being_stopped_reads_nothing_more():
    world = World(
        graph(agent(), call("bad")), answer=lambda i: text_reply("x") if i.kind == "model" else Failed("no", "")
    )
    for intent in list(world.decider.permitted.values()):
        world.start(intent)
    act = world.decider.acts["g"]
    world.end_of(world.decider.in_flight["bad"])
    assert reading_turn(act) is None


def test_a_prompt_over_the_bound_fails_and_says_so():
    world = World(graph(agent(context=ContextDef(max_tokens=20)))).play()
    error = world.state.steps["g"].error
    assert error is not None
    assert error["code"] == "context"
    assert "20" in error["message"]


def test_what_was_left_out_can_be_read_again():
    replies = [calls_reply(("t", {"x": n})) for n in range(8)]
    reading = [
        ("read_result", {"id": name}) for name in ("context1", "context9", "contextx", "context1x", "turn2/tool0")
    ]
    replies += [calls_reply(*reading), text_reply("well")]
    requests: dict[str, Any] = {}

    def respond(intent: Any) -> Any:
        if intent.kind == "model":
            return replies.pop(0)
        requests[intent.path] = intent.request
        return Done("y" * 300)

    world = World(graph(agent(context=ContextDef(max_tokens=1_000, keep=2, strategy="drop"))), answer=respond).play()
    assert world.end == {"status": "done", "outputs": {}}
    assert requests["g/turn9/tool0"]["text"].startswith("assistant calls t:")
    assert requests["g/turn9/tool4"]["text"] == "y" * 300
    errors = [world.state.steps[f"g/turn9/tool{index}"].error for index in (1, 2, 3)]
    assert all(error is not None and "was cut" in error["message"] for error in errors)


def test_a_hook_that_fails_fails_the_call_that_it_sees():
    hooks = HooksDef(before_tool="m:g")
    replies = [calls_reply(("t", {"x": 1})), text_reply("oh")]

    def respond(intent: Any) -> Any:
        if intent.kind == "model":
            return replies.pop(0)
        return Failed("tool_error", "no") if intent.act.role == "hook" else Done(1)

    world = World(graph(agent(hooks=hooks)), answer=respond).play()
    error = world.state.steps["g/turn1/tool0"].error
    assert error is not None
    assert error["code"] == "hook_error"
    assert world.state.steps["g"].output == "oh"


def test_a_hook_of_the_model_that_fails_fails_the_agent_and_a_resume_asks_the_hook_again():
    hooks = HooksDef(before_model="m:f")
    fails = [True]

    def respond(intent: Any) -> Any:
        if intent.kind == "model":
            return text_reply("ok")
        return Failed("tool_error", "no") if fails.pop() else Done({})

    world = World(graph(agent(hooks=hooks)), answer=respond).play()
    assert world.end is not None
    assert world.end["status"] == "failed"
    assert world.state.steps["g"].error["code"] == "hook_error"  # pyright: ignore[reportOptionalSubscript]
    fails.append(False)
    world.reopen()
    assert world.play().end == {"status": "done", "outputs": {}}


def test_hooks_of_the_file_see_the_tools_of_steps_too():
    seen: list[str] = []

    def respond(intent: Any) -> Any:
        seen.append(intent.path)
        return Done({"args": {"x": 5}}) if intent.act.role == "hook" else Done(intent.request["args"]["x"])

    step = call("a", {"x": 1}, on=tool("read"))
    step = Node(name="a", id="a", kind="tool", config=step.config)
    world = World(graph(step, call("b", {"x": 1}), hooks=HooksDef(before_tool="m:g")), answer=respond).play()
    assert sorted(seen) == ["a", "a/@before_tool", "b"]
    assert world.state.steps["a"].output == 5
    assert world.state.steps["b"].output == 1


def test_arguments_that_a_hook_gives_are_checked_like_any_others():
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "additionalProperties": False}
    step = call("a", {"x": 1}, on=tool("read", input=schema))
    step = Node(name="a", id="a", kind="tool", config=step.config)
    world = World(
        graph(step, hooks=HooksDef(before_tool="m:g")),
        answer=lambda intent: Done({"args": {"y": 5}}) if intent.act.role == "hook" else Done(1),
    ).play()
    error = world.state.steps["a"].error
    assert error is not None
    assert error["code"] == "invalid_input"


def test_an_agent_without_a_prompt_is_asked_all_the_same():
    step = agent()
    config = step.config
    assert isinstance(config, AgentConfig)
    bare = Node(name="g", id="g", kind="agent", config=AgentConfig(agent=config.agent))
    assert said_to(World(graph(bare))) == [" "]


def test_a_prompt_with_a_part_that_is_absent_skips_the_agent():
    step = agent()
    config = step.config
    assert isinstance(config, AgentConfig)
    absent = AgentConfig(agent=config.agent, prompt=Expression("steps.a.output"))
    skipped = call("a", condition="false")
    world = World(graph(skipped, Node(name="g", id="g", kind="agent", config=absent, needs=("a",)))).play()
    assert world.state.steps["g"].status == "skipped"
