"""What comes back from Chat Completions and Responses: events to a checked reply, refusals to errors. Pure.

Servers that are only compatible leave things out (usage, ids, indexes) and add fields of their own: neither is in the
way of a reply. What decides what happens next (how it stopped, that it is whole) has to be there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from orchestrator.agents.messages import Reply, Stop, Usage
from orchestrator.frozen import field, slotted
from orchestrator.ids import digest_text
from orchestrator.jsonish import clean, dumps, shortened
from orchestrator.providers.protocol import ModelError
from orchestrator.providers.sse import (
    arguments_of,
    class_of_status,
    count_of,
    event_of,
    invalid,
    retry_after,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_MESSAGE = 2_000
_DONE = {"type": "[DONE]"}
_STOPS: dict[str, Stop] = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}
_THOUGHTS = ("reasoning_content", "reasoning")
_TOO_LONG = re.compile(
    r"context[ _](length|window|size)|prompt is too long|too many (input |prompt )?tokens|input is too long",
    re.IGNORECASE,
)
_REFUSALS = frozenset(("content_filter", "content_policy_violation", "bio_policy", "misalignment_policy_violation",
                       "image_content_policy_violation"))  # fmt: skip
_CODES = {
    "rate_limit_exceeded": "rate_limit",
    "rate_limit_error": "rate_limit",
    "insufficient_quota": "rate_limit",
    "context_length_exceeded": "context",
    "invalid_api_key": "auth",
    "authentication_error": "auth",
    "permission_error": "auth",
    "invalid_request_error": "bad_request",
    "invalid_prompt": "bad_request",
    "not_found_error": "bad_request",
    "data_residency_mismatch": "bad_request",
}
# Items of a response that ask for nothing here: they go back as they came.
_ITEMS = frozenset(("message", "reasoning", "function_call", "web_search_call", "file_search_call", "mcp_call",
                    "mcp_list_tools", "code_interpreter_call", "image_generation_call", "compaction"))  # fmt: skip


def event_or_end(data: bytes) -> dict[str, Any]:
    """An event, or what stands for the end of the stream. Raises ModelError."""
    return _DONE if data.strip() == b"[DONE]" else event_of(data)


@slotted
class _Call:
    """A call that is being received."""

    id: str = ""
    name: str = ""
    parts: list[str] = field(default_factory=list[str])


class ChatAssembly:
    """A chat completion in the making: ``feed`` takes each chunk, ``finish`` checks that the whole is there.

    ``seed`` makes the ids of calls that a server left without one.
    """

    def __init__(self, *, seed: str = "") -> None:
        self.request_id = ""
        self.done = False
        self._seed = seed
        self._id = ""
        self._model = ""
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._thoughts: dict[str, list[str]] = {}
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._stop: str | None = None
        self._usage: dict[str, Any] = {}

    @property
    def usage(self) -> Usage | None:
        """What the call used, where the wire has said so after the reply had ended; before that None."""
        return usage_of_chat(self._usage) if self._stop is not None and self._usage else None

    def feed(self, event: dict[str, Any]) -> str:
        """Take one chunk; the text that it shows, if any. Raises ModelError for an error or a broken shape."""
        if event is _DONE or self.done:
            self.done = True
            return ""
        if event.get("error"):
            raise from_error(event["error"])
        self._id = self._id or _said(event, "id")
        self._model = self._model or _said(event, "model")
        if isinstance(event.get("usage"), dict):
            self._usage = event["usage"]
        choices: Any = event.get("choices") or []
        if not isinstance(choices, list):
            raise invalid("the choices of a chunk are no list")
        return "".join([self._choice(choice) for choice in cast("list[Any]", choices)])

    def _choice(self, choice: Any) -> str:
        if not isinstance(choice, dict):
            raise invalid("a choice of the reply is no object")
        found = cast("dict[str, Any]", choice)
        if found.get("index"):
            raise invalid("the reply has more than one choice")
        delta: dict[str, Any] = _mapping(found.get("delta"), "the part of a choice")
        shown = _piece(delta, "content")
        self._text.append(shown)
        self._refusal.append(_piece(delta, "refusal"))
        for name in _THOUGHTS:
            if thought := delta.get(name):
                self._thoughts.setdefault(name, []).append(thought if isinstance(thought, str) else dumps(thought))
        for call in cast("list[Any]", delta.get("tool_calls") or []):
            self._call(_mapping(call, "a call of the reply"))
        if found.get("finish_reason"):
            self._stop = str(found["finish_reason"])
        return shown

    def _call(self, part: dict[str, Any]) -> None:
        given = _mapping(part.get("function"), "the function of a call")
        name, call_id = _piece(given, "name"), _piece(part, "id")
        index = part.get("index")
        known = self._at.get(index) if isinstance(index, int) else (self._calls[-1] if self._calls else None)
        # Servers that number nothing, or everything 0, begin a call by its name and another id.
        if known is None or (name and known.name and (call_id != known.id or not isinstance(index, int))):
            known = _Call()
            self._calls.append(known)
            if isinstance(index, int):
                self._at[index] = known
        known.id = known.id or call_id
        known.name = known.name or name
        arguments = given.get("arguments")
        if arguments is not None:
            known.parts.append(arguments if isinstance(arguments, str) else dumps(arguments))

    def finish(self) -> Reply:
        """The reply. Raises ModelError: ``unavailable`` where the stream ended early, else ``invalid_reply``."""
        if not self.done or self._stop is None:
            raise ModelError("unavailable", "the stream ended before the reply did", usage=self.usage)
        refusal = "".join(self._refusal)
        content = self._content(refusal)
        called = [block["id"] for block in content if block["type"] == "tool_use"]
        stop = _STOPS.get(self._stop)
        fault = _fault(stop, self._stop, called, content)
        if fault is not None or stop is None:
            raise ModelError("invalid_reply", fault or "", usage=self.usage)
        if refusal:
            stop = "refusal"
        elif called and stop == "end_turn":
            # So do servers that never say `tool_calls`, and the API itself where a call was demanded.
            stop = "tool_use"
        detail = {"id": self._id, "usage": self._usage}
        return _reply(self, content, stop, self._stop, model=self._model, detail=detail)

    def _content(self, refusal: str) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = [
            {"type": "openai_thinking", "field": name, "text": "".join(parts)} for name, parts in self._thoughts.items()
        ]
        if said := "".join(self._text) or refusal:
            content.append({"type": "text", "text": said})
        for index, call in enumerate(self._calls):
            own = call.id or f"call_{digest_text(f'{self._seed}-{self._id}-{index}')[:24]}"
            content.append(_tool_use(own, call.name, "".join(call.parts)))
        return content


class ResponsesAssembly:
    """A response in the making. Its last event holds it whole; the items before it stand in where that lacks them."""

    def __init__(self) -> None:
        self.request_id = ""
        self.done = False
        self._items: dict[int, dict[str, Any]] = {}
        self._response: dict[str, Any] = {}

    @property
    def usage(self) -> Usage | None:
        """What the call used, once the wire has said so finally."""
        used = self._response.get("usage")
        return usage_of_response(cast("dict[str, Any]", used)) if isinstance(used, dict) else None

    def feed(self, event: dict[str, Any]) -> str:
        """Take one event; the text that it shows, if any. Raises ModelError for an error event."""
        if self.done or event is _DONE:
            return ""
        match event.get("type"):
            case "error":
                raise from_error(event.get("error") or event)
            case "response.output_text.delta":
                return _piece(event, "delta")
            case "response.output_item.done":
                index = event.get("output_index")
                self._items[index if isinstance(index, int) else len(self._items)] = _mapping(
                    event.get("item"), "an item of the reply"
                )
            case "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled":
                self._response = _mapping(event.get("response"), "the response")
                self.done = True
            case str():
                # New kinds of events may appear, and are to be passed over.
                pass
            case _:
                if event.get("error"):
                    raise from_error(event["error"])
                raise invalid("an event of the stream has no type")
        return ""

    def finish(self) -> Reply:
        """The reply. Raises ModelError: ``unavailable`` where the stream ended early, what a failed response says, else
        ``invalid_reply``.
        """
        if not self.done:
            raise ModelError("unavailable", "the stream ended before the reply did", usage=self.usage)
        response = self._response
        if response.get("error"):
            raise from_error(response["error"], usage=self.usage)
        given = response.get("output") or [self._items[index] for index in sorted(self._items)]
        items = cast("list[dict[str, Any]]", given if isinstance(given, list) else [])
        content, refused = _content_of(items, self.usage)
        called = [block["id"] for block in content if block["type"] == "tool_use"]
        raw = _raw_stop(response)
        stop: Stop | None = {"max_output_tokens": "max_tokens", "content_filter": "refusal"}.get(raw)  # pyright: ignore[reportAssignmentType]
        if raw == "completed":
            stop = "refusal" if refused else "tool_use" if called else "end_turn"
        fault = _fault(stop, raw, called, content)
        if fault is not None or stop is None:
            raise ModelError("invalid_reply", fault or "", usage=self.usage)
        detail = {key: response.get(key) for key in ("id", "usage", "service_tier")}
        return _reply(self, content, stop, raw, model=_said(response, "model"), detail=detail)


def _raw_stop(response: dict[str, Any]) -> str:
    """The wire's word for how a response ended."""
    status = _said(response, "status")
    why: Any = response.get("incomplete_details")
    return _said(cast("dict[str, Any]", why), "reason") if status == "incomplete" and isinstance(why, dict) else status


def _content_of(items: list[dict[str, Any]], used: Usage | None) -> tuple[list[dict[str, Any]], bool]:
    """The blocks of a response, and whether it is a refusal. With reasoning, all items are kept beside them as they
    came: the API wants them back so, in their order.
    """
    content: list[dict[str, Any]] = []
    refused = False
    for item in items:
        kind = item.get("type")
        if kind not in _ITEMS:
            raise ModelError(
                "invalid_reply", f"the reply has an item of a type that is not known: {kind!r}", usage=used
            )
        if kind == "function_call":
            content.append(_tool_use(_said(item, "call_id"), _said(item, "name"), _piece(item, "arguments")))
        elif kind == "message":
            for part in cast("list[dict[str, Any]]", item.get("content") or []):
                refused = refused or part.get("type") == "refusal"
                said = _piece(part, "refusal" if part.get("type") == "refusal" else "text")
                content += [{"type": "text", "text": said}] if said else []
    if any(item.get("type") not in ("message", "function_call") for item in items):
        content.insert(0, {"type": "openai_output", "items": items})
    return content, refused


def _tool_use(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    given = arguments_of(arguments) if arguments.strip() else {}
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def _fault(stop: Stop | None, raw: str, called: list[str], content: list[dict[str, Any]]) -> str | None:
    if stop is None:
        return f"the reply stopped for a reason that is not known: {raw!r}"
    if stop == "tool_use" and not called:
        return "the reply stopped to use a tool, and names none"
    if any(not (block["id"] and block["name"]) for block in content if block["type"] == "tool_use"):
        return "a call of the reply has no id or no name"
    return "two calls of the reply have one id" if len(set(called)) < len(called) else None


def _reply(
    assembly: ChatAssembly | ResponsesAssembly,
    content: list[dict[str, Any]],
    stop: Stop,
    raw: str,
    *,
    model: str,
    detail: dict[str, Any],
) -> Reply:
    try:
        return Reply(
            content=cast("list[dict[str, Any]]", clean(content)),
            stop=stop,
            usage=assembly.usage,
            model=model,
            request_id=assembly.request_id,
            raw_stop=raw,
            detail=cast("dict[str, Any]", clean({key: value for key, value in detail.items() if value})),
        )
    except (ValueError, TypeError) as error:
        raise ModelError("invalid_reply", f"the reply cannot be kept: {error}", usage=assembly.usage) from None


def usage_of_chat(wire: Mapping[str, Any]) -> Usage | None:
    """The counts of a chat completion; None where one that is needed is missing, or is no count."""
    return _usage(wire, "prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details")


def usage_of_response(wire: Mapping[str, Any]) -> Usage | None:
    """The counts of a response; None where one that is needed is missing, or is no count."""
    return _usage(wire, "input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")


def _usage(wire: Mapping[str, Any], prompt: str, reply: str, of_prompt: str, of_reply: str) -> Usage | None:
    try:
        inner, outer = wire.get(of_prompt) or {}, wire.get(of_reply) or {}
        read, written = count_of(inner, "cached_tokens"), count_of(inner, "cache_write_tokens")
        return Usage(
            input=max(0, count_of(wire, prompt, needed=True) - read - written),
            output=count_of(wire, reply, needed=True),
            cache_read=read,
            cache_write_5m=written,
            thinking=count_of(outer, "reasoning_tokens"),
        )
    except ValueError:
        return None


def from_status(status: int, body: Any, headers: Mapping[str, str]) -> ModelError:
    """The error of an HTTP status with its parsed body. ``headers`` look their names up in lower case."""
    said = _error_of(body)
    text = _message(said, body) or f"HTTP {status}"
    code = class_of_status(status)
    if code in ("bad_request", "unavailable") and status != 409:
        code = _finer(said, text, code, status)
    return ModelError(
        code,
        text if text == f"HTTP {status}" else f"{text} (HTTP {status})",
        status=status,
        retry_after=retry_after(headers),
        # Refused before any work. A 5xx of a gateway may hide a call that was made and billed.
        usage=Usage() if 300 <= status < 500 else None,
        detail=_detail(said, headers.get("x-request-id")),
    )


def _finer(said: dict[str, Any], text: str, code: str, status: int) -> str:
    if said.get("code") == "context_length_exceeded" or (status in (400, 413, 422) and _TOO_LONG.search(text)):
        return "context"
    return "refusal" if said.get("code") in _REFUSALS and status < 500 else code


def from_error(error: Any, *, usage: Usage | None = None) -> ModelError:
    """The error that came within a stream that began well: it has no HTTP status."""
    said = _error_of(error)
    text = _message(said, error) or "the API broke the stream off"
    code = "unavailable"
    for key in (said.get("code"), said.get("type")):
        if isinstance(key, int) and 400 <= key < 600:
            code = class_of_status(key)
            break
        if isinstance(key, str) and (key in _CODES or key in _REFUSALS):
            code = "refusal" if key in _REFUSALS else _CODES[key]
            break
    if code == "bad_request" and _TOO_LONG.search(text):
        code = "context"
    return ModelError(code, text, usage=usage, detail=_detail(said, None))


def _error_of(body: Any) -> dict[str, Any]:
    """What a body says of its error: servers put it in ``error``, or write it bare."""
    if not isinstance(body, dict):
        return {}
    found = cast("dict[str, Any]", body)
    inner = found.get("error")
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else found


def _message(said: dict[str, Any], body: Any) -> str:
    for found in (said.get("message"), said.get("error"), said.get("detail"), body):
        if isinstance(found, str) and found.strip() and not found.lstrip().startswith("<"):
            return shortened(found.strip(), LONGEST_MESSAGE)
    return ""


def _detail(said: dict[str, Any], request_id: str | None) -> dict[str, Any]:
    detail = {"type": said.get("type"), "code": said.get("code"), "request_id": request_id}
    return {key: str(value) for key, value in detail.items() if isinstance(value, (str, int)) and value}


def _said(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""


def _piece(found: dict[str, Any], key: str) -> str:
    """A text that may be left out or null."""
    value = found.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(f"`{key}` in the reply is no text")
    return value


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"{what} is no object")
    return cast("dict[str, Any]", value)
