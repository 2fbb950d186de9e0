"""Agents that reach each other: delegates, handoffs, agents made at run time. What holds through every route and crash."""

from __future__ import annotations

import pytest

from orchestrator.agents.messages import Reply, Usage
from orchestrator.journal.records import Draft
from tests.unit.engine.team import Team, prefixes

DELEGATES = """
inputs: {topic: {type: string, default: tides}}
agents:
  lead: {instructions: Lead., delegates: {scout: {}, critic: {max_calls: 2, context: summary}, clerk: {context: full}}}
  scout: {description: Finds., instructions: "Find on ${{ inputs.topic }}."}
  critic: {instructions: Judge.}
  clerk: {instructions: File.}
steps:
  work: {agent: lead, prompt: Go.}
outputs: {said: "${{ steps.work.output }}"}
"""


def scout(prompt):
    return ("scout", {"prompt": prompt})


def test_a_delegate_is_an_agent_of_its_own_at_the_path_of_the_call():
    script = {"lead": [[scout("one"), scout("two")], "all done"], "scout": ["found"]}
    world = Team(DELEGATES, script, inputs={"topic": "moons"}).play()
    assert world.end == {"status": "done", "outputs": {"said": "all done"}}
    calls = [(agent, path) for agent, path, _, _ in world.said]
    assert sorted(calls[1:3]) == [("scout", "work/turn1/tool0/turn1"), ("scout", "work/turn1/tool1/turn1")]
    system, messages = next((s, m) for _, path, s, m in world.said if path == "work/turn1/tool0/turn1")
    assert system == "Find on moons."
    assert [block["text"] for block in messages[0]["content"]] == ["one"]
    last = world.said[-1][3][-1]["content"]
    assert [block["content"] for block in last] == ["found", "found"]
    assert world.verify() is None


def test_what_a_delegate_is_told_of_its_callers_conversation():
    talk = [
        Reply([{"type": "text", "text": "Thinking."}, _use("c0", "scout", "a")], "tool_use", Usage(1, 1)),
        [("critic", {"prompt": "judge"}), ("clerk", {"prompt": "file"})],
        "end",
    ]
    world = Team(DELEGATES, {"lead": talk, "scout": ["SECRET RESULT"], "critic": ["ok"], "clerk": ["ok"]}).play()
    told = {agent: messages[0]["content"][0]["text"] for agent, _, _, messages in world.said if agent != "lead"}
    assert told["scout"] == "a"
    assert told["critic"].endswith("What you are asked:\n\njudge")
    assert "user: Go." in told["critic"]
    assert "assistant: Thinking." in told["critic"]
    assert "SECRET" not in told["critic"]
    assert "result: SECRET RESULT" in told["clerk"]
    assert "assistant calls scout" in told["clerk"]
    # The call that is under way has no result, and is not told.
    assert "calls clerk" not in told["clerk"]


def _use(id_, name, prompt):
    return {"type": "tool_use", "id": id_, "name": name, "input": {"prompt": prompt}}


def test_a_delegate_is_called_so_often_by_one_activation():
    critic = ("critic", {"prompt": "x"})
    script = {"lead": [[critic], [critic, critic], "end"], "critic": ["ok"]}
    world = Team(DELEGATES, script).play()
    assert world.error("work/turn2/tool1")["code"] == "too_many_calls"
    assert "called 2 times" in world.error("work/turn2/tool1")["message"]
    assert world.state.steps["work/turn2/tool0"].output == "ok"
    assert world.end["outputs"] == {"said": "end"}


def test_a_delegate_that_fails_is_a_result_for_its_caller():
    cut = Reply([{"type": "text", "text": "I"}], "max_tokens", Usage(1, 1))
    world = Team(DELEGATES, {"lead": [[scout("x")], "so be it"], "scout": [cut]}).play()
    assert world.end["outputs"] == {"said": "so be it"}
    result = world.said[-1][3][-1]["content"][0]
    assert result["is_error"]
    assert "max_tokens" in result["content"]


@pytest.mark.parametrize(
    ("call", "code"),
    [(("nobody", {"prompt": "x"}), "unknown_tool"), (("lead", {"prompt": "x"}), "unknown_tool"), (("scout", {}), "invalid_input"),
     (("scout", {"prompt": ""}), "invalid_input"), (("handoff", {"to": "scout"}), "unknown_tool")],
)  # fmt: skip
def test_a_call_of_somebody_else_is_a_result(call, code):
    world = Team(DELEGATES, {"lead": [[call], "end"]}).play()
    assert world.error("work/turn1/tool0")["code"] == code
    assert world.end["status"] == "done"


def test_an_agent_that_only_calls_others_comes_to_its_turn_limit():
    world = Team(DELEGATES.replace("Lead.,", "Lead., turns: 3,"), {"lead": [[scout("x")]], "scout": ["ok"]}).play()
    assert world.end["status"] == "failed"
    assert world.end["error"]["code"] == "turn_limit"


@pytest.mark.parametrize("seed", range(3))
def test_no_finished_turn_of_a_delegate_is_repeated_after_any_crash(seed):
    critic = ("critic", {"prompt": "x"})
    script = {"lead": [[scout("a"), critic], [critic, critic], "end"], "scout": [[("nope", {})], "f"], "critic": ["ok"]}
    prefixes(lambda: Team(DELEGATES, script, seed=seed))


def test_a_large_result_is_read_on():
    script = {"lead": [[scout("x")], [("read_result", {"id": "turn1/tool0", "offset": 65536})], "end"]}
    world = Team(DELEGATES, script | {"scout": ["a" * 65536 + "tail"]}).play()
    assert "65540 characters" in world.said[-1][3][2]["content"][0]["content"]
    assert world.end["status"] == "done"


def test_a_cancelled_call_goes_on_where_it_was_after_a_resume():
    script = {"lead": [[scout("a")], "end"], "scout": [[("nope", {})], "found"]}
    world = Team(DELEGATES, script)
    while "work/turn1/tool0/turn2" not in world.decider.in_flight:
        world.tick()
    world.say(Draft("cancel_requested", "", {}))
    world.play()
    assert world.end["status"] == "cancelled"
    world.performed.clear()
    world.reopen()
    world.play()
    assert world.end["outputs"] == {"said": "end"}
    assert [path for path, _ in world.performed] == ["work/turn1/tool0/turn2", "work/turn2"]
    assert world.verify() is None


DEPTH = """
agents:
  lead: {delegates: {lead: {}}}
budget: {depth: 3}
steps:
  work: {agent: lead, prompt: Go.}
outputs: {said: "${{ steps.work.output }}"}
"""


def test_an_agent_that_calls_itself_stops_at_its_depth():
    world = Team(DEPTH, {"lead": [[("lead", {"prompt": "deeper"})], "end"]}).play()
    depths = [path.count("/tool0") for _, path, _, _ in world.said]
    assert max(depths) == 2
    assert world.error("work" + "/turn1/tool0" * 3)["code"] == "limited"
    assert world.end["outputs"] == {"said": "end"}


def test_agents_stand_only_so_deep_in_each_other_whatever_the_budget():
    world = Team(DEPTH.replace("depth: 3", "depth: 999"), {"lead": [[("lead", {"prompt": "deeper"})], "end"]}).play()
    assert world.error("work" + "/turn1/tool0" * 64)["code"] == "too_deep"
    assert world.end["outputs"] == {"said": "end"}
    deep = Team(DEPTH.replace("depth: 3", "depth: 999"), {"lead": [[("lead", {"prompt": "deeper"})], "end"]})
    while "work" + "/turn1/tool0" * 60 + "/turn1" not in deep.decider.in_flight:
        deep.tick()
    deep.say(Draft("cancel_requested", "", {}))
    assert deep.play().end["status"] == "cancelled"


# Handoffs

HANDOFFS = """
inputs: {n: {type: integer, default: 9}}
tools:
  look: {shell: {argv: [x]}, effect: read}
agents:
  desk: {instructions: Desk., handoffs: {clerk: {return: true}, billing: {}, broken: {}}, turns: 3}
  clerk: {instructions: Clerk., handoffs: {aide: {}}, output: {known: boolean}}
  aide: {instructions: Aide.}
  billing: {instructions: Billing., tools: [look], output: {sum: integer}, turns: 2, handoffs: {desk: {}}}
  broken: {instructions: "${{ [1][inputs.n] }}"}
budget: {depth: 4}
steps:
  help: {agent: desk, prompt: Help.}
outputs: {said: "${{ steps.help.output }}"}
"""


def to(name):
    return ("handoff", {"to": name})


def test_control_passes_with_the_conversation():
    script = {"desk": [[to("billing")]], "billing": [[("look", {})], '{"sum": 3}']}
    world = Team(HANDOFFS, script).play()
    assert world.end["outputs"] == {"said": {"sum": 3}}
    assert [(agent, path, system) for agent, path, system, _ in world.said] == [
        ("desk", "help/turn1", "Desk."),
        ("billing", "help/turn2", "Billing."),
        ("billing", "help/turn3", "Billing."),
    ]
    before, after = world.said[0][3], world.said[2][3]
    assert after[: len(before)] == before
    assert after[2]["content"][0]["content"] == "Control has passed to billing."
    assert world.verify() is None


def test_the_last_agent_is_held_to_its_own_output():
    script = {"desk": [[to("billing")]], "billing": ["no json", "no json", "no json", "no json"]}
    world = Team(HANDOFFS, script).play()
    assert world.end["error"]["code"] == "turn_limit"
    assert "2 turns" in world.end["error"]["message"]


def test_control_comes_back_where_that_is_said():
    script = {"desk": [[to("clerk")], "thanks"], "clerk": ['{"known": true}']}
    world = Team(HANDOFFS, script).play()
    assert world.end["outputs"] == {"said": "thanks"}
    assert [agent for agent, *_ in world.said] == ["desk", "clerk", "desk"]
    back = world.said[-1][3][-1]
    assert back["role"] == "user"
    assert back["content"][0]["text"] == 'Control is back from clerk, which says:\n\n{"known":true}'


def test_control_comes_back_to_who_lent_it_from_whoever_ends():
    script = {"desk": [[to("clerk")], "thanks"], "clerk": [[to("aide")]], "aide": ["helped"]}
    world = Team(HANDOFFS, script).play()
    assert [agent for agent, *_ in world.said] == ["desk", "clerk", "aide", "desk"]
    assert world.end["outputs"] == {"said": "thanks"}


def test_an_agent_has_its_own_turns_before_and_after_it_lent_control():
    script = {"desk": [[to("clerk")]], "clerk": ['{"known": true}']}
    world = Team(HANDOFFS, script).play()
    assert [agent for agent, *_ in world.said] == ["desk", "clerk"] * 3
    assert world.end["error"]["code"] == "turn_limit"
    assert world.end["error"]["detail"] == {"turns": 3}


def test_control_passes_once_in_a_turn_when_all_calls_have_ended():
    script = {"desk": [[("nope", {}), to("billing"), to("clerk"), to("nobody")]], "billing": ['{"sum": 1}']}
    world = Team(HANDOFFS, script).play()
    assert world.end["outputs"] == {"said": {"sum": 1}}
    assert [world.error(f"help/turn1/tool{n}")["code"] for n in (0, 2, 3)] == [
        "unknown_tool", "one_handoff", "invalid_input",
    ]  # fmt: skip


def test_handoffs_stop_at_their_depth_and_whoever_has_control_goes_on():
    script = {"desk": [[to("billing")], "tired"], "billing": [[to("desk")], '{"sum": 0}']}
    world = Team(HANDOFFS, script).play()
    assert [agent for agent, *_ in world.said] == ["desk", "billing", "desk", "billing", "billing"]
    assert world.error("help/turn4/tool0")["code"] == "too_deep"
    assert world.end["outputs"] == {"said": {"sum": 0}}


def test_an_agent_that_cannot_take_over_fails_the_step():
    world = Team(HANDOFFS, {"desk": [[to("broken")]]}).play()
    assert world.end["status"] == "failed"
    assert world.end["error"]["code"] == "E261"
    assert (
        Team(HANDOFFS, {"desk": [[to("broken")]], "broken": ["fine"]}, inputs={"n": 0}).play().end["status"] == "done"
    )


def test_whoever_has_control_may_read_results_of_others():
    script = {
        "desk": [[to("clerk")], "ok"],
        "clerk": [[to("aide")]],
        "aide": [[("read_result", {"id": "turn1/tool0"})], "a"],
    }
    world = Team(HANDOFFS, script).play()
    assert world.state.steps["help/turn3/tool0"].status == "done"


def test_handoffs_are_the_same_after_any_crash():
    script = {
        "desk": [[to("clerk"), ("nope", {})], [to("billing")]],
        "clerk": [[to("aide")]],
        "aide": ["helped"],
        "billing": [[("look", {})], '{"sum": 3}'],
    }
    prefixes(lambda: Team(HANDOFFS, script))


def test_what_a_step_wants_is_wanted_of_the_last_agent():
    text = HANDOFFS.replace("prompt: Help.}", "prompt: Help., output: {a: integer}}")
    script = {
        "desk": [[to("clerk")], [to("billing")]],
        "clerk": ['{"known": true}'],
        "billing": ['{"sum": 1}', '{"a": 1}'],
    }
    world = Team(text, script).play()
    assert world.end["outputs"] == {"said": {"a": 1}}


# Agents made at run time

SPAWN = """
tools:
  look: {shell: {argv: [x]}, effect: read}
  write: {files: {root: ., operations: [read, write]}}
agents:
  lead:
    tools: [look, write]
    spawn: {tools: [look, write.read], max_agents: 3, depth: 2}
    delegates: {maker: {}}
  maker: {spawn: {max_agents: 5, depth: 5}, delegates: {maker: {budget: {depth: 3}}}}
steps:
  work: {agent: lead, prompt: Go.}
outputs: {said: "${{ steps.work.output }}"}
"""


def spawn(prompt="x", **more):
    return ("spawn", {"instructions": f"Do {prompt}.", "prompt": prompt, **more})


def test_an_agent_that_is_made_is_recorded_before_it_acts():
    world = Team(SPAWN, {"lead": [[spawn("a", tools=["write.read"])], "end"], "spawned": ["made"]}).play()
    kinds = [(r.kind, r.path) for r in world.records if r.path.startswith("work/turn1/tool0")]
    assert kinds[:2] == [("expanded", "work/turn1/tool0"), ("started", "work/turn1/tool0/turn1")]
    body = next(r.body for r in world.records if r.kind == "expanded")
    assert body["agent"] == {"name": "spawned", "model": "default", "tools": ["write.read"], "instructions": "Do a."}
    assert body["takes"] == [["work", "agents", 1]]
    assert world.verify() is None


def test_an_agent_that_is_made_has_what_it_was_given_and_no_more():
    def reply(agent, turn, talk, intent):
        if agent == "lead":
            return [[spawn("a", tools=["write.read"]), spawn("b")], "end"][min(turn, 2) - 1]
        seen[talk.prompt] = sorted(talk.offers)
        return "ok"

    seen = {}
    Team(SPAWN, reply).play()
    assert seen == {
        "a": ["read_result", "spawn", "write__read"],
        "b": ["look", "read_result", "spawn", "write__read"],
    }


@pytest.mark.parametrize(
    "args",
    [{"tools": ["write"]}, {"tools": ["write.write"]}, {"model": "other"}, {"instructions": ""}, {"depth": 9}],
)
def test_what_is_not_in_the_lists_cannot_be_given(args):
    world = Team(SPAWN, {"lead": [[spawn("a", **args)], "end"]}).play()
    assert world.error("work/turn1/tool0")["code"] == "invalid_input"


def test_agents_made_by_those_that_were_made_count():
    script = {"lead": [[spawn(), spawn(), spawn()], "end"], "spawned": [[spawn()], "ok"]}
    world = Team(SPAWN, script).play()
    made = [r for r in world.records if r.kind == "expanded"]
    assert len(made) == 3
    over = [step.error["code"] for step in world.state.steps.values() if step.error]
    assert over == ["too_many_agents"] * len(over)
    assert over
    assert world.end["status"] == "done"


def test_agents_that_are_made_nest_so_deep():
    def reply(agent, turn, talk, intent):
        deepest.append(intent.path.count("/tool0"))
        return [spawn()] if turn == 1 and "spawn" in talk.offers else "ok"

    deepest = []
    world = Team(SPAWN, reply).play()
    assert max(deepest) == 2
    assert world.end["status"] == "done"


def test_bounds_hold_through_delegates():
    script = {
        "lead": [[("maker", {"prompt": "x"}), ("maker", {"prompt": "y"})], "end"],
        "maker": [[spawn(), spawn()], "ok"],
        "spawned": ["ok"],
    }
    world = Team(SPAWN, script).play()
    made = [r for r in world.records if r.kind == "expanded"]
    # Two makers with five each, under one that may make three.
    assert len(made) == 3
    assert all(["work", "agents", 1] in r.body["takes"] for r in made)
    errors = [s.error["message"] for s in world.state.steps.values() if s.error]
    assert errors == ["work, and all inside it, may make 3 agents (max_agents)"]


def test_depth_never_starts_anew():
    def reply(agent, turn, talk, intent):
        if agent == "lead":
            return [("maker", {"prompt": "x"})] if turn == 1 else "end"
        return [spawn()] if turn == 1 and "spawn" in talk.offers else "ok"

    world = Team(SPAWN, reply).play()
    # `maker` may nest five deep, and stands in one that lets two.
    deepest = max((r.path for r in world.records if r.kind == "expanded"), key=len)
    assert deepest == "work/turn1/tool0/turn1/tool0/turn1/tool0"


def test_spawning_is_the_same_after_any_crash():
    script = {"lead": [[spawn("a"), spawn("b")], [spawn("c"), spawn("d")], "end"], "spawned": [[spawn("e")], "ok"]}
    prefixes(lambda: Team(SPAWN, script, seed=4))


FINALLY = """
agents:
  maker: {spawn: {max_agents: 1}}
steps:
  work: {fail: no}
finally:
  tidy: {agent: maker, prompt: Tidy.}
"""


def test_what_is_done_again_from_nothing_may_make_its_agents_again():
    world = Team(FINALLY, {"maker": [[spawn()], "end"], "spawned": ["made"]}).play()
    assert world.end["status"] == "failed"
    assert world.state.taken == {("tidy", "agents"): 1}
    world.reopen()
    world.play()
    assert world.state.taken == {("tidy", "agents"): 1}
    assert world.state.steps["tidy/turn1/tool0"].status == "done"
    assert world.verify() is None
