from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.agents.messages import ModelRequest, ToolSpec, Usage
from orchestrator.providers.anthropic_body import build, cache_ttl
from orchestrator.providers.protocol import ModelError

MARK = {"type": "ephemeral"}
LOOK = ToolSpec("files__read", "Reads.", {"type": "object", "properties": {"path": {"type": "string"}}})
OPEN = {"type": "object"}
CLOSED = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}},
    "required": ["n"],
    "additionalProperties": False,
}


def body(
    *, said: list[dict[str, Any]] | None = None, system: str = "", tools: Any = (), schema: Any = None, **settings: Any
) -> dict[str, Any]:
    messages = said if said is not None else [user("hello")]
    return build(ModelRequest({"model": "claude-x", **settings}, system, messages, list(tools), schema))


def user(*texts: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def marks(built: dict[str, Any]) -> list[str]:
    """Where the cache marks stand, as paths."""
    found: list[str] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            if "cache_control" in value:
                found.append(path)
            for key, item in value.items():
                walk(item, f"{path}.{key}" if path else key)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, f"{path}[{index}]")

    walk(built, "")
    return found


def test_the_least_body() -> None:
    assert body(cache=False) == {"model": "claude-x", "max_tokens": 4096, "messages": [user("hello")]}


def test_the_cache_is_marked_after_tools_and_system_and_at_the_last_two_user_messages() -> None:
    said = [user("a"), assistant("b"), user("c", "d"), assistant("e"), user("f", "g")]
    built = body(said=said, system="Be brief.", tools=[LOOK])
    assert marks(built) == ["messages[2].content[1]", "messages[4].content[1]", "system[0]"]
    assert len(marks(built)) <= 4


def test_tools_are_marked_where_there_is_no_system_text() -> None:
    assert marks(body(tools=[LOOK, LOOK])) == ["messages[0].content[0]", "tools[1]"]


def test_the_mark_of_one_turn_is_a_mark_of_the_next() -> None:
    """So that the API finds what it cached, however many blocks the turn in between had."""
    said = [user("a")]
    for turn in range(5):
        last = f"messages[{len(said) - 1}].content[0]"
        assert last in marks(body(said=said))
        said = [*said, assistant("b"), user(f"c{turn}")]
        assert last in marks(body(said=said))


def test_building_changes_nothing_that_it_was_given() -> None:
    said = [user("a"), assistant("b"), user("c")]
    tool = deepcopy(LOOK)
    kept = deepcopy(said)
    body(said=said, system="s", tools=[tool], schema=CLOSED, params={"output_config": {"x": 1}})
    assert said == kept
    assert tool == LOOK


def test_no_mark_stands_on_an_empty_text_or_on_what_a_model_said() -> None:
    assert marks(body(said=[user("a"), assistant("b"), user("c", "")])) == ["messages[0].content[0]"]
    assert marks(body(said=[user("a"), assistant("b")])) == ["messages[0].content[0]"]


def test_a_blank_text_of_a_model_is_not_sent_back() -> None:
    thought = {"type": "thinking", "thinking": "", "signature": "s"}
    said = [user("a"), {"role": "assistant", "content": [thought, *assistant(" \n")["content"]]}, user("b")]
    nothing = [{"role": "assistant", "content": []}, user("c"), assistant(""), user("d")]
    assert body(said=[*said, *nothing], cache=False)["messages"] == [
        user("a"),
        {"role": "assistant", "content": [thought]},
        user("b"),
        user("c"),
        user("d"),
    ]


def test_text_as_content_can_be_marked_too() -> None:
    assert body(said=[{"role": "user", "content": "hi"}])["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": MARK}]}
    ]


@pytest.mark.parametrize(("cache", "ttl"), [(True, "5m"), ("5m", "5m"), ("1h", "1h"), (False, None)])
def test_the_cache_lives_as_long_as_the_entry_says(cache: Any, ttl: str | None) -> None:
    built = body(cache=cache)
    control = built["messages"][0]["content"][0].get("cache_control")
    assert cache_ttl({"cache": cache}) == ttl
    assert control == {None: None, "5m": MARK, "1h": {**MARK, "ttl": "1h"}}[ttl]


@pytest.mark.parametrize(
    ("effort", "said", "thinking"),
    [
        ("none", None, {"type": "disabled"}),
        ("minimal", {"effort": "low"}, None),
        ("low", {"effort": "low"}, None),
        ("medium", {"effort": "medium"}, None),
        ("high", {"effort": "high"}, None),
        ("max", {"effort": "max"}, None),
    ],
)
def test_effort_has_the_word_of_the_wire(effort: str, said: Any, thinking: Any) -> None:
    built = body(effort=effort)
    assert (built.get("output_config"), built.get("thinking")) == (said, thinking)


@pytest.mark.parametrize(
    ("thinking", "said"),
    [
        ("off", {"type": "disabled"}),
        (False, {"type": "disabled"}),
        ("adaptive", {"type": "adaptive"}),
        ({"tokens": 2048}, {"type": "enabled", "budget_tokens": 2048}),
    ],
)
def test_thinking_has_the_form_of_the_wire(thinking: Any, said: Any) -> None:
    assert body(thinking=thinking)["thinking"] == said
    assert body(thinking=thinking, effort="none")["thinking"] == said


def test_an_output_is_asked_for_natively() -> None:
    built = body(schema=CLOSED, effort="low", system="Be brief.")
    format_ = built["output_config"]["format"]
    assert built["output_config"]["effort"] == "low"
    assert format_["type"] == "json_schema"
    assert "minimum" not in format_["schema"]["properties"]["n"]
    assert [block["text"] for block in built["system"]] == ["Be brief."]


def test_an_output_that_the_api_cannot_be_held_to_is_asked_for_in_words() -> None:
    built = body(schema=OPEN, system="Be brief.")
    assert "output_config" not in built
    first, second = built["system"]
    assert (first["text"], "cache_control" in first, "cache_control" in second) == ("Be brief.", False, True)
    assert '{"type":"object"}' in second["text"]


def test_a_tool_schema_is_sent_whole() -> None:
    assert body(tools=[LOOK], cache=False)["tools"] == [
        {"name": "files__read", "description": "Reads.", "input_schema": LOOK.schema}
    ]
    assert body(tools=[ToolSpec("t", "", {})])["tools"][0]["input_schema"] == {"type": "object"}


def test_params_pass_through_and_win_except_where_the_record_depends_on_them() -> None:
    built = body(
        effort="low", params={"top_k": 3, "output_config": {"extra": 1, "effort": "max"}, "thinking": {"a": 1}}
    )
    assert (built["top_k"], built["thinking"]) == (3, {"a": 1})
    assert built["output_config"] == {"extra": 1, "effort": "low"}


@pytest.mark.parametrize(
    "settings",
    [
        {"model": ""},
        {"model": None},
        {"cache": "2h"},
        {"cache": 1.5},
        {"effort": "heroic"},
        {"effort": 3},
        {"thinking": "loud"},
        {"thinking": {"tokens": "many"}},
        *({"params": {key: 1}} for key in ("model", "max_tokens", "messages", "system", "tools", "stream")),
    ],
)
def test_settings_that_cannot_be_said_are_refused_before_anything_goes_out(settings: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        body(**settings)
    assert (caught.value.code, caught.value.sent, caught.value.usage) == ("bad_request", False, Usage())


def test_what_only_another_api_can_read_is_left_out() -> None:
    use = {"type": "tool_use", "id": "call.1:look", "name": "look", "input": {}}
    thoughts = [{"type": "openai_output", "items": []}, {"type": "openai_thinking", "field": "reasoning", "text": "hm"},
                {"type": "thinking", "thinking": "hm", "signature": "scripted"}]  # fmt: skip
    asked = {"role": "user", "content": [{"type": "text", "text": "go"}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call.1:look", "content": "x"}]}
    talk = [
        asked,
        {"role": "assistant", "content": [*thoughts, use]},
        result,
        {"role": "assistant", "content": thoughts},
        asked,
    ]
    settings = {"model": "m", "cache": False, "thinking": {"tokens": 5}}
    found = build(ModelRequest(settings, "", talk, []))["messages"]
    assert [message["role"] for message in found] == ["user", "assistant", "user", "user"]
    (sent,), (answer,) = found[1]["content"], found[2]["content"]
    assert sent["id"] == answer["tool_use_id"] != "call.1:look"
    assert sent | {"id": "x"} == use | {"id": "x"}


def test_results_of_calls_without_their_thoughts_are_answered_without_thinking() -> None:
    use = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    asked = {"role": "user", "content": [{"type": "text", "text": "go"}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]}

    def thinking(*said: dict[str, Any], thinks: Any = {"tokens": 5}, then: Any = result) -> Any:  # noqa: B006
        talk = [asked, *([{"role": "assistant", "content": list(said)}, then] if said else [])]
        return build(ModelRequest({"model": "m", "thinking": thinks}, "", talk, []))["thinking"]["type"]

    assert thinking(use) == "disabled"
    assert thinking(thought, use) == thinking() == "enabled"
    assert thinking({"type": "text", "text": "x"}, then=asked) == "enabled"
    assert thinking(use, thinks="adaptive") == "adaptive"


def test_tools_stay_in_a_last_turn_and_cannot_be_called() -> None:
    request = ModelRequest({"model": "claude-x"}, "", [user("hello")], [LOOK])
    assert "tool_choice" not in build(request)
    last = build(replace(request, may_call=False))
    assert last["tool_choice"] == {"type": "none"}
    assert [tool["name"] for tool in last["tools"]] == ["files__read"]
    assert "tool_choice" not in build(replace(request, tools=[], may_call=False))
