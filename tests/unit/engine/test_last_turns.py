"""``on_exceed: finish`` with agents in agents: whoever stands around still has a last turn, whatever those inside do."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.engine.steps.reach import agent_of
from orchestrator.tools.protocol import Done
from tests.unit.compiler.helpers import graph_of
from tests.unit.engine.spending import Budgeted
from tests.unit.engine.team import MODELS
from tests.unit.engine.world import calls_reply, text_reply

TOOLS = "tools: {t: {shell: {argv: [echo]}, effect: read}}\n"
AGENTS = {
    "one": ("lead: {delegates: {sub: {}}}", ("sub", {"prompt": "x"})),
    "counted": ("lead: {delegates: {sub: {max_calls: 9}}}", ("sub", {"prompt": "x"})),
    "made": ("lead: {spawn: {tools: [t]}, tools: [t]}", ("spawn", {"instructions": "x", "prompt": "x"})),
    "lent": ("lead: {handoffs: {sub: {return: true}}}", ("handoff", {"to": "sub"})),
    "deep": ("lead: {delegates: {mid: {}}}\n  mid: {delegates: {sub: {}}}", ("mid", {"prompt": "x"})),
}


class Priced(Budgeted):
    """All turns have one worst case."""

    def reserve(self, intent: Any, *, after: bool = False) -> dict[str, int | None]:
        del intent, after
        return {"usd": 20, "tokens": 5}


def team(agents: str, calls: list[Any], bound: str) -> Budgeted:
    """A lead that only ever calls others, and others that only ever call a tool, until each has its last turn."""

    def answer(intent: Any) -> Any:
        if intent.kind != "model":
            return Done("ok")
        name = agent_of(intent.act.owner).name
        if intent.last:
            return text_reply(f"last of {name}")
        inner = {"lead": calls, "mid": [("sub", {"prompt": "x"})]}
        return calls_reply(*inner.get(name, [("t", {})]))

    step = f"steps: {{s: {{agent: lead, prompt: x, budget: {{{bound}, on_exceed: finish}}}}}}\n"
    text = (
        f'{MODELS}{TOOLS}agents:\n  {agents}\n  sub: {{tools: [t]}}\n{step}outputs: {{o: "${{{{ steps.s.output }}}}"}}'
    )
    return Priced(graph_of(text), seed=1, most=0, answer=answer)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("bound", [*(f"model_calls: {n}" for n in (1, 2, 3, 4, 6, 9)), "tokens: 40", "usd: 0.0003"])
def test_the_outermost_agent_has_the_last_word(name: str, count: int, bound: str) -> None:
    agents, call = AGENTS[name]
    world = team(agents, [call] * count, bound)
    world.play()
    assert world.end is not None
    assert (world.end["status"], world.end["outputs"]) == ("done", {"o": "last of lead"})
    assert world.verify() is None


def test_an_inner_agent_has_its_turns_beside_the_one_that_is_kept() -> None:
    agents, call = AGENTS["one"]
    world = team(agents, [call], "model_calls: 4")
    world.play()
    calls = [r.path for r in world.records if r.kind == "started" and r.body["what"] == "model"]
    assert calls == ["s/turn1", "s/turn1/tool0/turn1", "s/turn1/tool0/turn2", "s/turn2"]
    small = team(agents, [call], "model_calls: 3")
    small.play()
    error = small.state.steps["s/turn1/tool0"].error
    assert error is not None
    assert error["message"].endswith(
        "has 2 model calls left, and the next call may take 1 model call, with 2 model calls kept free for last turns"
    )


@pytest.mark.parametrize("name", AGENTS)
def test_what_is_kept_outlasts_a_crash(name: str) -> None:
    agents, call = AGENTS[name]
    whole = team(agents, [call, call], "model_calls: 8")
    whole.play()
    for keep in range(2, len(whole.records), 3):
        world = team(agents, [call, call], "model_calls: 8")
        world.play()
        lost = sum(r.kind == "started" for r in world.records[:keep]) - sum(
            r.kind in ("done", "failed") and "attempt" in r.body for r in world.records[:keep]
        )
        world.crash(keep)
        world.play()
        assert world.end is not None
        if not lost:
            assert world.end["outputs"] == {"o": "last of lead"}, keep
        assert world.verify() is None


CONTEXT = """
agents:
  lead: {tools: [t], turns: 40, context: {max_tokens: 2000, keep: 1, model: default}}
"""


@pytest.mark.parametrize("calls", [3, 4, 5, 8])
def test_a_summary_that_does_not_fit_beside_the_last_turn_is_left_out(calls: int) -> None:
    def answer(intent: Any) -> Any:
        if intent.kind != "model":
            return Done("x" * 2500)
        if intent.act.role == "summary":
            return text_reply("in short")
        return text_reply("what I have") if intent.last else calls_reply(("t", {}))

    step = f"steps: {{s: {{agent: lead, prompt: x, budget: {{model_calls: {calls}, on_exceed: finish}}}}}}\n"
    text = f'{MODELS}{TOOLS}{CONTEXT}{step}outputs: {{o: "${{{{ steps.s.output }}}}"}}'
    world = Budgeted(graph_of(text), seed=1, most=0, answer=answer)
    world.play()
    assert world.end is not None
    assert world.end["outputs"] == {"o": "what I have"}
    assert world.verify() is None
