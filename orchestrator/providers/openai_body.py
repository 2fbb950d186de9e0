"""The bodies of Chat Completions and Responses requests, as pure functions of the neutral request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

from orchestrator.ids import digest_text
from orchestrator.jsonish import dumps
from orchestrator.providers.connect import unsendable
from orchestrator.providers.openai_schema import is_strict, named_schema

if TYPE_CHECKING:
    from orchestrator.agents.messages import Message, ModelRequest, ToolSpec

MAX_TOKENS = 4096
_CHAT_ID, _RESPONSES_ID = 40, 64
_EFFORTS = ("none", "minimal", "low", "medium", "high", "max")
_OURS = {
    "chat": frozenset(("model", "max_tokens", "max_completion_tokens", "messages", "tools", "stream", "n")),
    "responses": frozenset(
        ("model", "max_output_tokens", "input", "instructions", "tools", "stream", "previous_response_id",
         "conversation", "background")
    ),
}  # fmt: skip
_REASONING = re.compile(r"o\d|gpt-([5-9]|1\d)(?!.*-chat)")
"""Names of models that reason: their thoughts are asked for, and they know ``max_tokens`` by its new name alone."""


def api_of(settings: dict[str, Any]) -> Literal["chat", "responses"]:
    """Which of the two APIs an entry speaks."""
    api = settings.get("api", "chat")
    if api not in ("chat", "responses"):
        raise unsendable(f"`api` is chat or responses, not {dumps(api)}")
    return api


def build(request: ModelRequest) -> dict[str, Any]:
    """The JSON body. Raises ModelError (``bad_request``, not sent) for settings that cannot be said in it."""
    settings = request.settings
    if not isinstance(settings.get("model"), str) or not settings["model"]:
        raise unsendable("the model entry names no `model`")
    return chat_body(request) if api_of(settings) == "chat" else responses_body(request)


def chat_body(request: ModelRequest) -> dict[str, Any]:
    """The body of a chat completion, streamed and with its usage at the end."""
    settings = request.settings
    schema, asked = named_schema(request.output_schema)
    system = "\n\n".join(text for text in (request.system, asked) if text)
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for message in request.messages:
        messages += _chat_of_model(message) if message["role"] == "assistant" else _chat_of_user(message)
    body: dict[str, Any] = {
        "model": settings["model"],
        _most(settings): settings.get("max_tokens", MAX_TOKENS),
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = [{"type": "function", "function": _function(tool)} for tool in request.tools]
        if not request.may_call:
            body["tool_choice"] = "none"
    if (effort := _effort(settings)) is not None:
        body["reasoning_effort"] = effort
    if schema is not None:
        form = {"name": "output", "schema": schema, "strict": is_strict(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return _with_params(body, settings, "chat")


def responses_body(request: ModelRequest) -> dict[str, Any]:
    """The body of a response that is not stored there: what its reasoning was comes back, encrypted, and goes again."""
    settings = request.settings
    schema, asked = named_schema(request.output_schema)
    system = "\n\n".join(text for text in (request.system, asked) if text)
    items: list[dict[str, Any]] = []
    for message in request.messages:
        items += _items_of_model(message) if message["role"] == "assistant" else _items_of_user(message)
    effort = _effort(settings)
    body: dict[str, Any] = {
        "model": settings["model"],
        "max_output_tokens": settings.get("max_tokens", MAX_TOKENS),
        "input": items,
        "stream": True,
        "store": False,
    }
    if system:
        body["instructions"] = system
    if request.tools:
        # Left out, `strict` would have the API close and fill the schemas of the file.
        body["tools"] = [{"type": "function", **_function(tool), "strict": False} for tool in request.tools]
        if not request.may_call:
            body["tool_choice"] = "none"
    if effort is not None:
        body["reasoning"] = {"effort": effort}
    if effort not in (None, "none") or _reasons(settings):
        body["include"] = ["reasoning.encrypted_content"]
    if schema is not None:
        form = {"type": "json_schema", "name": "output", "schema": schema, "strict": is_strict(schema)}
        body["text"] = {"format": form}
    return _with_params(body, settings, "responses")


def _reasons(settings: dict[str, Any]) -> bool:
    return _REASONING.match(settings["model"]) is not None


def _most(settings: dict[str, Any]) -> str:
    """How the bound of a reply is called: servers that are only compatible know the old name."""
    url = settings.get("base_url")
    public = not isinstance(url, str) or (urlsplit(url).hostname or "").endswith("openai.com")
    return "max_completion_tokens" if public or _reasons(settings) else "max_tokens"


def _effort(settings: dict[str, Any]) -> str | None:
    effort = settings.get("effort")
    if effort is not None and effort not in _EFFORTS:
        raise unsendable(f"`effort` is one of {', '.join(_EFFORTS)}, not {dumps(effort)}")
    match settings.get("thinking"):
        case None | "adaptive":
            return effort
        case "off":
            return "none" if effort is None else effort
        case other:
            raise unsendable(f"`thinking` of provider openai is off or adaptive, not {dumps(other)}: use `effort`")


def _function(tool: ToolSpec) -> dict[str, Any]:
    schema = {"type": "object", **tool.schema}
    # Some servers want the key, even where nothing is in it.
    return {"name": tool.name, "description": tool.description, "parameters": {"properties": {}, **schema}}


def _with_params(body: dict[str, Any], settings: dict[str, Any], api: Literal["chat", "responses"]) -> dict[str, Any]:
    """``params`` over the body, mapping by mapping. What the run's own record depends on is not theirs to change."""
    for key, value in (settings.get("params") or {}).items():
        if key in _OURS[api]:
            raise unsendable(f"`params` cannot set `{key}`")
        if isinstance(value, dict) and isinstance(body.get(key), dict):
            body[key] = {**cast("dict[str, Any]", value), **body[key]}
        else:
            body[key] = value
    return body


# Messages


def _blocks(message: Message) -> list[dict[str, Any]]:
    content: Any = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text(blocks: list[dict[str, Any]]) -> str:
    return "".join(block["text"] for block in blocks if block.get("type") == "text")


def _chat_of_model(message: Message) -> list[dict[str, Any]]:
    blocks = _blocks(message)
    calls = [
        {
            "id": call_id(block["id"], _CHAT_ID),
            "type": "function",
            "function": {"name": block["name"], "arguments": _arguments(block.get("input"))},
        }
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    said = _text(blocks)
    if not calls and not said.strip():
        return []
    out: dict[str, Any] = {"role": "assistant", "content": said or None}
    # The server that thought aloud may want to see it again, where it said it.
    out |= {block["field"]: block["text"] for block in blocks if block.get("type") == "openai_thinking"}
    return [out | {"tool_calls": calls} if calls else out]


def _chat_of_user(message: Message) -> list[dict[str, Any]]:
    """Results are messages of their own; a picture in one comes after them, since none may hold it."""
    out: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in _blocks(message):
        if block.get("type") == "tool_result":
            inner = _inside(block)
            said = _text(inner) or " "
            out.append({"role": "tool", "tool_call_id": call_id(block["tool_use_id"], _CHAT_ID), "content": said})
            parts += [_chat_part(one) for one in inner if one.get("type") != "text"]
        else:
            parts.append(_chat_part(block))
    if parts and all(part["type"] == "text" for part in parts):
        out.append({"role": "user", "content": "\n\n".join(part["text"] for part in parts)})
    elif parts:
        out.append({"role": "user", "content": parts})
    return out


def _inside(result: dict[str, Any]) -> list[dict[str, Any]]:
    content: Any = result.get("content") or ""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _chat_part(block: dict[str, Any]) -> dict[str, Any]:
    match block:
        case {"type": "text", "text": text}:
            return {"type": "text", "text": text}
        case {"type": "image"}:
            return {"type": "image_url", "image_url": {"url": _data_url(block)}}
        case {"type": "document"}:
            return {"type": "file", "file": {"filename": _file_name(block), "file_data": _data_url(block)}}
        case _:
            raise unsendable(f"a {block.get('type')} cannot be sent to provider openai")


def _items_of_model(message: Message) -> list[dict[str, Any]]:
    """What the API said with reasoning goes back as it came, item by item; anything else is put together anew."""
    blocks = _blocks(message)
    for block in blocks:
        if block.get("type") == "openai_output":
            return list(block["items"])
    out: list[dict[str, Any]] = []
    for block in blocks:
        if block.get("type") == "text" and block["text"].strip():
            out.append({"role": "assistant", "content": block["text"]})
        elif block.get("type") == "tool_use":
            call = {
                "call_id": call_id(block["id"], _RESPONSES_ID),
                "name": block["name"],
                "arguments": _arguments(block.get("input")),
            }
            out.append({"type": "function_call", **call})
    return out


def _items_of_user(message: Message) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in _blocks(message):
        if block.get("type") == "tool_result":
            inner = _inside(block)
            plain = all(one.get("type") == "text" for one in inner)
            output = (_text(inner) or " ") if plain else [_input_part(one) for one in inner]
            out.append(
                {
                    "type": "function_call_output",
                    "call_id": call_id(block["tool_use_id"], _RESPONSES_ID),
                    "output": output,
                }
            )
        else:
            parts.append(_input_part(block))
    if parts:
        out.append({"role": "user", "content": parts})
    return out


def _input_part(block: dict[str, Any]) -> dict[str, Any]:
    match block:
        case {"type": "text", "text": text}:
            return {"type": "input_text", "text": text}
        case {"type": "image"}:
            return {"type": "input_image", "image_url": _data_url(block), "detail": "auto"}
        case {"type": "document"}:
            return {"type": "input_file", "filename": _file_name(block), "file_data": _data_url(block)}
        case _:
            raise unsendable(f"a {block.get('type')} cannot be sent to provider openai")


def _data_url(block: dict[str, Any]) -> str:
    source: dict[str, Any] = block.get("source") or {}
    if source.get("type") != "base64":
        raise unsendable(f"a {block['type']} from {source.get('type')} cannot be sent to provider openai")
    return f"data:{source['media_type']};base64,{source['data']}"


def _file_name(block: dict[str, Any]) -> str:
    """The API wants one, and reads the kind of the file off its end."""
    ending = str(block["source"].get("media_type", "")).rpartition("/")[2]
    return f"document.{ending}" if re.fullmatch(r"[a-z]+", ending) else "document"


def _arguments(given: Any) -> str:
    """The text of a call's arguments; of those that were no JSON object, an object with the text that the model gave,
    since servers that parse what they are sent would refuse the whole conversation for it.
    """
    return dumps({} if given is None else given)


def call_id(given: str, most: int) -> str:
    """An id that the API takes: at most so many characters."""
    return given if 0 < len(given) <= most else f"call_{digest_text(given)[:24]}"
