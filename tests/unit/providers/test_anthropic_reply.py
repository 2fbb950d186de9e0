from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.agents.messages import Reply, Usage
from orchestrator.providers.anthropic_reply import Assembly, EventDecoder, from_status
from orchestrator.providers.protocol import ModelError
from orchestrator.providers.sse import MAX_REPLY, retry_after
from tests.wire.messages_server import message_events, text, tool_use

if TYPE_CHECKING:
    from collections.abc import Iterable

MESSAGE = {"role": "assistant", "model": "m", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}
START = {"type": "message_start", "message": MESSAGE}
DELTA = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
STOP = {"type": "message_stop"}


def block(*deltas: dict[str, Any], index: int = 0, **begun: Any) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def said(words: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": words}


GOOD = [START, *block(said("hi"), type="text", text=""), DELTA, STOP]


def feed_all(assembly: Assembly, events: Iterable[dict[str, Any]]) -> None:
    for event in events:
        assembly.feed(event)


def assemble(*events: dict[str, Any]) -> Reply:
    assembly = Assembly()
    feed_all(assembly, events)
    return assembly.finish()


def refusal(*events: dict[str, Any]) -> ModelError:
    with pytest.raises(ModelError) as caught:
        assemble(*events)
    return caught.value


def outcome(events: list[dict[str, Any]]) -> Reply | ModelError:
    try:
        return assemble(*events)
    except ModelError as error:
        return error


def decode(*chunks: bytes) -> list[dict[str, Any]]:
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_read_the_same_however_they_are_cut(end: bytes) -> None:
    lines = [
        b"\xef\xbb\xbf: a remark",
        b"",
        b"event: a",
        b'data: {"type": "a",',
        b'data:"x": "\xe6\x9d\xb1\xe2\x80\xa8"}',
    ]
    lines += [
        b"id: 1",
        b"retry: 5",
        b"",
        b"",
        b'data: {"type": "b"}',
        b"",
        b"event: nothing",
        b"",
        b'data: {"type": "cut"}',
    ]
    whole = end.join(lines) + end
    expected = [{"type": "a", "x": "東\u2028"}, {"type": "b"}]
    assert decode(whole) == expected
    assert decode(*(whole[at : at + 1] for at in range(len(whole)))) == expected
    chance = Random(7)
    for _ in range(200):
        cuts = sorted(chance.sample(range(len(whole)), chance.randint(0, 12)))
        pieces = [whole[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        assert decode(*pieces) == expected


@pytest.mark.parametrize("data", [b"{", b"[1]", b"1", b"{}", b'{"type": 1}', b"\xff", b"[" * 100_000, b"1" * 5000])
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError) as caught:
        decode(b"data: " + data + b"\n\n")
    assert caught.value.code == "invalid_reply"


def test_a_reply_without_end_is_refused_at_a_limit() -> None:
    decoder = EventDecoder()
    piece = b"x" * (1 << 20)
    for _ in range(MAX_REPLY >> 20):
        assert list(decoder.feed(piece)) == []
    with pytest.raises(ModelError, match="longer than"):
        list(decoder.feed(b"x"))


def test_a_good_stream() -> None:
    reply = assemble(*GOOD)
    assert (reply.content, reply.stop, reply.usage) == ([text("hi")], "end_turn", Usage(input=3, output=5))


def test_unknown_events_and_pings_are_passed_over_anywhere() -> None:
    noise = [{"type": "ping"}, {"type": "an_event_of_tomorrow", "index": 99}]
    mixed = [event for each in GOOD[1:] for event in (each, *noise)]
    assert assemble({"type": "ping"}, START, *noise, *mixed) == assemble(*GOOD)


def test_nothing_after_the_end_counts() -> None:
    assert assemble(*GOOD, *block(said("late"), index=1, type="text", text=""), DELTA) == assemble(*GOOD)


def test_every_prefix_of_a_good_stream_is_unavailable_never_a_reply() -> None:
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}, text("hello"), tool_use("a", "b", c=1)]
    events = [{"type": name, **data} for name, data in message_events({"content": blocks}, call=1)]
    assert assemble(*events).content == blocks
    for length in range(len(events)):
        error = refusal(*events[:length])
        assert error.code == "unavailable"
        assert error.usage == (Usage(input=10, output=5) if length == len(events) - 1 else None)


def test_a_stream_with_any_event_lost_or_doubled_is_the_same_reply_or_an_error() -> None:
    """No loss gives a reply that claims to hold what it does not: at most a shorter text, as nothing numbers its
    pieces.
    """
    blocks = [text("abcd"), tool_use("a", "b", c=1)]
    events = [{"type": name, **data} for name, data in message_events({"content": blocks, "chunk": 2}, call=1)]
    for index, event in enumerate(events):
        for changed in ([*events[:index], *events[index + 1 :]], [*events[: index + 1], *events[index:]]):
            end = outcome(changed)
            if isinstance(end, Reply):
                assert event["type"] in {"ping", "content_block_delta", "message_delta", "message_stop"}
                assert [each["type"] for each in end.content] == ["text", "tool_use"]
            else:
                assert end.code in {"invalid_reply", "unavailable"}


@pytest.mark.parametrize(
    "events",
    [
        [STOP],
        [DELTA, STOP],
        [START, START, *GOOD[1:]],
        [{"type": "message_start"}],
        [{"type": "message_start", "message": []}],
        [{"type": "message_start", "message": {**MESSAGE, "role": "user"}}],
        [{"type": "message_start", "message": {**MESSAGE, "content": [text("already")]}}],
        [START, *block(type="text", text="", index=1)],
        [START, {"type": "content_block_start", "index": 0}],
        [START, *block(text="no type")],
        [START, *block(type=["text"])],
        [START, *block(type="text", text="")[:1], *block(type="text", text="", index=1)],
        [START, {"type": "content_block_delta", "index": 0, "delta": said("x")}],
        [START, {"type": "content_block_stop", "index": 0}],
        [START, *block({"type": "text_delta"}, type="text", text="")],
        [START, *block({"type": "text_delta", "text": 5}, type="text", text="")],
        [START, *block(type="tool_use", id="", name="x", input={})],
        [START, *block(type="tool_use", id="a", name=None, input={})],
        [START, *block(type="tool_use", name="x", input={})],
        [START, {"type": "message_delta"}],
        [START, {"type": "message_delta", "delta": "x"}],
    ],
)
def test_a_stream_of_the_wrong_shape_is_refused_where_it_breaks(events: list[dict[str, Any]]) -> None:
    assembly = Assembly()
    with pytest.raises(ModelError) as caught:
        feed_all(assembly, events)
    assert caught.value.code == "invalid_reply"


@pytest.mark.parametrize(
    "events",
    [
        [START, *block(type="text", text="")[:1], DELTA, STOP],
        [START, *block(said("{}"), type="tool_use", id="a", name="b", input={}), DELTA, STOP],
        [START, *block({"type": "input_json_delta", "partial_json": "x"}, type="text", text=""), DELTA, STOP],
        [START, *block({"type": "hologram_delta"}, type="text", text=""), DELTA, STOP],
        [START, *block({"type": ["x"]}, type="text", text=""), DELTA, STOP],
        [START, *block({"type": "signature_delta"}, type="thinking", thinking="", signature=""), DELTA, STOP],
        [START, *block(type="server_tool_use", id="a", name="b", input={}), DELTA, STOP],
        [START, {**DELTA, "delta": {}}, STOP],
        [START, {**DELTA, "delta": {"stop_reason": None}}, STOP],
        [START, {**DELTA, "delta": {"stop_reason": ["end_turn"]}}, STOP],
        [START, {**DELTA, "delta": {"stop_reason": "tool_use"}}, STOP],
        [
            START,
            *block(type="tool_use", id="a", name="b", input={}),
            *block(type="tool_use", id="a", name="b", input={}, index=1),
            {**DELTA, "delta": {"stop_reason": "tool_use"}},
            STOP,
        ],
    ],
)
def test_a_whole_reply_that_is_unsound_is_refused_with_its_bill(events: list[dict[str, Any]]) -> None:
    error = refusal(*events)
    assert (error.code, error.usage) == ("invalid_reply", Usage(input=3, output=5))


def test_a_reply_nested_too_deep_is_refused() -> None:
    deep: Any = 1
    for _ in range(80):
        deep = [deep]
    error = refusal(START, *block(type="text", text="x", extra=deep), DELTA, STOP)
    assert (error.code, error.usage) == ("invalid_reply", Usage(input=3, output=5))


@pytest.mark.parametrize("usage", [None, "x", [], 5])
def test_a_usage_of_the_wrong_shape_is_an_unknown_one(usage: Any) -> None:
    start = {"type": "message_start", "message": {**MESSAGE, "usage": usage}}
    assert assemble(start, {**DELTA, "usage": usage}, STOP).usage is None
    assert assemble(start, DELTA, STOP).usage is None
    assert assemble(START, {**DELTA, "usage": usage}, STOP).usage is None


def test_any_json_as_an_event_gives_a_reply_or_a_model_error() -> None:
    chance = Random(11)
    atoms: list[Any] = [None, 0, -1, 1.5, True, "", "text", [], {}, [1], {"type": "text"}, "end_turn", "tool_use"]

    def mutate(value: Any) -> Any:
        if chance.random() < 0.01:
            return chance.choice(atoms)
        if isinstance(value, dict):
            return {key: mutate(item) for key, item in value.items() if chance.random() > 0.003}
        if isinstance(value, list):
            return [mutate(item) for item in value]
        return value

    blocks = [text("hello"), {"type": "thinking", "thinking": "h", "signature": "s"}, tool_use("a", "b", c=1)]
    events = [{"type": name, **data} for name, data in message_events({"content": blocks}, call=1)]
    ends = {"reply": 0, "error": 0}
    for _ in range(3000):
        mutated = [mutate(event) for event in events]
        changed = [event for event in mutated if isinstance(event, dict) and isinstance(event.get("type"), str)]
        end = outcome(changed)
        if isinstance(end, Reply):
            json.dumps(end.content, allow_nan=False)
            ends["reply"] += 1
        else:
            ends["error"] += 1
    assert min(ends.values()) > 20


@pytest.mark.parametrize("body", [None, [], "x", {"error": "x"}, {"error": {"message": 5, "type": []}}, {"error": {}}])
def test_an_error_body_of_any_shape_leaves_the_status_to_speak(body: Any) -> None:
    error = from_status(529, body, {})
    assert (error.code, error.message, error.status, error.detail) == ("unavailable", "HTTP 529", 529, {})


def test_a_date_to_retry_at_is_read_against_the_servers_own_clock() -> None:
    date = "Mon, 23 Nov 2026 07:00:00 GMT"
    assert retry_after({"retry-after": "Mon, 23 Nov 2026 07:01:30 GMT", "date": date}) == 90.0
    assert retry_after({"retry-after": "Mon, 23 Nov 2026 06:00:00 GMT", "date": date}) == 0.0
    assert retry_after({"retry-after": "Mon, 23 Nov 2026 07:01:30 GMT"}) is None
    assert retry_after({"retry-after": "Mon, 23 Nov 2026 07:01:30", "date": date}) is None
