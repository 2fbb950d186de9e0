"""The real SDK against a server on the loopback: what each kind of reply, good or broken, becomes."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.agents.messages import ModelRequest, Reply, ToolSpec, Usage, invalid_input
from orchestrator.providers.openai import OpenAIProvider
from orchestrator.providers.protocol import ModelContext, ModelError
from orchestrator.tools.protocol import secret_marker
from tests.wire.messages_server import text, tool_use
from tests.wire.openai_server import CHAT_USAGE, RESPONSE_USAGE, OpenAIServer, chat_events, response_events

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

PROMPT = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
BOTH = pytest.mark.parametrize("api", ["chat", "responses"])
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA+/==\u2028", "x": [1.5, None]}


def request(url: str | None = None, **settings: Any) -> ModelRequest:
    base: dict[str, Any] = {"provider": "openai", "model": "gpt-wire"}
    if url is not None:
        base["base_url"] = f"{url}/v1"
    return ModelRequest({**base, **settings}, "Be brief.", PROMPT, [ToolSpec("look", "Looks.", {"type": "object"})])


def context(emit: Callable[[str], None] = lambda _: None) -> ModelContext:
    return ModelContext(reveal=lambda value: value, emit=emit)


async def ask(*script: dict[str, Any], emit: Callable[[str], None] = lambda _: None, **settings: Any) -> Reply:
    """The reply to one call of a server with this script."""
    provider = OpenAIProvider()
    with OpenAIServer(list(script)) as server:
        try:
            return await provider.call(request(server.url, **settings), context(emit))
        finally:
            await provider.aclose()


async def refusal_of(*script: dict[str, Any], **settings: Any) -> ModelError:
    """The error that one call of a server with this script becomes."""
    with pytest.raises(ModelError) as caught:
        await ask(*script, **settings)
    return caught.value


@BOTH
async def test_text_arrives_whole_and_is_shown_as_it_comes(api: str) -> None:
    shown: list[str] = []
    said = "Größe, 東京, 🙂, a\r\nb and \u2028 the end"
    reply = await ask({"content": [text(said)], "chunk": 3, "model": "gpt-real"}, emit=shown.append, api=api)
    used = CHAT_USAGE if api == "chat" else RESPONSE_USAGE
    assert reply == Reply(
        content=[text(said)],
        stop="end_turn",
        usage=Usage(input=10, output=5),
        model="gpt-real",
        request_id="req_1",
        raw_stop="stop" if api == "chat" else "completed",
        detail={"id": "chatcmpl-1" if api == "chat" else "resp_1", "usage": used},
    )
    assert "".join(shown) == said
    assert len(shown) > 5


@BOTH
async def test_a_stream_in_single_bytes_reads_the_same(api: str) -> None:
    blocks = [text("Größe 🙂"), tool_use("t", "look", at="東京")]
    reply = await ask({"content": blocks, "split": 1}, api=api)
    assert (reply.content, reply.stop) == (blocks, "tool_use")


@BOTH
async def test_calls_in_parallel_keep_their_order_ids_and_arguments(api: str) -> None:
    calls = [tool_use(f"call_{index}", "look", at=index, deep={"a": [index]}) for index in range(5)]
    reply = await ask({"content": calls}, api=api)
    assert reply.content == calls


@BOTH
@pytest.mark.parametrize("given", ["{", "[1]", '"x"', '{"a": NaN}', "null", '{"a": 1} trailing'])
async def test_arguments_that_are_no_object_keep_their_place(api: str, given: str) -> None:
    broken = {"type": "tool_use", "id": "c1", "name": "look", "partial": given}
    reply = await ask({"content": [broken, tool_use("c2", "look")]}, api=api)
    assert invalid_input(reply.content[0]["input"]) == given
    assert [block["id"] for block in reply.content] == ["c1", "c2"]


async def test_usage_counts_caches_and_thinking_apart() -> None:
    details = {"cached_tokens": 600, "cache_write_tokens": 100}
    chat = {
        "prompt_tokens": 1000,
        "completion_tokens": 50,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    response = {
        "input_tokens": 1000,
        "output_tokens": 50,
        "input_tokens_details": details,
        "output_tokens_details": {"reasoning_tokens": 30},
    }
    want = Usage(input=300, output=50, cache_read=600, cache_write_5m=100, thinking=30)
    assert (await ask({"content": [text("x")], "usage": chat})).usage == want
    assert (await ask({"content": [text("x")], "usage": response}, api="responses")).usage == want


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": 1},
        {"prompt_tokens": "1", "completion_tokens": 1},
        {"prompt_tokens": -1, "completion_tokens": 1},
    ],
)
async def test_usage_that_is_missing_or_none_is_not_known(usage: Any) -> None:
    assert (await ask({"content": [text("x")], "usage": usage})).usage is None
    assert (await ask({"content": [text("x")], "usage": usage}, api="responses")).usage is None


# Servers that are only compatible


async def test_a_server_that_leaves_things_out() -> None:
    calls = [tool_use("", "look", at=1), tool_use("", "look", at=2)]
    reply = await ask({"content": [text("Well."), *calls], "bare": True, "stop_reason": "stop"})
    assert (reply.stop, reply.usage, reply.model) == ("tool_use", None, "")
    assert [block.get("input") for block in reply.content] == [None, {"at": 1}, {"at": 2}]
    ids = [block["id"] for block in reply.content[1:]]
    assert len(set(ids)) == 2
    assert all(ids)


async def test_ids_that_were_made_differ_from_turn_to_turn() -> None:
    from orchestrator.providers.openai_reply import ChatAssembly

    def made(seed: str) -> str:
        assembly = ChatAssembly(seed=seed)
        for _, event in chat_events({"content": [tool_use("", "look")], "bare": True}, call=1):
            assembly.feed(event) if isinstance(event, dict) else None
        assembly.done = True
        return assembly.finish().content[0]["id"]

    assert made("1") == made("1") != made("3")


async def test_all_calls_at_index_0_and_arguments_as_objects() -> None:
    parts = [{"index": 0, "id": f"c{n}", "function": {"name": "look", "arguments": {"at": n}}} for n in (1, 2)]
    chunks = [["", {"choices": [{"delta": {"tool_calls": [part]}}]}] for part in parts]
    end = [["", {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}], ["", "[DONE]"]]
    reply = await ask({"events": chunks + end})
    assert reply.content == [tool_use("c1", "look", at=1), tool_use("c2", "look", at=2)]


async def test_a_response_whose_last_event_lacks_its_items() -> None:
    reply = await ask({"content": [text("a"), tool_use("c", "look", at=1)], "bare": True}, api="responses")
    assert reply.content == [text("a"), tool_use("c", "look", at=1)]


async def test_fields_and_events_of_its_own_are_no_problem() -> None:
    chunks = [[name, {**event, "obfuscation": "x", "token_ids": [1]} if isinstance(event, dict) else event]
              for name, event in chat_events({"content": [text("a")]}, call=1)]  # fmt: skip
    assert (await ask({"events": [["", {"ping": True}], *chunks]})).content == [text("a")]
    events = [
        ["response.new_kind", {"x": 1}],
        *map(list, response_events({"content": [text("a")]}, call=1)),
        ["", "[DONE]"],
    ]
    assert (await ask({"events": events}, api="responses")).content == [text("a")]


async def test_thoughts_said_aloud_are_kept_apart() -> None:
    reply = await ask({"content": [{"type": "thinking", "thinking": "hm, hm"}, text("a")]})
    assert reply.content == [{"type": "openai_thinking", "field": "reasoning_content", "text": "hm, hm"}, text("a")]


async def test_reasoning_is_kept_as_it_came_with_all_that_stood_beside_it() -> None:
    reply = await ask(
        {"content": [{"type": "item", "item": REASONING}, text("a"), tool_use("c", "look", at=1)]}, api="responses"
    )
    kept, *rest = reply.content
    assert rest == [text("a"), tool_use("c", "look", at=1)]
    assert kept["type"] == "openai_output"
    assert kept["items"][0] == REASONING
    assert [item["type"] for item in kept["items"]] == ["reasoning", "message", "function_call"]


# How a reply stops


@pytest.mark.parametrize(
    ("reply", "stop"),
    [
        ({"content": [text("x")], "stop_reason": "length"}, "max_tokens"),
        ({"content": [tool_use("c", "look")], "stop_reason": "length"}, "max_tokens"),
        ({"content": [text("x")], "stop_reason": "content_filter"}, "refusal"),
        ({"content": [{"type": "refusal", "text": "No."}]}, "refusal"),
        ({"content": [text("x")], "stop_reason": "max_output_tokens", "api": "responses"}, "max_tokens"),
        ({"content": [text("x")], "stop_reason": "content_filter", "api": "responses"}, "refusal"),
        ({"content": [{"type": "refusal", "text": "No."}], "api": "responses"}, "refusal"),
    ],
)
async def test_a_reply_that_stopped_for_another_reason(reply: dict[str, Any], stop: str) -> None:
    found = await ask(reply, api=reply.get("api", "chat"))
    assert (found.stop, found.usage) == (stop, Usage(input=10, output=5))


@pytest.mark.parametrize(
    ("reply", "api"),
    [
        ({"content": [text("x")], "stop_reason": "tired"}, "chat"),
        ({"content": [text("x")], "stop_reason": "function_call"}, "chat"),
        ({"content": [text("x")], "stop_reason": "tool_calls"}, "chat"),
        ({"content": [tool_use("c", "look"), tool_use("c", "look")]}, "chat"),
        ({"content": [tool_use("c", "")]}, "chat"),
        ({"content": [text("x")], "stop_reason": "cancelled"}, "responses"),
        ({"content": [text("x")], "stop_reason": "tired"}, "responses"),
        ({"content": [tool_use("c", "look"), tool_use("c", "look")]}, "responses"),
        ({"content": [tool_use("", "look")]}, "responses"),
        ({"content": [{"type": "item", "item": {"type": "computer_call", "id": "x"}}]}, "responses"),
    ],
)
async def test_what_cannot_be_acted_on_fails_loudly_and_is_billed(reply: dict[str, Any], api: str) -> None:
    error = await refusal_of(reply, api=api)
    assert (error.code, error.usage) == ("invalid_reply", Usage(input=10, output=5))


CHOICE = {"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}


@BOTH
@pytest.mark.parametrize(
    "reply",
    [
        {"raw": "<html>Sign in</html>"},
        {"json": {"object": "chat.completion", "choices": []}},
        {"json": []},
        {"events": [["", "this is no JSON"]]},
        {"events": [["", "[1, 2]"]]},
    ],
)
async def test_what_is_no_reply_fails_loudly(api: str, reply: dict[str, Any]) -> None:
    error = await refusal_of(reply, api=api)
    assert (error.code, error.sent, error.usage) == ("invalid_reply", True, None)


@pytest.mark.parametrize(
    ("event", "api"),
    [
        ({"choices": {"delta": {}}}, "chat"),
        ({"choices": ["x"]}, "chat"),
        ({"choices": [{"delta": "x"}]}, "chat"),
        ({"choices": [{"index": 1, "delta": {}}]}, "chat"),
        ({"choices": [{"delta": {"content": 5}}]}, "chat"),
        ({"choices": [{"delta": {"tool_calls": ["x"]}}]}, "chat"),
        ({"choices": [{"delta": {"tool_calls": [{"function": "x"}]}}]}, "chat"),
        ({"nothing": 1}, "responses"),
        ({"type": "response.output_text.delta", "delta": 5}, "responses"),
        ({"type": "response.output_item.done", "item": "x"}, "responses"),
        ({"type": "response.completed", "response": "x"}, "responses"),
    ],
)
async def test_events_of_a_wrong_shape(event: dict[str, Any], api: str) -> None:
    error = await refusal_of({"events": [["", event], ["", CHOICE], ["", "[DONE]"]]}, api=api)
    assert error.code == "invalid_reply"


@BOTH
@pytest.mark.parametrize("cut", [{"cut_after": 1}, {"cut_after": 3}, {"end_after": 1}, {"end_after": 3}])
async def test_a_stream_that_is_cut_or_ends_early(api: str, cut: dict[str, Any]) -> None:
    error = await refusal_of({"content": [text("a long text, in parts")], **cut}, api=api)
    assert (error.code, error.sent, error.usage) == ("unavailable", True, None)


async def test_a_stream_needs_its_reason_and_its_end() -> None:
    content = [text("x")]
    events = list(chat_events({"content": content, "chunk": 99}, call=1))
    assert [event if isinstance(event, str) else len(event["choices"]) for _, event in events] == [1, 1, 1, 0, "[DONE]"]
    without_end = await refusal_of({"content": content, "chunk": 99, "end_after": 4})
    assert (without_end.code, without_end.usage) == ("unavailable", Usage(input=10, output=5))
    without_reason = await refusal_of({"events": [list(event) for event in (*events[:2], events[-1])]})
    assert (without_reason.code, without_reason.usage) == ("unavailable", None)


# Refusals


@BOTH
@pytest.mark.parametrize(
    ("status", "error", "code", "billed"),
    [
        (400, {"type": "invalid_request_error", "message": "no"}, "bad_request", False),
        (400, {"code": "context_length_exceeded", "message": "too much"}, "context", False),
        (400, {"message": "This model's maximum context length is 8 tokens"}, "context", False),
        (400, {"code": "content_filter", "message": "no"}, "refusal", False),
        (401, {"code": "invalid_api_key", "message": "no"}, "auth", False),
        (403, {"message": "no"}, "auth", False),
        (404, {"code": "model_not_found", "message": "no"}, "bad_request", False),
        (408, {"message": "slow"}, "timeout", False),
        (409, {"message": "no"}, "unavailable", False),
        (422, {"message": "no"}, "bad_request", False),
        (429, {"code": "rate_limit_exceeded", "message": "slow down"}, "rate_limit", False),
        (429, {"code": "insufficient_quota", "message": "pay"}, "rate_limit", False),
        (500, {"type": "server_error", "message": "oops"}, "unavailable", True),
        (503, {"message": "overloaded"}, "unavailable", True),
    ],
)  # fmt: skip
async def test_a_status_has_its_class(api: str, status: int, error: dict[str, Any], code: str, billed: bool) -> None:
    found = await refusal_of({"status": status, "error": error}, api=api)
    assert (found.code, found.status, found.usage) == (code, status, None if billed else Usage())
    assert found.message == f"{error['message']} (HTTP {status})"
    assert found.detail["request_id"] == "req_1"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"raw": "<html>gone</html>"}, "HTTP 502"),
        ({"raw": "upstream is away", "content_type": "text/plain"}, "upstream is away (HTTP 502)"),
        ({"json": {"object": "error", "message": "of vLLM", "code": 502}}, "of vLLM (HTTP 502)"),
        ({"json": {"error": "of Ollama"}}, "of Ollama (HTTP 502)"),
        ({"json": {"detail": "of FastAPI"}}, "of FastAPI (HTTP 502)"),
        ({"json": []}, "HTTP 502"),
    ],
)
async def test_what_servers_say_of_an_error(reply: dict[str, Any], message: str) -> None:
    found = await refusal_of({"status": 502, **reply})
    assert (found.code, found.message) == ("unavailable", message)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after-ms": "1500"}, 1.5), ({"retry-after": "7"}, 7.0), ({"retry-after": "soon"}, None)],
)
async def test_how_long_to_wait_is_read(headers: dict[str, str], seconds: float | None) -> None:
    found = await refusal_of({"status": 429, "error": {"message": "slow"}, "headers": headers})
    assert found.retry_after == seconds


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "rate_limit_exceeded", "message": "x"}, "rate_limit"),
        ({"code": None, "type": "server_error", "message": "x"}, "unavailable"),
        ({"code": "server_error"}, "unavailable"),
        ({"type": "invalid_request_error", "message": "maximum context length is 5"}, "context"),
        ({"type": "invalid_request_error", "message": "x"}, "bad_request"),
        ({"code": "content_policy_violation", "message": "x"}, "refusal"),
        ({"code": 401, "message": "x"}, "auth"),
        ({"code": 502, "message": "x"}, "unavailable"),
        ("it broke", "unavailable"),
    ],
)
async def test_an_error_within_the_stream(error: Any, code: str) -> None:
    first = next(chat_events({"content": []}, call=1))
    assert (await refusal_of({"events": [list(first), ["", {"error": error}]]})).code == code
    in_response = (
        [["", {"error": error}]] if isinstance(error, str) else [["error", error], ["error", {"error": error}]]
    )
    for event in in_response:
        if isinstance(error, dict) and error.get("type") and event[1] is error:
            continue  # the event's own type is `error` there
        assert (await refusal_of({"events": [event]}, api="responses")).code == code


async def test_a_response_that_failed() -> None:
    failed = {
        "content": [text("x")],
        "stop_reason": "failed",
        "failure": {"code": "rate_limit_exceeded", "message": "slow"},
    }
    error = await refusal_of(failed, api="responses")
    assert (error.code, error.message, error.usage) == ("rate_limit", "slow", Usage(input=10, output=5))


# Where a call goes, and with what


async def test_a_server_that_is_not_there() -> None:
    provider = OpenAIProvider()
    with pytest.raises(ModelError) as caught:
        await provider.call(request("http://127.0.0.1:1"), context())
    await provider.aclose()
    assert (caught.value.code, caught.value.sent) == ("unavailable", False)


async def test_a_stream_that_falls_silent_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.providers.openai.IDLE_SECONDS", 0.2)
    assert (await refusal_of({"content": [text("x" * 99)], "pause": 30})).code == "timeout"


async def test_a_call_has_its_time() -> None:
    error = await refusal_of({"content": [text("x" * 400)], "chunk": 1, "pause": 0.02}, timeout=300_000)
    assert (error.code, error.message) == ("timeout", "the model did not finish its reply within 0.3 s")


async def headers_of(settings: dict[str, Any], url: str | None = None) -> dict[str, str]:
    provider = OpenAIProvider()
    with OpenAIServer([{"content": [text("x")], "times": None}]) as server:
        await provider.call(request(server.url if url is None else None, **settings), context())
        await provider.aclose()
    return server.calls[0]["headers"]


async def test_the_environment_never_reaches_the_url_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", "canary-of-the-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-gateway: canary-of-the-environment\nAuthorization: Bearer canary")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")
    sent = await headers_of({"headers": {"X-Own": "mine"}})
    assert "canary" not in json.dumps(sent)
    assert "authorization" not in sent
    assert sent["x-own"] == "mine"
    sent = await headers_of({"api_key": "of-the-file"})
    assert sent["authorization"] == "Bearer of-the-file"
    assert "canary" not in json.dumps(sent)


async def test_secrets_are_revealed_on_the_wire_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = {secret_marker("KEY"): "sk-canary-key", secret_marker("GATE"): "canary-gate"}

    def reveal(value: Any) -> Any:
        return (
            {key: reveal(item) for key, item in value.items()} if isinstance(value, dict) else secrets.get(value, value)
        )

    asked = {"api_key": secret_marker("KEY"), "headers": {"x-gate": secret_marker("GATE")}}
    provider = OpenAIProvider()
    with OpenAIServer([{"status": 401, "error": {"message": "no"}}]) as server:
        with pytest.raises(ModelError) as caught:
            await provider.call(request(server.url, **asked), ModelContext(reveal=reveal))
        headers = server.calls[0]["headers"]
    await provider.aclose()
    assert (headers["authorization"], headers["x-gate"]) == ("Bearer sk-canary-key", "canary-gate")
    assert caught.value.__cause__ is None
    assert "canary" not in repr((caught.value, caught.value.message, caught.value.detail))
    assert "canary-key" not in caplog.text


async def test_the_key_of_the_environment_serves_where_the_file_names_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = OpenAIProvider()
    with OpenAIServer([{"content": [text("x")]}]) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        await provider.call(request(), context())
        await provider.aclose()
    assert server.calls[0]["headers"]["authorization"] == "Bearer from-the-environment"
    assert server.calls[0]["path"] == "/v1/chat/completions"


async def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModelError) as caught:
        await OpenAIProvider().call(request("http://127.0.0.1:1"), context())
    assert (caught.value.code, caught.value.sent) == ("bad_request", False)
    assert "orchestrator[openai]" in caught.value.message


async def test_without_a_key_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ModelError) as caught:
        await OpenAIProvider().call(request(), context())
    assert (caught.value.code, caught.value.sent) == ("auth", False)
    assert "OPENAI_API_KEY" in caught.value.message


async def test_a_proxy_of_the_environment_does_not_catch_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert (await ask({"content": [text("x")]})).content == [text("x")]


@pytest.mark.parametrize("url", ["ftp://x", "nonsense", "http://", "http://h:99999"])
async def test_a_url_that_is_none_is_refused_here(url: str) -> None:
    with pytest.raises(ModelError) as caught:
        await OpenAIProvider().call(request(base_url=url), context())
    assert (caught.value.code, caught.value.sent) == ("bad_request", False)


async def test_one_connection_serves_many_calls_and_the_wire_gets_what_was_built() -> None:
    from orchestrator.providers.openai_body import build

    provider = OpenAIProvider()
    with OpenAIServer([{"content": [text("x")], "times": None}]) as server:
        for api in ("chat", "responses", "chat"):
            asked = request(server.url, api=api, params={"top_k": 5, "seed": 1})
            await provider.call(asked, context())
            assert server.calls[-1]["body"] == build(asked)
        await provider.aclose()
        assert server.connections == 1
    assert [call["path"] for call in server.calls[:2]] == ["/v1/chat/completions", "/v1/responses"]
