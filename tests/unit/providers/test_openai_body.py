from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.agents.messages import ModelRequest, ToolSpec, Usage
from orchestrator.providers.openai_body import build
from orchestrator.providers.openai_schema import is_strict, named_schema
from orchestrator.providers.protocol import ModelError

PROMPT = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
OBJECT = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"],
          "additionalProperties": False}  # fmt: skip
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}


def body(
    *messages: dict[str, Any], system: str = "Be brief.", output: Any = None, tools: Any = (), **settings: Any
) -> Any:
    base = {"provider": "openai", "model": "gpt-wire", "base_url": "http://127.0.0.1:1/v1"}
    kept = {key: value for key, value in {**base, **settings}.items() if value is not None}
    return build(ModelRequest(kept, system, list(messages) or [PROMPT], list(tools), output))


def said(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def asked(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def use(call_id: str, given: Any = None) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "look", "input": {} if given is None else given}


def result(call_id: str, content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_a_chat_request() -> None:
    look = ToolSpec("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}})
    assert body(tools=[look], effort="low", max_tokens=7) == {
        "model": "gpt-wire",
        "max_tokens": 7,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": look.schema}}
        ],
        "reasoning_effort": "low",
    }


def test_a_responses_request() -> None:
    look = ToolSpec("look", "Looks.", {})
    found = body(tools=[look], api="responses", effort="high", max_tokens=7)
    assert found == {
        "model": "gpt-wire",
        "max_output_tokens": 7,
        "instructions": "Be brief.",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}],
        "stream": True,
        "store": False,
        "tools": [
            {"type": "function", "name": "look", "description": "Looks.", "strict": False,
             "parameters": {"type": "object", "properties": {}}}
        ],
        "reasoning": {"effort": "high"},
        "include": ["reasoning.encrypted_content"],
    }  # fmt: skip
    plain = body(api="responses", system="")
    assert {"instructions", "include", "reasoning"} & plain.keys() == set()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "max_tokens"),
        ({"base_url": None}, "max_completion_tokens"),
        ({"base_url": "https://eu.api.openai.com/v1"}, "max_completion_tokens"),
        ({"model": "gpt-5.4-mini"}, "max_completion_tokens"),
        ({"model": "gpt-6-sol"}, "max_completion_tokens"),
        ({"model": "o4-mini"}, "max_completion_tokens"),
        ({"model": "gpt-5-chat-latest"}, "max_tokens"),
        ({"model": "gpt-4.1"}, "max_tokens"),
        ({"model": "gpt-35-turbo"}, "max_tokens"),
        ({"model": "gpt-oss:20b"}, "max_tokens"),
    ],
)
def test_the_bound_of_a_reply_has_the_name_that_the_server_knows(settings: dict[str, Any], name: str) -> None:
    assert {key for key in body(**settings) if key.startswith("max_")} == {name}
    assert body(**settings)[name] == 4096


def test_a_model_that_reasons_is_asked_for_what_it_thought() -> None:
    assert body(api="responses", model="gpt-6-sol")["include"] == ["reasoning.encrypted_content"]
    assert "include" not in body(api="responses", model="gpt-4.1", effort="none")


def test_thinking_is_a_matter_of_effort() -> None:
    assert body(thinking="off")["reasoning_effort"] == "none"
    assert body(thinking="off", effort="minimal")["reasoning_effort"] == "minimal"
    assert "reasoning_effort" not in body(thinking="adaptive")


CONVERSATION = (
    PROMPT,
    said(
        {"type": "thinking", "thinking": "hm", "signature": "of another"},
        text("Let me see."),
        use("toolu_1", {"at": "é"}),
        use("c2"),
    ),
    asked(result("toolu_1", "found"), result("c2", "") | {"is_error": True}),
    said(text("  "), use("c3", {"$invalid": '{"at": '})),
    asked(result("c3", "invalid_input: no"), text("and now?")),
    said(text(" ")),
    asked(text("one"), text("two")),
)


def test_a_conversation_as_chat() -> None:
    assert body(*CONVERSATION, system="")["messages"] == [
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"é"}'}},
                {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "found"},
        {"role": "tool", "tool_call_id": "c2", "content": " "},
        {
            "role": "assistant",
            "content": "  ",
            "tool_calls": [
                {
                    "id": "c3",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"$invalid":"{\\"at\\": "}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c3", "content": "invalid_input: no"},
        {"role": "user", "content": "and now?"},
        {"role": "user", "content": "one\n\ntwo"},
    ]


def test_a_conversation_as_responses() -> None:
    assert body(*CONVERSATION, api="responses")["input"] == [
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "toolu_1", "name": "look", "arguments": '{"at":"é"}'},
        {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "toolu_1", "output": "found"},
        {"type": "function_call_output", "call_id": "c2", "output": " "},
        {"type": "function_call", "call_id": "c3", "name": "look", "arguments": '{"$invalid":"{\\"at\\": "}'},
        {"type": "function_call_output", "call_id": "c3", "output": "invalid_input: no"},
        {"role": "user", "content": [{"type": "input_text", "text": "and now?"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]},
    ]


def test_what_was_reasoned_goes_back_as_it_came_and_to_nobody_else() -> None:
    items = [{"type": "reasoning", "id": "rs", "encrypted_content": "x+/=", "summary": []},
             {"type": "function_call", "id": "fc", "call_id": "c", "name": "look", "arguments": "{ }"}]  # fmt: skip
    reply = said({"type": "openai_output", "items": items}, use("c"))
    assert body(PROMPT, reply, asked(result("c", "x")), api="responses")["input"][1:3] == items
    (_, _, sent, _) = body(PROMPT, reply, asked(result("c", "x")))["messages"]
    assert sent == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
    }


def test_thoughts_said_aloud_go_back_under_their_own_name() -> None:
    reply = said({"type": "openai_thinking", "field": "reasoning_content", "text": "hm"}, text("x"))
    assert body(PROMPT, reply, PROMPT)["messages"][2] == {
        "role": "assistant",
        "content": "x",
        "reasoning_content": "hm",
    }
    assert "hm" not in json.dumps(body(PROMPT, reply, PROMPT, api="responses"))


def test_pictures_and_documents() -> None:
    shown = asked(text("look"), PNG, PDF)
    assert body(shown)["messages"][1]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="}},
    ]
    assert body(shown, api="responses")["input"][0]["content"] == [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
        {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="},
    ]


def test_a_picture_in_a_result() -> None:
    shown = asked(result("c", [text("here"), PNG]))
    tool, user = body(PROMPT, said(use("c")), shown)["messages"][-2:]
    assert tool == {"role": "tool", "tool_call_id": "c", "content": "here"}
    assert user["content"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]
    output = body(PROMPT, said(use("c")), shown, api="responses")["input"][-1]["output"]
    assert [part["type"] for part in output] == ["input_text", "input_image"]


def test_ids_that_are_too_long_stay_one_id() -> None:
    long = "x" * 41
    call, answer = body(PROMPT, said(use(long)), asked(result(long, "x")))["messages"][-2:]
    assert call["tool_calls"][0]["id"] == answer["tool_call_id"]
    assert len(answer["tool_call_id"]) <= 40
    call, answer = body(PROMPT, said(use(long)), asked(result(long, "x")), api="responses")["input"][-2:]
    assert call["call_id"] == answer["call_id"] == long


def test_output_of_a_schema() -> None:
    form = body(output=OBJECT)["response_format"]
    assert form["type"] == "json_schema"
    assert (form["json_schema"]["name"], form["json_schema"]["strict"]) == ("output", True)
    assert "minimum" not in form["json_schema"]["schema"]["properties"]["a"]
    assert body(output=OBJECT, api="responses")["text"]["format"] == {"type": "json_schema", **form["json_schema"]}


@pytest.mark.parametrize(
    "schema",
    [{"type": "array", "items": {"type": "integer"}}, {"type": "object"}, {},
     {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}]}}, "required": ["a"], "additionalProperties": False}],
)  # fmt: skip
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_schema_that_has_no_form_is_asked_for_in_words(schema: dict[str, Any], api: str) -> None:
    found = body(output=schema, api=api)
    assert {"response_format", "text"} & found.keys() == set()
    assert "JSON Schema" in json.dumps(found.get("instructions") or found["messages"][0])


def test_an_optional_property_is_not_strict() -> None:
    loose = {**OBJECT, "required": []}
    inner = {
        "type": "object",
        "properties": {"x": {"type": "array", "items": loose}},
        "required": ["x"],
        "additionalProperties": False,
    }
    for schema, strict in ((OBJECT, True), (loose, False), (inner, False)):
        accepted, words = named_schema(schema)
        assert accepted is not None
        assert (is_strict(accepted), words) == (strict, "")


@pytest.mark.parametrize(
    "settings",
    [
        {"model": None}, {"model": 5}, {"api": "completions"}, {"effort": "huge"}, {"thinking": {"tokens": 5}},
        {"params": {"messages": []}}, {"params": {"n": 2}}, {"params": {"max_completion_tokens": 9}},
        {"api": "responses", "params": {"previous_response_id": "x"}}, {"api": "responses", "params": {"input": []}},
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_before_anything_goes_out(settings: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        body(**settings)
    assert (caught.value.code, caught.value.sent, caught.value.usage) == ("bad_request", False, Usage())


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_block_that_nobody_knows_is_refused(api: str) -> None:
    for block in ({"type": "hologram"}, {"type": "image", "source": {"type": "url", "url": "http://x"}}):
        with pytest.raises(ModelError):
            body(asked(block), api=api)


def test_params_pass_through_over_the_rest() -> None:
    found = body(
        params={
            "temperature": 0,
            "stream_options": {"include_obfuscation": False, "include_usage": False},
            "store": True,
        }
    )
    assert (found["temperature"], found["store"]) == (0, True)
    assert found["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert body(api="responses", effort="low", params={"reasoning": {"summary": "auto"}})["reasoning"] == {
        "summary": "auto",
        "effort": "low",
    }


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_tools_stay_in_a_last_turn_and_cannot_be_called(api: str) -> None:
    tool = ToolSpec("look", "Looks.", {"type": "object"})
    request = ModelRequest({"model": "m", "api": api}, "", [said(text("hello"))], [tool])
    assert "tool_choice" not in build(request)
    last = build(replace(request, may_call=False))
    assert last["tool_choice"] == "none"
    assert len(last["tools"]) == 1
