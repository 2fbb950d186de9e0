"""A server on the loopback that speaks Chat Completions and Responses (and Messages), from a script of the same form as
``messages_server``: which one, the path of a request says.

``content`` of a reply is as there, put into each API's own events: ``text``, ``tool_use`` and, for responses, ``item``
blocks that are sent whole (``{"type": "item", "item": {…}}``); for chat, ``thinking`` as ``reasoning_content``.
``stop_reason`` is the API's own word (``finish_reason``; for responses the ``status``, or the reason of an incomplete
one); ``usage`` the API's own mapping, or null for none. ``bare: true`` leaves out what compatible servers leave out:
ids, indexes, names of objects. ``when`` may also have ``path``.

In a test::

    with OpenAIServer([{"content": [text("Hello")]}]) as server:
        ...  # base_url: server.url + "/v1"
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.parents import die_with_parent
from tests.wire.messages_server import MessagesServer

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
RESPONSE_USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


class OpenAIServer(MessagesServer):
    """The server in this process, on a thread of its own."""

    def fits(self, when: dict[str, Any], path: str, body: dict[str, Any], raw: str) -> bool:
        rest = {key: want for key, want in when.items() if key not in ("path", "results")}
        if "path" in when and not path.endswith(when["path"]):
            return False
        if "results" in when and when["results"] != results_at_the_end(body):
            return False
        said = body.get("messages") or body.get("input") or []
        blocks = [{"role": one.get("role", ""), "content": one.get("content", one)} for one in said]
        return super().fits(rest, path, {**body, "messages": blocks}, raw)

    def events(self, path: str, reply: dict[str, Any], call: int) -> list[tuple[str, Any]]:
        if path.endswith("/chat/completions"):
            return list(chat_events(reply, call=call))
        if path.endswith("/responses"):
            return list(response_events(reply, call=call))
        return super().events(path, reply, call)


def results_at_the_end(body: dict[str, Any]) -> int:
    """How many results of tools the last messages are, whatever the API."""
    said = body.get("messages") or body.get("input") or []
    count = 0
    for one in reversed(said):
        content = one.get("content")
        inner = [block for block in content if block.get("type") == "tool_result"] if isinstance(content, list) else []
        if one.get("role") != "tool" and one.get("type") != "function_call_output" and not inner:
            break
        count += len(inner) or 1
    return count


def pieces(whole: str, size: int) -> list[str]:
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def arguments(block: dict[str, Any]) -> str:
    return block["partial"] if "partial" in block else json.dumps(block["input"], ensure_ascii=False)


def chat_events(reply: dict[str, Any], *, call: int) -> Iterator[tuple[str, Any]]:
    """The chunks of a good completion, and the end of the stream."""
    bare, size = reply.get("bare", False), reply.get("chunk", 8)
    head = {} if bare else {"id": f"chatcmpl-{call}", "object": "chat.completion.chunk", "created": 1}
    head |= {} if bare else {"model": reply.get("model", "gpt-wire"), "system_fingerprint": None}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> tuple[str, Any]:
        choice = {"delta": delta, "finish_reason": finish} | ({} if bare else {"index": 0, "logprobs": None})
        return "", {**head, "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    calls = [block for block in reply["content"] if block["type"] == "tool_use"]
    for block in reply["content"]:
        key = {"text": "content", "thinking": "reasoning_content", "refusal": "refusal"}.get(block["type"])
        if key:
            for piece in pieces(block.get("text") or block.get("thinking") or "", size):
                yield chunk({key: piece})
    for index, block in enumerate(calls):
        own = {} if bare else {"index": index, "id": block["id"], "type": "function"}
        first, *rest = [arguments(block)] if bare else ["", *pieces(arguments(block), size)]
        yield chunk({"tool_calls": [{**own, "function": {"name": block["name"], "arguments": first}}]})
        for piece in rest:
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, reply.get("stop_reason", "tool_calls" if calls else "stop"))
    usage = None if bare else reply.get("usage", CHAT_USAGE)
    if usage is not None:
        yield "", {**head, "choices": [], "usage": usage}
    yield "", "[DONE]"


def response_events(reply: dict[str, Any], *, call: int) -> Iterator[tuple[str, Any]]:
    """The events of a good response, whose last one holds it whole."""
    items = [_item(block, f"{call}_{index}") for index, block in enumerate(reply["content"])]
    ended = reply.get("stop_reason", "completed")
    status = ended if ended in ("completed", "failed", "cancelled") else "incomplete"
    begun = {"id": f"resp_{call}", "object": "response", "status": "in_progress", "output": []}
    yield "response.created", {"response": begun}
    for index, (block, item) in enumerate(zip(reply["content"], items, strict=True)):
        at = {"output_index": index, "item_id": item.get("id")}
        yield "response.output_item.added", {"output_index": index, "item": {**item, "status": "in_progress"}}
        if block["type"] == "text":
            for piece in pieces(block["text"], reply.get("chunk", 8)):
                yield "response.output_text.delta", {**at, "content_index": 0, "delta": piece}
        yield "response.output_item.done", {"output_index": index, "item": item}
    whole = {
        **begun,
        "status": status,
        "model": reply.get("model", "gpt-wire"),
        "output": [] if reply.get("bare") else items,
        "usage": reply.get("usage", RESPONSE_USAGE),
        "incomplete_details": {"reason": ended} if status == "incomplete" else None,
        "error": reply.get("failure"),
    }
    yield f"response.{status}", {"response": whole}


def _item(block: dict[str, Any], suffix: str) -> dict[str, Any]:
    match block["type"]:
        case "text":
            part = {"type": "output_text", "text": block["text"], "annotations": []}
            return {
                "type": "message",
                "id": f"msg_{suffix}",
                "role": "assistant",
                "status": "completed",
                "content": [part],
            }
        case "refusal":
            part = {"type": "refusal", "refusal": block["text"]}
            return {
                "type": "message",
                "id": f"msg_{suffix}",
                "role": "assistant",
                "status": "completed",
                "content": [part],
            }
        case "tool_use":
            call = {"call_id": block["id"], "name": block["name"], "arguments": arguments(block)}
            return {"type": "function_call", "id": f"fc_{suffix}", "status": "completed", **call}
        case _:
            return block["item"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    die_with_parent(os.getppid())
    with OpenAIServer(json.loads(options.script.read_text()), port=options.port, log=options.log) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.ended.wait()


if __name__ == "__main__":
    main()
