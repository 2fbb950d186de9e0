"""The real SDK against a server on the loopback: what each kind of reply, good or broken, becomes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from orchestrator.agents.messages import ModelRequest, Reply, ToolSpec, Usage, invalid_input
from orchestrator.providers.anthropic import AnthropicProvider
from orchestrator.providers.protocol import ModelContext, ModelError
from orchestrator.tools.protocol import secret_marker
from tests.wire.messages_server import MessagesServer, message_events, text, tool_use

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

SIGNATURE = "EqQBCgYIAxgCIkAaBc+/=='\\\"\u2028 xyz"
PROMPT = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]


def request(url: str | None = None, **settings: Any) -> ModelRequest:
    base = {"provider": "anthropic", "model": "claude-wire"}
    if url is not None:
        base["base_url"] = url
    return ModelRequest({**base, **settings}, "Be brief.", PROMPT, [ToolSpec("look", "Looks.", {"type": "object"})])


def context(emit: Callable[[str], None] = lambda _: None, secrets: dict[str, str] | None = None) -> ModelContext:
    def reveal(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reveal(item) for key, item in value.items()}
        if isinstance(value, str):
            for name, secret in (secrets or {}).items():
                value = value.replace(secret_marker(name), secret)
        return value

    return ModelContext(reveal=reveal, emit=emit)


async def ask(*script: dict[str, Any], emit: Callable[[str], None] = lambda _: None, **settings: Any) -> Reply:
    """The reply to one call of a server with this script."""
    provider = AnthropicProvider()
    with MessagesServer(list(script)) as server:
        try:
            return await provider.call(request(server.url, **settings), context(emit))
        finally:
            await provider.aclose()


async def refusal_of(*script: dict[str, Any], **settings: Any) -> ModelError:
    """The error that one call of a server with this script becomes."""
    with pytest.raises(ModelError) as caught:
        await ask(*script, **settings)
    return caught.value


async def test_text_arrives_whole_and_is_shown_as_it_comes() -> None:
    shown: list[str] = []
    said = "Größe, 東京, 🙂, a\r\nb and \u2028 the end"
    reply = await ask({"content": [text(said)], "chunk": 3, "id": "msg_x", "model": "claude-real"}, emit=shown.append)
    assert reply == Reply(
        content=[text(said)],
        stop="end_turn",
        usage=Usage(input=10, output=5),
        model="claude-real",
        request_id="req_1",
        raw_stop="end_turn",
        detail={"id": "msg_x", "usage": {"input_tokens": 10, "output_tokens": 5}},
    )
    assert "".join(shown) == said
    assert len(shown) > 5


async def test_a_stream_in_single_bytes_reads_the_same() -> None:
    blocks = [text("Größe 🙂"), tool_use("t", "look", at="東京")]
    assert (await ask({"content": blocks, "split": 1})).content == blocks


async def test_parallel_calls_keep_their_order_and_arguments() -> None:
    calls = [tool_use(f"toolu_{n}", "look", n=n, nested={"list": [1.5, None, True, "x"]}) for n in range(40)]
    reply = await ask({"content": [text("Looking."), *calls], "chunk": 5})
    assert reply.content == [text("Looking."), *calls]
    assert (reply.stop, reply.raw_stop) == ("tool_use", "tool_use")


async def test_thinking_is_kept_byte_for_byte_and_not_shown() -> None:
    shown: list[str] = []
    blocks = [
        {"type": "thinking", "thinking": "hm — \u2028 let me see", "signature": SIGNATURE},
        {"type": "redacted_thinking", "data": SIGNATURE * 40},
        {"type": "thinking", "thinking": "", "signature": SIGNATURE, "a_field_of_tomorrow": {"x": [1]}},
        text("done"),
    ]
    reply = await ask({"content": blocks, "chunk": 2}, emit=shown.append)
    assert reply.content == blocks
    assert "".join(shown) == "done"


async def test_citations_stay_with_their_text() -> None:
    block = {**text("so they say"), "citations": [{"type": "char_location", "cited_text": "so"}]}
    assert (await ask({"content": [block]})).content == [block]


@pytest.mark.parametrize(
    ("raw", "stop"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("pause_turn", "pause_turn"),
        ("refusal", "refusal"),
        ("model_context_window_exceeded", "context"),
    ],
)
async def test_each_known_stop_reason_has_its_word(raw: str, stop: str) -> None:
    reply = await ask({"content": [text("so far")], "stop_reason": raw})
    assert (reply.stop, reply.raw_stop, reply.content) == (stop, raw, [text("so far")])


async def test_a_refusal_says_of_what_kind() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": None}
    reply = await ask({"content": [], "stop_reason": "refusal", "stop_details": details})
    assert (reply.stop, reply.content, reply.detail["stop_details"]) == ("refusal", [], details)


async def test_a_call_cut_by_max_tokens_stays_visible_as_no_call_to_run() -> None:
    cut = {**tool_use("t1", "look"), "partial": '{"path": "/etc/pas'}
    reply = await ask({"content": [cut], "stop_reason": "max_tokens"})
    assert reply.stop == "max_tokens"
    assert invalid_input(reply.content[0]["input"]) == '{"path": "/etc/pas'


@pytest.mark.parametrize("partial", ["{oops", "[1, 2]", '"text"', "NaN", '{"a": NaN}', '{"a": 1e999}', "[" * 70])
async def test_arguments_that_are_no_object_are_kept_as_text(partial: str) -> None:
    reply = await ask({"content": [{**tool_use("t1", "look"), "partial": partial}, tool_use("t2", "look", ok=True)]})
    bad, good = reply.content
    assert reply.stop == "tool_use"
    assert (bad["id"], bad["name"], bad["input"]) == ("t1", "look", {"$invalid": partial})
    assert good == tool_use("t2", "look", ok=True)
    assert invalid_input(good["input"]) is None


async def test_a_call_without_arguments_has_an_empty_object() -> None:
    reply = await ask({"content": [{**tool_use("t1", "look"), "partial": ""}]})
    assert reply.content == [tool_use("t1", "look")]


async def test_a_model_cannot_forge_the_mark_of_a_secret() -> None:
    mark = secret_marker("TOKEN")
    reply = await ask({"content": [text(mark), tool_use("t1", "look", q=mark)]})
    assert "\0" not in str(reply.content)


async def test_lone_surrogates_in_a_reply_can_be_stored() -> None:
    events = [
        ["message_start", {"message": {"role": "assistant", "content": [], "usage": {"input_tokens": 1}}}],
        ["content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}],
        [
            "content_block_delta",
            '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\ud800"}}',
        ],
        ["content_block_stop", {"index": 0}],
        ["message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}],
        ["message_stop", {}],
    ]
    reply = await ask({"events": events})
    assert reply.content == [text("\ufffd")]
    assert reply.usage == Usage(input=1, output=2)


async def test_usage_tells_cache_and_thinking_apart() -> None:
    usage = {
        "input_tokens": 7,
        "output_tokens": 90,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 300,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 50},
        "output_tokens_details": {"thinking_tokens": 60},
    }
    reply = await ask({"content": [text("x")], "usage": usage})
    expected = Usage(input=7, output=90, cache_read=1000, cache_write_5m=250, cache_write_1h=50, thinking=60)
    assert reply.usage == expected
    hourly = await ask({"content": [text("x")], "usage": usage}, cache="1h")
    assert hourly.usage == Usage(7, 90, 1000, cache_write_5m=100, cache_write_1h=200, thinking=60)


@pytest.mark.parametrize("count", [None, -1, 1.5, "12", True, [1]])
async def test_a_count_that_is_none_makes_the_usage_unknown(count: Any) -> None:
    reply = await ask({"content": [text("x")], "usage": {"input_tokens": count}})
    assert reply.usage is None


# What goes wrong before a stream begins.


@pytest.mark.parametrize(
    ("status", "kind", "message", "code"),
    [
        (400, "invalid_request_error", "max_tokens: field required", "bad_request"),
        (400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum", "context"),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2", "context"),
        (401, "authentication_error", "invalid bearer token", "auth"),
        (403, "permission_error", "no", "auth"),
        (402, "billing_error", "pay", "bad_request"),
        (404, "not_found_error", "model: claude-nope", "bad_request"),
        (408, "timeout_error", "late", "timeout"),
        (409, "conflict_error", "again", "unavailable"),
        (413, "request_too_large", "too large", "context"),
        (422, "invalid_request_error", "odd", "bad_request"),
        (500, "api_error", "oops", "unavailable"),
        (503, "api_error", "oops", "unavailable"),
        (529, "overloaded_error", "Overloaded", "unavailable"),
    ],
)
async def test_an_http_error_has_a_class_and_its_own_words(status: int, kind: str, message: str, code: str) -> None:
    error = await refusal_of({"status": status, "error": {"type": kind, "message": message}})
    assert (error.code, error.status, error.sent) == (code, status, True)
    assert message in error.message
    assert error.detail == {"type": kind, "request_id": "req_1"}
    # Refused before any work: nothing to pay. A server's own failure may hide a call that was made.
    assert (error.usage == Usage()) == (status < 500 or status == 529)


@pytest.mark.parametrize("status", [307, 400, 502])
async def test_an_http_error_with_no_json_is_an_error_all_the_same(status: int) -> None:
    error = await refusal_of({"status": status, "raw": "<html>Bad gateway</html>", "headers": {"location": "/other"}})
    assert (error.status, error.message) == (status, f"HTTP {status}")
    assert error.code == ("unavailable" if status == 502 else "bad_request")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "4233600"}, 4233600.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
async def test_rate_limits_say_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    said = {"status": 429, "error": {"type": "rate_limit_error", "message": "slow down"}, "headers": headers}
    error = await refusal_of(said)
    assert (error.code, error.status, error.retry_after) == ("rate_limit", 429, seconds)
    assert error.usage == Usage()


async def test_nothing_is_sent_twice_by_itself() -> None:
    """The SDK's own retries would hide attempts: of 40 failing calls the server sees 40."""
    broken = [
        {"status": 429, "error": {"type": "rate_limit_error", "message": "x"}, "headers": {"x-should-retry": "true"}},
        {"status": 529, "error": {"type": "overloaded_error", "message": "x"}},
        {"status": 500, "error": {"type": "api_error", "message": "x"}},
        {"content": [text("x")], "cut_after": 3},
    ] * 10
    provider = AnthropicProvider()
    with MessagesServer(broken) as server:
        for _ in broken:
            with pytest.raises(ModelError):
                await provider.call(request(server.url), context())
        assert len(server.calls) == len(broken)
    await provider.aclose()


async def test_a_server_that_is_not_there_was_sent_nothing() -> None:
    with MessagesServer([]) as server:
        url = server.url
    provider = AnthropicProvider()
    with pytest.raises(ModelError) as caught:
        await provider.call(request(url), context())
    error = caught.value
    assert (error.code, error.sent, error.usage) == ("unavailable", False, Usage())
    await provider.aclose()


async def test_a_connection_lost_before_an_answer_may_have_been_billed() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:

        async def hang_up(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.receive(1)

        tasks.start_soon(listener.serve, hang_up)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        provider = AnthropicProvider()
        with pytest.raises(ModelError) as caught:
            await provider.call(request(f"http://127.0.0.1:{port}"), context())
        await provider.aclose()
        tasks.cancel_scope.cancel()
    assert (caught.value.code, caught.value.sent, caught.value.usage) == ("unavailable", True, None)


# What goes wrong within a reply that says 200.


@pytest.mark.parametrize("after", [0, 1, 3, 5, 7])
async def test_a_cut_stream_is_no_reply(after: int) -> None:
    error = await refusal_of({"content": [text("a long text, in pieces")], "cut_after": after})
    assert (error.code, error.sent, error.usage) == ("unavailable", True, None)


@pytest.mark.parametrize("after", [0, 1, 3, 5, 7])
async def test_a_stream_that_ends_without_message_stop_is_no_reply(after: int) -> None:
    error = await refusal_of({"content": [text("a long text, in pieces")], "end_after": after})
    assert (error.code, error.sent, error.usage) == ("unavailable", True, None)


async def test_a_stream_cut_after_its_bill_knows_what_it_cost() -> None:
    """Start, ping, block (start, delta, stop), message_delta; then the end is missing."""
    for fault in ("end_after", "cut_after"):
        error = await refusal_of({"content": [text("x")], fault: 6})
        assert (error.code, error.usage) == ("unavailable", Usage(input=10, output=5))


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("overloaded_error", "unavailable"),
        ("rate_limit_error", "rate_limit"),
        ("api_error", "unavailable"),
        ("timeout_error", "unavailable"),
        ("authentication_error", "auth"),
        ("invalid_request_error", "bad_request"),
        ("an_error_of_tomorrow", "unavailable"),
    ],
)
async def test_an_error_in_the_stream_has_its_class_and_an_unknown_bill(kind: str, code: str) -> None:
    error = await refusal_of({"content": [text("some text")], "error_after": [4, kind, "no more"]})
    assert (error.code, error.status, error.usage) == (code, None, None)
    assert error.detail == {"type": kind}
    assert "no more" in error.message


async def test_a_prompt_that_the_stream_finds_too_long_is_of_its_own_class() -> None:
    said = "prompt is too long: 9 tokens > 8 maximum"
    error = await refusal_of({"content": [text("x")], "error_after": [1, "invalid_request_error", said]})
    assert error.code == "context"


@pytest.mark.parametrize(
    "reply",
    [
        {"raw": "<html><body>Welcome to the hotel's wifi</body></html>"},
        {"raw": "", "content_type": "text/event-stream-not"},
        {"raw": "ok", "content_type": "text/plain"},
        {"json": {"id": "x", "content": "wrong"}},
        {"json": ["a"]},
        {"json": None},
    ],
)
async def test_a_200_of_another_kind_is_no_reply(reply: dict[str, Any]) -> None:
    error = await refusal_of(reply)
    if reply.get("content_type") == "text/event-stream-not":
        assert error.code == "unavailable"
    else:
        assert (error.code, error.status) == ("invalid_reply", None)


async def test_an_unknown_stop_reason_is_an_error_that_is_paid() -> None:
    error = await refusal_of({"content": [text("x")], "stop_reason": "bored"})
    assert (error.code, error.usage) == ("invalid_reply", Usage(input=10, output=5))
    assert "'bored'" in error.message


async def test_an_unknown_block_is_an_error_that_is_paid() -> None:
    error = await refusal_of({"content": [text("x"), {"type": "hologram", "data": "…"}]})
    assert (error.code, error.usage) == ("invalid_reply", Usage(input=10, output=5))
    assert "'hologram'" in error.message


async def test_text_that_is_not_utf8_is_no_reply() -> None:
    provider = AnthropicProvider()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:

        async def answer(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.receive()
                await stream.send(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
                    b'data: {"type": "message_start", "x": "\xff\xfe"}\n\n'
                )

        tasks.start_soon(listener.serve, answer)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with pytest.raises(ModelError) as caught:
            await provider.call(request(f"http://127.0.0.1:{port}"), context())
        await provider.aclose()
        tasks.cancel_scope.cancel()
    assert caught.value.code == "invalid_reply"


async def test_a_reply_that_does_not_come_is_a_timeout() -> None:
    error = await refusal_of({"content": [text("x")], "delay": 20}, timeout=100_000)
    assert (error.code, error.sent, error.usage) == ("timeout", True, None)


async def test_a_stream_that_falls_silent_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.providers.anthropic.IDLE_SECONDS", 0.2)
    error = await refusal_of({"content": [text("x")], "pause": 20})
    assert (error.code, error.sent, error.usage) == ("timeout", True, None)


async def test_a_reply_that_is_not_encoded_as_it_says_is_none() -> None:
    error = await refusal_of({"content": [text("x")], "headers": {"content-encoding": "gzip"}})
    assert (error.code, error.usage) == ("invalid_reply", None)


async def test_a_reply_is_done_when_it_says_so() -> None:
    """A server that goes on, or keeps the connection open after the end, holds nothing up."""
    whole = [[name, data] for name, data in message_events({"content": [text("x")]}, call=1)]
    late = [["ping", {}] for _ in range(100)]
    begun = anyio.current_time()
    reply = await ask({"events": [*whole, *late], "pause": 0.05})
    assert reply.content == [text("x")]
    assert anyio.current_time() - begun < 4


async def test_a_reply_that_was_whole_before_the_cut_is_whole() -> None:
    whole = [[name, data] for name, data in message_events({"content": [text("x")]}, call=1)]
    reply = await ask({"events": [*whole, ["ping", {}]], "cut_after": len(whole)})
    assert (reply.content, reply.usage) == ([text("x")], Usage(input=10, output=5))


async def test_a_reply_that_trickles_is_a_timeout() -> None:
    error = await refusal_of({"content": [text("x" * 1000)], "chunk": 1, "pause": 0.02}, timeout=150_000)
    assert (error.code, error.usage) == ("timeout", None)


async def test_a_call_can_be_cancelled_and_the_next_one_goes_through() -> None:
    provider = AnthropicProvider()
    with MessagesServer(
        [{"content": [text("x" * 500)], "chunk": 1, "pause": 0.05}, {"content": [text("y")]}]
    ) as server:
        with anyio.CancelScope() as scope:
            await provider.call(request(server.url), context(lambda _: scope.cancel()))
        assert scope.cancelled_caught
        assert (await provider.call(request(server.url), context())).content == [text("y")]
    await provider.aclose()


# What goes out.


async def test_the_wire_gets_the_body_as_it_was_built() -> None:
    provider = AnthropicProvider()
    with MessagesServer([{"content": [text("x")], "times": None}]) as server:
        asked = request(server.url, max_tokens=9, params={"top_k": 5, "stop_sequences": ["END"]}, effort="high")
        await provider.call(asked, context())
        await provider.call(asked, context())
        first, second = (call["body"] for call in server.calls)
    await provider.aclose()
    assert first == second
    mark = {"type": "ephemeral"}
    assert first == {
        "model": "claude-wire",
        "max_tokens": 9,
        "stream": True,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": mark}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": mark}]}],
        "tools": [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}],
        "output_config": {"effort": "high"},
        "top_k": 5,
        "stop_sequences": ["END"],
    }


async def test_a_key_of_the_environment_never_goes_to_the_url_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "AUTH_TOKEN", "PROFILE"):
        monkeypatch.setenv(f"ANTHROPIC_{name}", "canary-of-the-environment")
    monkeypatch.setenv(
        "ANTHROPIC_CUSTOM_HEADERS", "x-gateway: canary-of-the-environment\nx-own: canary\nauthorization: canary"
    )
    provider = AnthropicProvider()
    with MessagesServer([{"content": [text("x")], "times": None}]) as server:
        await provider.call(request(server.url), context())
        await provider.call(request(server.url, headers={"x-own": "mine"}, api_key="key"), context())
        bare, own = (call["headers"] for call in server.calls)
    await provider.aclose()
    assert "canary" not in str([bare, own])
    assert "authorization" not in bare
    assert (own["authorization"], own["x-own"]) == ("Bearer key", "mine")


async def test_secrets_are_revealed_on_the_wire_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = {"KEY": "sk-canary-key", "GATE": "canary-gate"}
    asked = {"api_key": secret_marker("KEY"), "headers": {"x-gate": f"v={secret_marker('GATE')}"}}
    provider = AnthropicProvider()
    with MessagesServer([{"status": 401, "error": {"type": "authentication_error", "message": "no"}}]) as server:
        with pytest.raises(ModelError) as caught:
            await provider.call(request(server.url, **asked), context(secrets=secrets))
        headers = server.calls[0]["headers"]
    await provider.aclose()
    assert (headers["authorization"], headers["x-gate"]) == ("Bearer sk-canary-key", "v=canary-gate")
    assert caught.value.__cause__ is None
    assert "canary" not in repr((caught.value, caught.value.message, caught.value.detail))
    assert "canary-key" not in caplog.text


async def test_the_key_of_the_environment_serves_where_the_file_names_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = AnthropicProvider()
    with MessagesServer([{"content": [text("x")]}]) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "from-the-environment")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        await provider.call(request(), context())
        assert server.calls[0]["headers"]["authorization"] == "Bearer from-the-environment"
    await provider.aclose()


async def test_without_a_key_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "not this one")
    with pytest.raises(ModelError) as caught:
        await AnthropicProvider().call(request(), context())
    error = caught.value
    assert (error.code, error.sent, error.usage) == ("auth", False, Usage())
    assert "ANTHROPIC_API_KEY" in error.message


async def test_a_proxy_of_the_environment_does_not_catch_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert (await ask({"content": [text("through")]})).content == [text("through")]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "nonsense",
        "http://",
        "//127.0.0.1",
        "ftp://127.0.0.1/",
        "http://[bad",
        "http://a:99999",
        "http://\0/",
    ],
)
async def test_a_url_that_is_none_is_refused_before_anything_goes_out(url: str) -> None:
    provider = AnthropicProvider()
    with pytest.raises(ModelError) as caught:
        await provider.call(request(url), context())
    await provider.aclose()
    assert (caught.value.code, caught.value.sent) == ("bad_request", False)


@pytest.mark.parametrize("settings", [{"api_key": "a\nb"}, {"headers": {"x": "a\r\ny: b"}}, {"headers": {"x y": "1"}}])
async def test_a_header_that_is_none_is_refused_before_anything_goes_out(settings: dict[str, Any]) -> None:
    provider = AnthropicProvider()
    with MessagesServer([]) as server:
        with pytest.raises(ModelError) as caught:
            await provider.call(request(server.url, **settings), context())
        assert server.calls == []
    await provider.aclose()
    assert (caught.value.code, caught.value.sent, caught.value.usage) == ("bad_request", False, Usage())


async def test_a_proxy_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://proxy")
    provider = AnthropicProvider()
    with pytest.raises(ModelError, match="proxy") as caught:
        await provider.call(request("https://api.example.com"), context())
    assert (caught.value.code, caught.value.sent) == ("bad_request", False)


async def test_calls_share_one_pool_of_connections() -> None:
    provider = AnthropicProvider()
    script = [{"content": [text("x")], "times": None}]
    with MessagesServer(script) as server:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(provider.call, request(server.url), context())
        for _ in range(10):
            await provider.call(request(server.url), context())
        assert len(server.calls) == 30
        assert server.connections <= 20
    await provider.aclose()
