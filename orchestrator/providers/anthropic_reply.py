"""What comes back from a Messages API: bytes to events, events to a checked reply, refusals to errors. Pure.

Blocks are put together from the wire's own JSON, so that signatures, and fields that nobody here knows, stay as they
came.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from orchestrator.agents.messages import Reply, Stop, Usage
from orchestrator.frozen import field, slotted
from orchestrator.jsonish import clean
from orchestrator.providers.protocol import ModelError
from orchestrator.providers.sse import (
    EventLines,
    arguments_of,
    class_of_status,
    count_of,
    event_of,
    invalid,
    retry_after,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STOPS: dict[str, Stop] = {
    "end_turn": "end_turn",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "pause_turn": "pause_turn",
    "refusal": "refusal",
    "model_context_window_exceeded": "context",
}
_BLOCKS = frozenset(("text", "thinking", "redacted_thinking", "tool_use"))
_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("tool_use", "partial_json"),
}
_TYPED = {
    "authentication_error": "auth",
    "permission_error": "auth",
    "invalid_request_error": "bad_request",
    "not_found_error": "bad_request",
    "request_too_large": "bad_request",
    "rate_limit_error": "rate_limit",
}
_TOO_LONG = re.compile(r"prompt is too long|context (window|limit|length)|exceeds? the maximum.*tokens", re.IGNORECASE)


class EventDecoder:
    """Bytes of an event stream to its events, however they were cut."""

    def __init__(self) -> None:
        self._lines = EventLines()

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """Events that ``chunk`` completes. Raises ModelError (``invalid_reply``) for what is no event of it."""
        for data in self._lines.feed(chunk):
            yield typed_event(data)


def typed_event(data: bytes) -> dict[str, Any]:
    """An event, which says of which type it is. Raises ModelError."""
    event = event_of(data)
    if not isinstance(event.get("type"), str):
        raise invalid("an event of the stream has no type")
    return event


@slotted
class _Open:
    """The block that is being received."""

    block: dict[str, Any]
    parts: list[str] = field(default_factory=list[Any])


class Assembly:
    """A reply in the making: ``feed`` takes each event, ``finish`` checks that the whole is there and sound."""

    def __init__(self, *, ttl: str | None = None) -> None:
        self.request_id = ""
        self._ttl = ttl
        self._message: dict[str, Any] | None = None
        self._blocks: list[dict[str, Any]] = []
        self._open: _Open | None = None
        self._delta: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._counted = False
        self._fault: str | None = None
        self.done = False

    @property
    def usage(self) -> Usage | None:
        """What the call used, once the wire has said so finally; before that None, as the bill is not known."""
        return usage_of(self._usage, ttl=self._ttl) if self._counted else None

    def feed(self, event: dict[str, Any]) -> str:
        """Take one event; the text that it shows, if any. Raises ModelError for an error event or a broken order."""
        kind: str = event["type"]
        if self.done or kind == "ping":
            return ""
        if kind == "error":
            raise from_error_event(event)
        if kind == "message_start":
            self._start(event)
            return ""
        if self._message is None:
            raise invalid(f"the stream begins with {kind}")
        match kind:
            case "content_block_start":
                self._open_block(event)
            case "content_block_delta":
                return self._extend_block(event)
            case "content_block_stop":
                self._close_block(event)
            case "message_delta":
                self._delta |= _mapping(event, "delta")
                if isinstance(used := event.get("usage"), dict):
                    self._usage |= {k: v for k, v in cast("dict[str, Any]", used).items() if v is not None}
                    self._counted = True
            case "message_stop":
                self.done = True
            case _:
                # The API's versioning policy: new kinds of events may appear, and are to be passed over.
                pass
        return ""

    def finish(self) -> Reply:
        """The reply. Raises ModelError: ``unavailable`` where the stream ended early, else ``invalid_reply``."""
        if self._message is None or not self.done:
            raise ModelError("unavailable", "the stream ended before the reply did", usage=self.usage)
        raw = self._delta.get("stop_reason") or self._message.get("stop_reason")
        stop = _STOPS.get(raw) if isinstance(raw, str) else None
        fault = self._fault
        if fault is None and self._open is not None:
            fault = "a block of the reply was never closed"
        if fault is None and stop is None:
            fault = f"the reply stopped for a reason that is not known: {raw!r}"
        called = [block["id"] for block in self._blocks if block["type"] == "tool_use"]
        if fault is None and stop == "tool_use" and not called:
            fault = "the reply stopped to use a tool, and names none"
        if fault is None and len(set(called)) < len(called):
            fault = "two calls of the reply have one id"
        if fault is not None or stop is None:
            raise ModelError("invalid_reply", fault or "", usage=self.usage)
        try:
            content = cast("list[dict[str, Any]]", clean(self._blocks))
            detail = cast("dict[str, Any]", clean(self._detail()))
        except (ValueError, TypeError) as error:
            raise ModelError("invalid_reply", f"the reply cannot be kept: {error}", usage=self.usage) from None
        model = self._message.get("model")
        return Reply(
            content=content,
            stop=stop,
            usage=self.usage,
            model=model if isinstance(model, str) else "",
            request_id=self.request_id,
            raw_stop=str(raw),
            detail=detail,
        )

    def _detail(self) -> dict[str, Any]:
        extra = {k: v for k, v in self._delta.items() if v is not None and k != "stop_reason"}
        message = self._message or {}
        return {"id": message.get("id"), "usage": self._usage, **extra}

    def _start(self, event: dict[str, Any]) -> None:
        message = _mapping(event, "message")
        if self._message is not None or message.get("role") != "assistant" or message.get("content"):
            raise invalid("the stream does not begin with an empty message of an assistant")
        self._message = message
        if isinstance(used := message.get("usage"), dict):
            self._usage = dict(cast("dict[str, Any]", used))

    def _open_block(self, event: dict[str, Any]) -> None:
        block = dict(_mapping(event, "content_block"))
        kind = block.get("type")
        if not isinstance(kind, str):
            raise invalid("a block of the reply has no type")
        if self._open is not None or event.get("index") != len(self._blocks):
            raise invalid("the blocks of the reply are out of order")
        if kind not in _BLOCKS:
            # Read on, so that what it used is known, and fail at the end.
            self._fault = self._fault or f"the reply has a block of a type that is not known: {kind!r}"
        elif kind == "tool_use" and not (_text(block, "id") and _text(block, "name")):
            raise invalid("a call of the reply has no id or no name")
        self._open = _Open(block)

    def _extend_block(self, event: dict[str, Any]) -> str:
        if self._open is None or event.get("index") != len(self._blocks):
            raise invalid("a part of a block came without its block")
        delta = _mapping(event, "delta")
        block = self._open.block
        kind = delta.get("type")
        fits, key = _DELTAS.get(kind, ("", "")) if isinstance(kind, str) else ("", "")
        if fits == block["type"]:
            part = delta.get(key)
            if not isinstance(part, str):
                raise invalid(f"a {kind} has no text")
            self._open.parts.append(part)
            return part if kind == "text_delta" else ""
        if kind == "signature_delta" and isinstance(delta.get("signature"), str):
            block["signature"] = delta["signature"]
        elif kind == "citations_delta" and isinstance(delta.get("citation"), dict):
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        elif block["type"] in _BLOCKS:
            self._fault = self._fault or f"a block of the reply has a part that does not belong there: {kind!r}"
        return ""

    def _close_block(self, event: dict[str, Any]) -> None:
        if self._open is None or event.get("index") != len(self._blocks):
            raise invalid("a block ended that was not begun")
        block, text = self._open.block, "".join(self._open.parts)
        self._open = None
        match block["type"]:
            case "text" | "thinking" as key:
                block[key] = f"{block.get(key) or ''}{text}"
            case "tool_use":
                block["input"] = _input(block.get("input"), text)
            case _:
                pass
        self._blocks.append(block)


def _input(given: Any, text: str) -> dict[str, Any]:
    """The arguments of a call: its pieces put together, or a mark that keeps what was no JSON object."""
    if not text:
        return cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    return arguments_of(text)


def usage_of(wire: Mapping[str, Any], *, ttl: str | None = None) -> Usage | None:
    """The wire's counts. Cache writes that it does not break down are of ``ttl``. None where a count is missing or no
    count.
    """
    try:
        created, thought = wire.get("cache_creation") or {}, wire.get("output_tokens_details") or {}
        five, hour = count_of(created, "ephemeral_5m_input_tokens"), count_of(created, "ephemeral_1h_input_tokens")
        rest = max(0, count_of(wire, "cache_creation_input_tokens") - five - hour)
        return Usage(
            input=count_of(wire, "input_tokens", needed=True),
            output=count_of(wire, "output_tokens", needed=True),
            cache_read=count_of(wire, "cache_read_input_tokens"),
            cache_write_5m=five + (0 if ttl == "1h" else rest),
            cache_write_1h=hour + (rest if ttl == "1h" else 0),
            thinking=count_of(thought, "thinking_tokens"),
        )
    except ValueError:
        return None


def from_status(status: int, body: Any, headers: Mapping[str, str]) -> ModelError:
    """The error of an HTTP status with its parsed body. ``headers`` look their names up in lower case."""
    said = _said(body)
    message = said.get("message")
    text = message if isinstance(message, str) and message else f"HTTP {status}"
    too_long = _TOO_LONG.search(text) or said.get("type") == "request_too_large"
    code = "context" if status in (400, 413) and too_long else class_of_status(status)
    return ModelError(
        code,
        f"{text} (HTTP {status})" if text != f"HTTP {status}" else text,
        status=status,
        retry_after=retry_after(headers),
        usage=Usage() if _unbilled(status, said) else None,
        detail=_detail(said, headers.get("request-id")),
    )


def from_error_event(event: dict[str, Any]) -> ModelError:
    """The error that came as an event of a stream that began well.

    It has no HTTP status: that was 200. What the call used until then, and whether that is billed, is not known.
    """
    said = _said(event)
    kind = said.get("type")
    code = _TYPED.get(kind, "unavailable") if isinstance(kind, str) else "unavailable"
    message = said.get("message")
    text = message if isinstance(message, str) and message else "the API broke the stream off"
    if code == "bad_request" and _TOO_LONG.search(text):
        code = "context"
    request_id = event.get("request_id")
    detail = _detail(said, request_id if isinstance(request_id, str) else None)
    return ModelError(code, f"{text} ({kind})", detail=detail)


def _unbilled(status: int, said: dict[str, Any]) -> bool:
    """Refused before any work: the API bills no such request. A 5xx of a gateway may hide a call that was made and
    billed.
    """
    return 300 <= status < 500 or status == 529 or (status == 503 and said.get("type") == "overloaded_error")


def _said(body: Any) -> dict[str, Any]:
    error = cast("dict[str, Any]", body).get("error") if isinstance(body, dict) else None
    return cast("dict[str, Any]", error) if isinstance(error, dict) else {}


def _detail(said: dict[str, Any], request_id: str | None) -> dict[str, Any]:
    detail = {"type": said.get("type"), "request_id": request_id}
    return {key: value for key, value in detail.items() if isinstance(value, str) and value}


def _mapping(event: dict[str, Any], key: str) -> dict[str, Any]:
    value = event.get(key)
    if not isinstance(value, dict):
        raise invalid(f"{event['type']} has no {key}")
    return cast("dict[str, Any]", value)


def _text(block: dict[str, Any], key: str) -> bool:
    return isinstance(block.get(key), str) and bool(block[key])
