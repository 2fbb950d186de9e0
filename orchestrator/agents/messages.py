"""The neutral form of what is said to and by a model: that of the Messages wire format.

A message is ``{"role": "user" | "assistant", "content": [block, …]}``; blocks are kept exactly as they came (thinking
signatures byte for byte), and these types are known:

``{"type": "text", "text"}`` · ``{"type": "thinking", "thinking", "signature"}`` · ``{"type": "redacted_thinking",
"data"}`` · ``{"type": "openai_output", "items"}`` and ``{"type": "openai_thinking", "field", "text"}`` (what the model
that gave it wants back; other providers skip it) · ``{"type": "tool_use", "id", "name", "input"}`` ·
``{"type": "tool_result", "tool_use_id", "content", "is_error"}`` · ``{"type": "image" | "document", "source":
{"type": "base64", "media_type", "data"}}``.

A call whose arguments were no JSON object keeps its place: its ``input`` is ``{"$invalid": TEXT}`` (see
``invalid_input``).
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from orchestrator.frozen import field, frozen

Message: TypeAlias = "dict[str, Any]"
Stop: TypeAlias = Literal["end_turn", "tool_use", "max_tokens", "refusal", "context", "pause_turn", "stop_sequence"]
INVALID = "$invalid"
# Tokens that an API adds by itself for tools, structured output and the frame of a conversation, generously.
FRAME_TOKENS = 2_000

_TEXTS: Final = {"text": ("text",), "tool_use": ("id", "name"), "tool_result": ("tool_use_id",)}
"""What a block of a type must say, as text."""


def block_problem(block: Any) -> str:
    """What is wrong with a block that comes from others, as the end of a sentence; nothing where it can be read."""
    if not isinstance(block, dict):
        return "what is no object"
    found: dict[str, Any] = block
    kind = found.get("type")
    if not isinstance(kind, str):
        return "an object that is no block"
    lacks = next((name for name in _TEXTS.get(kind, ()) if not isinstance(found.get(name), str)), None)
    return f"a block of type {kind[:40]} without the text `{lacks}`" if lacks else ""


@frozen
class Usage:
    """Tokens of one model call. ``input`` counts neither cache reads nor cache writes; ``output`` includes thinking."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    thinking: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output + self.cache_read + self.cache_write_5m + self.cache_write_1h


@frozen
class ToolSpec:
    """A tool as a model sees it. ``name`` is the wire's (``.`` is ``__``), ``schema`` the JSON Schema of its
    arguments.
    """

    name: str
    description: str
    schema: dict[str, Any]


@frozen
class ModelRequest:
    """One call of a model, as data: its canonical form is hashed and journaled before the call.

    ``settings`` is the model's entry in the graph: ``provider model base_url api_key headers max_tokens effort
    thinking cache timeout(µs) params replies``, each only where given; secrets in it are markers. ``may_call`` False:
    the tools are there, and none may be called any more. ``scope`` is what the rules of a scripted model see: ``agent
    turn prompt last results inputs``.
    """

    settings: dict[str, Any]
    system: str
    messages: list[Message]
    tools: list[ToolSpec]
    output_schema: dict[str, Any] | None = None
    may_call: bool = True
    scope: dict[str, Any] = field(default_factory=dict[str, Any])


@frozen
class Reply:
    """A reply whose shape and stop reason were checked.

    ``content`` are the assistant's blocks as they came; ``raw_stop`` is the wire's word; ``model`` the one that
    answered; ``usage`` is None where the wire gave none (the call then costs its reservation).
    """

    content: list[dict[str, Any]]
    stop: Stop
    usage: Usage | None
    model: str = ""
    request_id: str = ""
    raw_stop: str = ""
    detail: dict[str, Any] = field(default_factory=dict[str, Any])


THOUGHTS = frozenset({"thinking", "redacted_thinking", "openai_output", "openai_thinking"})
"""Blocks that mean something to the model alone that gave them."""


def without_thoughts(messages: list[Message], foreign: list[bool]) -> list[Message]:
    """Messages without the thoughts of other models. ``foreign`` says of each reply whether another model gave it; the
    last one is of the last reply, as a conversation that was made shorter has lost its first ones.
    """
    out: list[Message] = []
    left = list(foreign)
    for message in reversed(messages):
        if message["role"] == "assistant" and left and left.pop():
            kept = [block for block in message["content"] if block.get("type") not in THOUGHTS]
            out += [{**message, "content": kept}] if kept else []
        else:
            out.append(message)
    return out[::-1]


def invalid_input(args: Any) -> str | None:
    """What a model gave as the arguments of a call where that was no JSON object; None for good arguments."""
    if isinstance(args, dict) and len(args) == 1 and isinstance(text := args.get(INVALID), str):
        return text
    return None
