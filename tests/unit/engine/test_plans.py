"""Agents that plan: what is recorded, what runs, and what bounds it, through every route and crash."""

from __future__ import annotations

import os
import random

import pytest

from orchestrator.engine import planning
from orchestrator.engine.planning import Plan
from orchestrator.journal.records import Draft
from tests.unit.engine.team import Team, prefixes

PLANNER = """
inputs: {words: {type: [string], default: [a, b]}}
tools:
  look: {shell: {argv: [x]}, input: {q: string}, output: string, effect: read}
agents:
  lead:
    tools: [look]
    delegates: {critic: {max_calls: 2, budget: {model_calls: 3}}}
    plan: {max_steps: 6, kinds: [agent, tool, map, set, fail, steps]}
  critic: {instructions: Judge., output: {good: boolean}}
steps:
  work: {agent: lead, prompt: Go.}
outputs: {said: "${{ steps.work.output }}"}
"""
LOOK = {"tool": "look", "with": {"q": "${{ word }}"}}
EACH = {"map": "inputs.words", "as": "word", "do": LOOK}


def plan(steps, **outputs):
    return ("plan", {"steps": steps} | ({"outputs": outputs} if outputs else {}))


def test_an_accepted_plan_is_recorded_and_runs_as_a_group():
    steps = {"each": EACH, "judge": {"agent": "critic", "prompt": "Are ${{ steps.each.output }} good?"}}
    call = plan(steps, good="${{ steps.judge.output.good }}", found="${{ steps.each.output }}")
    world = Team(PLANNER, {"lead": [[call], "end"], "critic": ['{"good": true}']}).play()
    assert world.end["outputs"] == {"said": "end"}
    first = next(r for r in world.records if r.path == "work/turn1/tool0" and r.kind == "expanded")
    assert first.body["takes"] == [["work", "steps", 3]]
    assert world.state.steps["work/turn1/tool0"].output["good"] is True
    assert {"work/turn1/tool0/each[1]", "work/turn1/tool0/judge/turn1"} <= set(world.state.steps)
    assert '"good":true' in world.said[-1][3][-1]["content"][0]["content"]
    assert world.verify() is None


def test_a_plan_without_outputs_gives_those_of_its_steps():
    world = Team(PLANNER, {"lead": [[plan({"a": {"set": {"x": 1}}})], "end"]}).play()
    assert world.state.steps["work/turn1/tool0"].output == {"a": {"x": 1}}


def test_all_problems_come_back_at_once_and_nothing_runs():
    steps = {
        "a": {"tool": "lok", "with": {"q": 1}},
        "b": {"tool": "look", "with": {"q": "${{ steps.nowhere.output }}"}},
        "c": {"run": "rm -rf /"},
        "d": {"agent": "lead", "prompt": "again"},
    }
    world = Team(PLANNER, {"lead": [[plan(steps, x="${{ secrets.KEY }}")], "end"]}).play()
    error = world.error("work/turn1/tool0")
    assert error["code"] == "invalid_plan"
    found = {(one["code"], one["at"]) for one in error["detail"]["problems"]}
    assert found == {
        ("E233", "steps.a.tool"),
        ("E230", "steps.b.with.q"),
        ("E408", "steps.c.run"),
        ("E232", "steps.d.agent"),
        ("E239", "outputs.x"),
    }
    assert world.end["outputs"] == {"said": "end"}
    assert [path for path, _ in world.performed] == ["work/turn1", "work/turn1/tool0", "work/turn2"]


def test_a_step_that_fails_is_a_result_with_its_path():
    world = Team(PLANNER, {"lead": [[plan({"a": {"fail": {"message": "no luck", "code": "bad"}}})], "end"]}).play()
    result = world.said[-1][3][-1]["content"][0]
    assert result["is_error"]
    assert result["content"] == '{"error":"bad: no luck","step":"work/turn1/tool0/a"}'
    assert world.end["status"] == "done"


def test_a_plan_of_ten_thousand_steps_is_refused():
    steps = {f"s{n}": {"set": {"x": n}} for n in range(10_000)}
    world = Team(PLANNER, {"lead": [[plan(steps)], "end"]}).play()
    assert world.error("work/turn1/tool0")["code"] == "invalid_plan"
    assert world.end["status"] == "done"


def test_the_steps_of_all_plans_of_an_activation_count():
    four = {f"s{n}": {"set": {"x": n}} for n in range(4)}
    world = Team(PLANNER, {"lead": [[plan(four), plan(four)], "end"]}).play()
    errors = [step.error["detail"]["problems"][0]["message"] for step in world.state.steps.values() if step.error]
    assert len(errors) == 1
    assert "2 are left" in errors[0]
    assert world.state.taken == {("work", "steps"): 4}


def test_delegates_in_a_plan_are_called_no_more_often_than_their_caller_may():
    judge = {"agent": "critic", "prompt": "x", "on_error": "continue"}
    steps = {"a": judge, "each": {"map": "inputs.words", "as": "word", "do": judge}}
    world = Team(PLANNER, {"lead": [[plan(steps)], "end"], "critic": ['{"good": true}']}).play()
    assert world.state.taken["work", "calls critic"] == 2
    assert [s.error["code"] for s in world.state.steps.values() if s.error] == ["too_many_calls"]
    # The budget of a call holds in a plan, too.
    path = next(path for path in world.decider.budgets.accounts if path.startswith("work/turn1/tool0/"))
    assert world.decider.budgets.accounts[path].budget.model_calls == 3


AGAIN = """
agents:
  lead: {spawn: {max_agents: 4, depth: 2}, plan: {max_steps: 5}}
steps:
  work: {agent: lead, prompt: Go.}
outputs: {said: "${{ steps.work.output }}"}
"""
PLANS = {"agent": {"plan": {"max_steps": 50}, "spawn": {"max_agents": 50, "depth": 9}}, "prompt": "again"}


def test_an_agent_in_a_plan_plans_within_what_is_left():
    script = {"lead": [[plan({"one": PLANS, "two": PLANS})], "end"], "one": [[plan({"x": PLANS})], "ok"]}
    script |= {"two": script["one"], "x": [[plan({"y": {"set": {}}, "z": {"set": {}}, "w": {"set": {}}})], "ok"]}
    world = Team(AGAIN, script).play()
    assert world.state.taken["work", "steps"] <= 5
    assert len(world.made) == 4
    assert world.end["outputs"] == {"said": "end"}
    assert world.verify() is None


def test_an_agent_in_a_plan_is_made_at_run_time():
    world = Team(AGAIN, {"lead": [[plan({"one": PLANS, "two": PLANS})], "end"], "one": ["1"], "two": ["2"]}).play()
    assert world.made == ["work/turn1/tool0/one", "work/turn1/tool0/two"]
    assert world.state.taken["work", "agents"] == 2


def test_each_agent_in_a_plan_has_its_own_budget():
    steps = {name: {"agent": {"budget": {"tokens": amount}}, "prompt": "x"} for name, amount in (("a", 50), ("b", 70))}
    world = Team(AGAIN, {"lead": [[plan(steps)], "end"], "a": ["1"], "b": ["2"]}).play()
    found = {path: one.budget.tokens for path, one in world.decider.budgets.accounts.items() if path}
    assert found == {"work/turn1/tool0/a": 50, "work/turn1/tool0/b": 70}


@pytest.mark.parametrize("seed", range(2))
def test_plans_are_the_same_after_any_crash(seed):
    steps = {"each": EACH, "judge": {"agent": "critic", "prompt": "${{ steps.each.output }}"}}
    script = {"lead": [[plan({"bad": {}}), plan(steps)], "end"], "critic": [[("nope", {})], '{"good": true}']}
    prefixes(lambda: Team(PLANNER, script, seed=seed))


def test_a_cancelled_plan_goes_on_where_it_was_after_a_resume():
    steps = {"a": {"tool": "look", "with": {"q": "x"}}, "judge": {"agent": "critic", "prompt": "y", "needs": "a"}}
    script = {"lead": [[plan(steps)], "end"], "critic": ['{"good": true}']}
    world = Team(PLANNER, script)
    while "work/turn1/tool0/judge/turn1" not in world.decider.in_flight:
        world.tick()
    world.say(Draft("cancel_requested", "", {}))
    world.play()
    world.performed.clear()
    world.reopen()
    world.play()
    assert world.end["outputs"] == {"said": "end"}
    assert [path for path, _ in world.performed] == ["work/turn1/tool0/judge/turn1", "work/turn2"]
    assert world.state.taken == {("work", "steps"): 2, ("work", "calls critic"): 1}
    assert world.verify() is None


def test_where_a_planner_fails_that_is_a_result():
    world = Team(PLANNER, {"lead": [[plan({"a": {"set": {}}})], "end"]})
    while "work/turn1/tool0" not in world.decider.in_flight:
        world.tick()
    intent = world.decider.in_flight["work/turn1/tool0"]
    left = planning.recorded(world.decider, intent, Plan({"is": "Node"}, 7), at=1)
    assert left.body["detail"]["problems"][0]["message"] == "the plan has 7 steps, and 6 are left"
    none = planning.no_planner(world.graph.agents, world.graph, {}, 1, "/")
    assert planning.recorded(world.decider, intent, none, at=1).body["code"] == "invalid_plan"


@pytest.mark.anyio
async def test_a_planner_that_raises_is_a_result():
    world = Team(PLANNER, {"lead": [[plan({"a": {"set": {}}})], "end"]})
    while "work/turn1/tool0" not in world.decider.in_flight:
        world.tick()

    def broken(*_):
        raise RecursionError("too deep")

    draft = await planning.perform(world.decider, world.decider.in_flight["work/turn1/tool0"], broken, lambda: 7)
    assert draft.kind == "failed"
    assert draft.body["detail"]["problems"][0]["message"] == "RecursionError: too deep"


# Bombs


class Bomb:
    """Agents that make agents, that plan, and that plan agents that do, at every turn, as often as they may."""

    def __init__(self, rng):
        self.rng = rng
        self.max_agents = rng.randrange(1, 9)
        self.depth = rng.randrange(1, 4)
        self.max_steps = rng.randrange(1, 12)
        self.turns = 0

    def text(self):
        n = self.rng.randrange(1, 4)
        lines = []
        for index in range(n):
            others = {f"a{other}": {} for other in range(n) if self.rng.random() < 0.5}
            inner = {"max_agents": self.rng.randrange(1, 9), "depth": self.rng.randrange(1, 4)} if index else {
                "max_agents": self.max_agents, "depth": self.depth,
            }  # fmt: skip
            more = {"max_steps": self.max_steps if not index else self.rng.randrange(1, 20)}
            has = {"spawn": inner, "plan": more, "delegates": others, "turns": self.rng.randrange(1, 4)}
            lines.append(f"  a{index}: {has}".replace("'", ""))
        return "\n".join(
            ["budget: {depth: 5}", "agents:", *lines]
            + ["steps:", "  work: {agent: a0, prompt: Go., on_error: continue}", "outputs: {}"]
        )

    def reply(self, agent, turn, talk, intent):
        self.turns += 1
        if self.turns > 60:
            return "ok"
        rng = random.Random(f"{intent.path}{talk.conversation.digest}")
        calls = []
        for name in talk.offers:
            match name:
                case "spawn":
                    calls += [("spawn", {"instructions": "x", "prompt": "y"})] * rng.randrange(1, 4)
                case "plan":
                    again = {"agent": {"plan": {}, "spawn": {"max_agents": 99, "depth": 99}}, "prompt": "z"}
                    calls.append(plan({f"s{n}": again for n in range(rng.randrange(1, 5))}))
                case "read_result":
                    pass
                case _:
                    calls.append((name, {"prompt": "w"}))
        rng.shuffle(calls)
        return calls[:4] or "ok"


BOMBS = 100 if os.environ.get("ORCH_PROVE") == "1" else 20


@pytest.mark.timeout(300)
def test_bombs_stop_at_their_bounds():
    reached = 0
    for seed in range(BOMBS):
        bomb = Bomb(random.Random(seed))
        world = Team(bomb.text(), bomb.reply, seed=seed)
        world.play()
        assert world.end is not None, seed
        assert len(world.made) <= bomb.max_agents
        assert world.state.taken.get(("work", "steps"), 0) <= bomb.max_steps
        assert max((_nested(path, world.made) for path in world.made), default=0) <= bomb.depth
        reached += len(world.made) == bomb.max_agents
    assert reached >= BOMBS // 2


def _nested(path, made):
    return sum(path == other or path.startswith(f"{other}/") for other in made)
