"""The body of a Messages request, as a pure function of the neutral request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from orchestrator.ids import digest_text
from orchestrator.jsonish import dumps
from orchestrator.providers.connect import unsendable
from orchestrator.providers.output_schema import accepted_schema

if TYPE_CHECKING:
    from orchestrator.agents.messages import Message, ModelRequest, ToolSpec

MAX_TOKENS = 4096
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_FOREIGN = ("openai_output", "openai_thinking")
_CALL_ID = re.compile(r"[A-Za-z0-9_-]+")
_OURS = ("model", "max_tokens", "messages", "system", "tools", "stream")


def build(request: ModelRequest) -> dict[str, Any]:
    """The JSON body, ``stream`` apart. Raises ModelError (``bad_request``, not sent) for settings that cannot be said
    in it.
    """
    settings = request.settings
    cache = _cache_control(settings.get("cache", True))
    body: dict[str, Any] = {
        "model": _model(settings),
        "max_tokens": settings.get("max_tokens", MAX_TOKENS),
        "messages": _marked(_sendable(request.messages), cache),
    }
    output_config, asked = _output_config(settings, request.output_schema)
    system = [text for text in (request.system, asked) if text]
    tools = [_tool(tool) for tool in request.tools]
    said: list[dict[str, Any]] = [{"type": "text", "text": text} for text in system]
    # Tools stand before the system text on the wire, so that one mark after both covers both.
    if cache and (marked := said or tools):
        marked[-1]["cache_control"] = cache
    if said:
        body["system"] = said
    if tools:
        body["tools"] = tools
        if not request.may_call:
            body["tool_choice"] = {"type": "none"}
    if (thinking := _thinking(settings)) is not None:
        body["thinking"] = {"type": "disabled"} if _answers_others(thinking, body["messages"]) else thinking
    if output_config:
        body["output_config"] = output_config
    return _with_params(body, settings.get("params") or {})


def cache_ttl(settings: dict[str, Any]) -> str | None:
    """How long a prompt is cached: ``5m``, ``1h`` or None."""
    control = _cache_control(settings.get("cache", True))
    return control.get("ttl", "5m") if control else None


def _model(settings: dict[str, Any]) -> str:
    model = settings.get("model")
    if not isinstance(model, str) or not model:
        raise unsendable("the model entry names no `model`")
    return model


def _cache_control(cache: Any) -> dict[str, str] | None:
    match cache:
        case False | None | "off":
            return None
        case True | "5m":
            return {"type": "ephemeral"}
        case "1h":
            return {"type": "ephemeral", "ttl": "1h"}
        case _:
            raise unsendable(f"`cache` is true, false, 5m or 1h, not {dumps(cache)}")


def _sendable(messages: list[Message]) -> list[Message]:
    """Messages without what the API gives and does not take back (blank text of a model, a reply of nothing else),
    nor what only another API can read.
    """
    out: list[Message] = []
    for message in messages:
        if isinstance(message["content"], str):
            out.append(message)
            continue
        content: list[dict[str, Any]] = message["content"]
        if message["role"] == "assistant":
            content = [block for block in content if not (_blank(block) or _foreign(block))]
        content = [_named(block) for block in content]
        if content or message["role"] != "assistant":
            out.append(message if content == message["content"] else {**message, "content": content})
    return out


def _foreign(block: dict[str, Any]) -> bool:
    return block.get("type") in _FOREIGN or (block.get("type") == "thinking" and block.get("signature") == "scripted")


def _named(block: dict[str, Any]) -> dict[str, Any]:
    """A call or a result under an id that the API takes: other APIs have others."""
    key = {"tool_use": "id", "tool_result": "tool_use_id"}.get(str(block.get("type")))
    if key is None or _CALL_ID.fullmatch(str(block.get(key))):
        return block
    return {**block, key: f"toolu_{digest_text(str(block.get(key)))[:24]}"}


def _answers_others(thinking: dict[str, Any], messages: list[Message]) -> bool:
    """Whether the results at the end are for calls of a model whose thoughts are not there: with a budget of its own
    the API wants to see them, and goes on without thinking where it cannot.
    """
    if thinking["type"] != "enabled" or len(messages) < 2 or messages[-2]["role"] != "assistant":
        return False
    kinds: list[Any] = [block.get("type") for block in messages[-2]["content"]]
    return "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")


def _blank(block: dict[str, Any]) -> bool:
    return block.get("type") == "text" and not str(block.get("text", "")).strip()


def _marked(messages: list[Message], cache: dict[str, str] | None) -> list[Message]:
    """Messages with the last two of the user marked: the older mark is where the request before this one was cached."""
    if cache is None:
        return messages
    out = list(messages)
    marked = [index for index, message in enumerate(messages) if message["role"] == "user" and message["content"]][-2:]
    for index in marked:
        content: Any = messages[index]["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else cast("list[Any]", content)
        if _blank(blocks[-1]):  # it cannot carry a mark
            continue
        out[index] = {**messages[index], "content": [*blocks[:-1], {**blocks[-1], "cache_control": cache}]}
    return out


def _tool(tool: ToolSpec) -> dict[str, Any]:
    schema = {"type": "object", **tool.schema}
    return {"name": tool.name, "description": tool.description, "input_schema": schema}


def _output_config(settings: dict[str, Any], schema: dict[str, Any] | None) -> tuple[dict[str, Any], str]:
    """The output settings, and what the system text must ask for where the API cannot be held to the schema."""
    out: dict[str, Any] = {}
    asked = ""
    effort = settings.get("effort")
    if effort is not None and effort != "none":
        if effort not in _EFFORTS:
            raise unsendable(f"`effort` is one of none, {', '.join(_EFFORTS)}, not {dumps(effort)}")
        out["effort"] = _EFFORTS[effort]
    if schema is not None:
        accepted = accepted_schema(schema)
        if accepted is None:
            asked = f"Your final answer is one JSON value and nothing else. It fits this JSON Schema:\n{dumps(schema)}"
        else:
            out["format"] = {"type": "json_schema", "schema": accepted}
    return out, asked


def _thinking(settings: dict[str, Any]) -> dict[str, Any] | None:
    match settings.get("thinking"):
        case None:
            return {"type": "disabled"} if settings.get("effort") == "none" else None
        case "off" | False:
            return {"type": "disabled"}
        case "adaptive" | True:
            return {"type": "adaptive"}
        case {"tokens": int(tokens)}:
            return {"type": "enabled", "budget_tokens": tokens}
        case other:
            raise unsendable(f"`thinking` is off, adaptive or {{tokens: N}}, not {dumps(other)}")


def _with_params(body: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """``params`` over the body. What the run's own record depends on is not theirs to change."""
    for key, value in params.items():
        if key in _OURS:
            raise unsendable(f"`params` cannot set `{key}`")
        if key == "output_config" and isinstance(value, dict):
            body[key] = {**cast("dict[str, Any]", value), **body.get(key, {})}
        else:
            body[key] = value
    return body
