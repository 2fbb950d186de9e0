from __future__ import annotations

from time import perf_counter
from typing import Any

import anyio
import pytest

from orchestrator.agents.messages import ModelRequest, Reply, Usage
from orchestrator.expr.values import compile_value
from orchestrator.providers.protocol import ModelContext, ModelError
from orchestrator.providers.scripted import ERRORS, STOPS, ScriptedProvider
from orchestrator.tools.protocol import secret_marker

pytestmark = pytest.mark.anyio

SCOPE = {"agent": "scout", "turn": 1, "prompt": "find `a.py`", "last": "", "results": [], "inputs": {"n": 3}}


def rule(**keys: Any) -> dict[str, Any]:
    """A rule as the compiler leaves it: values where its text may hold expressions."""
    compiled = dict(keys)
    for key in ("text", "thinking", "stop", "error"):
        if key in keys:
            compiled[key] = compile_value(keys[key], text=True).to_json()
    if "output" in keys:
        compiled["output"] = compile_value(keys["output"]).to_json()
    if "calls" in keys:
        compiled["calls"] = [
            {"tool": call["tool"], "with": compile_value(call.get("with", {})).to_json()} for call in keys["calls"]
        ]
    return compiled


async def answer(*rules: dict[str, Any], emit: Any = lambda _: None, **scope: Any) -> Reply:
    request = ModelRequest({"provider": "scripted", "replies": list(rules)}, "", [], [], scope={**SCOPE, **scope})
    return await ScriptedProvider().call(request, ModelContext(reveal=lambda value: value, emit=emit))


async def refusal(*rules: dict[str, Any], **scope: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await answer(*rules, **scope)
    return caught.value


async def test_the_first_rule_that_fits_answers() -> None:
    rules = [
        rule(when="turn == 2", text="two"),
        rule(when="inputs.n > 5", text="many"),
        rule(text="else"),
        rule(text="never"),
    ]
    assert (await answer(*rules)).content == [{"type": "text", "text": "else"}]
    assert (await answer(*rules, turn=2)).content == [{"type": "text", "text": "two"}]
    assert (await answer(*rules, inputs={"n": 6})).content == [{"type": "text", "text": "many"}]


async def test_rules_see_the_agent_the_turn_and_what_was_said() -> None:
    seen = "${{ agent }} ${{ turn }} ${{ prompt }} ${{ last }} ${{ results }} ${{ inputs.n }}"
    reply = await answer(
        rule(when="size(results) > 0 && last == 'so'", text=seen), turn=4, last="so", results=[{"a": [1]}, "x"]
    )
    assert reply.content[0]["text"] == 'scout 4 find `a.py` so [{"a":[1]},"x"] 3'


async def test_text_is_shown_in_one_go() -> None:
    shown: list[str] = []
    await answer(rule(text="hello ${{ agent }}", thinking="quietly"), emit=shown.append)
    await answer(rule(calls=[{"tool": "t"}]), emit=shown.append)
    assert shown == ["hello scout"]


async def test_calls_have_the_names_of_the_wire_and_their_own_ids() -> None:
    asked = rule(
        thinking="I should look.",
        text="Looking.",
        calls=[
            {"tool": "source.read", "with": {"path": "${{ split(prompt, '`')[1] }}", "limit": 60}},
            {"tool": "note"},
        ],
        usage={"input": 7, "output": 9},
    )
    reply = await answer(asked)
    thought, said, first, second = reply.content
    assert (thought["type"], thought["thinking"]) == ("thinking", "I should look.")
    assert said == {"type": "text", "text": "Looking."}
    assert (first["name"], first["input"]) == ("source__read", {"path": "a.py", "limit": 60})
    assert (second["name"], second["input"]) == ("note", {})
    assert first["id"] != second["id"]
    assert (reply.stop, reply.usage, reply.model) == ("tool_use", Usage(input=7, output=9), "scripted")


async def test_the_same_call_has_the_same_answer_and_another_other_ids() -> None:
    asked = rule(calls=[{"tool": "a"}, {"tool": "a"}], text="${{ uuid() }}")
    assert await answer(asked) == await answer(asked)
    seen = {block["id"] for turn in range(1, 50) for block in (await answer(asked, turn=turn)).content[1:]}
    seen |= {block["id"] for block in (await answer(asked, agent="other")).content[1:]}
    seen |= {block["id"] for block in (await answer(asked, prompt="other")).content[1:]}
    assert len(seen) == 2 * 51


async def test_an_output_is_one_json_text() -> None:
    reply = await answer(rule(output={"n": "${{ inputs.n }}", "text": "n=${{ inputs.n }}", "list": [1.0, None, True]}))
    assert reply.content == [{"type": "text", "text": '{"list":[1.0,null,true],"n":3,"text":"n=3"}'}]
    assert reply.stop == "end_turn"
    assert (await answer(rule(output="plain"))).content == [{"type": "text", "text": '"plain"'}]


async def test_without_usage_a_reply_is_free() -> None:
    assert (await answer(rule(text="x"))).usage == Usage()
    assert (await answer(rule(text="x", usage={"output": 4}))).usage == Usage(output=4)
    counted = {"input": compile_value("${{ size(prompt) }}").to_json(), "output": 1}
    assert (await answer(rule(text="x", usage=counted))).usage == Usage(input=11, output=1)


@pytest.mark.parametrize("stop", STOPS)
async def test_a_reply_stops_for_any_known_reason(stop: str) -> None:
    reply = await answer(rule(text="x", stop=stop, calls=[{"tool": "t"}]))
    assert (reply.stop, reply.raw_stop, len(reply.content)) == (stop, stop, 2)


async def test_an_unknown_stop_reason_is_an_error() -> None:
    error = await refusal(rule(text="x", stop="bored", usage={"input": 1}))
    assert (error.code, error.usage) == ("invalid_reply", Usage(input=1))


@pytest.mark.parametrize("code", ERRORS)
async def test_a_rule_fails_as_it_says(code: str) -> None:
    error = await refusal(rule(error=code, usage={"input": 5}))
    assert (error.code, error.status, error.usage) == (code, ERRORS[code], Usage(input=5))


async def test_no_rule_that_fits_is_an_error() -> None:
    error = await refusal(rule(when="turn > 5", text="x"), rule(when="false", text="y"))
    assert (error.code, error.sent) == ("bad_request", False)
    assert "turn 1 of agent scout" in error.message
    assert (await refusal()).code == "bad_request"


@pytest.mark.parametrize(
    "wrong",
    [
        rule(when="turn", text="x"),
        rule(when="1 / 0 == 1", text="x"),
        rule(when="results[3] == 1", text="x"),
        rule(text="${{ results[3] }}"),
        rule(text="${{ null }}"),
        rule(text="x", output="y"),
        rule(text="x", delay=-1),
        rule(text="x", delay=compile_value("${{ 'soon' }}").to_json()),
        rule(text="x", usage={"input": -1}),
        rule(text="x", usage={"input": compile_value("${{ 'many' }}").to_json()}),
        rule(error="boredom"),
    ],
)
async def test_a_rule_that_is_wrong_says_so(wrong: dict[str, Any]) -> None:
    error = await refusal(wrong)
    assert (error.code, error.sent) == ("bad_request", False)


async def test_a_delay_is_kept_and_can_be_cancelled() -> None:
    begun = perf_counter()
    await answer(rule(text="x", delay=30_000))
    await answer(rule(text="x", delay=compile_value("${{ inputs.n * 10 }}ms", text=True).to_json()))
    assert perf_counter() - begun >= 0.06
    with anyio.move_on_after(0.02) as scope:
        await answer(rule(text="x", delay=3_600_000_000))
    assert scope.cancelled_caught


async def test_the_mark_of_a_secret_cannot_be_forged_by_a_rule() -> None:
    mark = secret_marker("TOKEN")
    reply = await answer(rule(text="${{ prompt }}", calls=[{"tool": "t", "with": {"q": "${{ prompt }}"}}]), prompt=mark)
    assert "\0" not in str([block.get("text") or block.get("input") for block in reply.content])


async def test_400_turns_cost_what_400_turns_cost() -> None:
    rules = [rule(when=f"turn == {turn}", text=f"{turn}") for turn in range(20)]
    rules.append(rule(when="turn <= 400", calls=[{"tool": "count", "with": {"n": "${{ turn }}"}}]))
    await answer(*rules)
    begun = perf_counter()
    for turn in range(400):
        await answer(*rules, turn=turn)
    assert perf_counter() - begun < 2
