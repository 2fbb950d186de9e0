"""The neutral form of what is said to and by a model: that of the Messages wire format.

A message is ``{"role": "user" | "assistant", "content": [block, …]}``; blocks are kept exactly as they came (thinking
signatures byte for byte), and these types are known:

``{"type": "text", "text"}`` · ``{"type": "thinking", "thinking", "signature"}`` · ``{"type": "redacted_thinking",
"data"}`` · ``{"type": "tool_use", "id", "name", "input"}`` · ``{"type": "tool_result", "tool_use_id", "content",
"is_error"}`` · ``{"type": "image" | "document", "source": {"type": "base64", "media_type", "data"}}``.

A call whose arguments were no JSON object keeps its place: its ``input`` is ``{"$invalid": TEXT}`` (see
``invalid_input``).

The hash of a request and its size are made of two *parts*: what stays the same within one agent call
(``fixed_part``), and what was said, which grows by one hash step per message (``said_part``, ``more_said``), so that
N turns cost O(N).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal, TypeAlias

from orchestrator.jsonish import canonical, digest

Message: TypeAlias = "dict[str, Any]"
Stop: TypeAlias = Literal["end_turn", "tool_use", "max_tokens", "refusal", "context", "pause_turn", "stop_sequence"]
INVALID = "$invalid"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a request: the hash of its canonical form (64 hex digits) and the size of that form in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it. ``name`` is the wire's (``.`` is ``__``), ``schema`` the JSON Schema of its
    arguments.
    """

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call of a model, as data: its canonical form is hashed and journaled before the call.

    ``settings`` is the model's entry in the graph: ``provider model base_url api_key headers max_tokens effort
    thinking cache timeout(µs) params replies``, each only where given; secrets in it are markers. ``scope`` is what
    the rules of a scripted model see: ``agent turn prompt last results inputs``. ``fixed`` and ``said`` are the parts
    of its hash, where whoever built it has them at hand: they save hashing a whole conversation at every turn.
    """

    settings: dict[str, Any]
    system: str
    messages: list[Message]
    tools: list[ToolSpec]
    output_schema: dict[str, Any] | None = None
    scope: dict[str, Any] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    fixed: Part | None = None
    said: Part | None = None


@dataclass(frozen=True, slots=True)
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
    detail: dict[str, Any] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]


NOTHING_SAID = Part(digest(b"said"), 0)


def fixed_part(
    settings: dict[str, Any], system: str, tools: list[ToolSpec], output_schema: dict[str, Any] | None
) -> Part:
    """The part of a request that every turn of one agent call shares. The key does not enter it: it is no part of
    what is asked.
    """
    known = {key: value for key, value in settings.items() if key != "api_key"}
    shown = [[tool.name, tool.description, tool.schema] for tool in tools]
    data = canonical([known, system, shown, output_schema])
    return Part(digest(data), len(data))


def more_said(before: Part, message: Message) -> Part:
    """The part of a conversation with one more message: costs the message, not the conversation."""
    data = canonical(message)
    return Part(digest(before.digest.encode() + data), before.size + len(data))


def said_part(messages: list[Message]) -> Part:
    """The part of a whole conversation, message by message."""
    return reduce(more_said, messages, NOTHING_SAID)


def request_parts(request: ModelRequest) -> tuple[Part, Part]:
    """The fixed part of a request and what was said, computed only where the request does not bring them."""
    fixed = request.fixed or fixed_part(request.settings, request.system, request.tools, request.output_schema)
    return fixed, request.said or said_part(request.messages)


def request_hash(request: ModelRequest) -> str:
    """The hash of a request's canonical form, as 64 hex digits. ``scope`` does not enter it: it is derived from the
    run.
    """
    fixed, said = request_parts(request)
    return digest(f"{fixed.digest}{said.digest}".encode())


def request_size(request: ModelRequest) -> int:
    """The size of a request's canonical form in bytes: what bounds the tokens of its text."""
    fixed, said = request_parts(request)
    return fixed.size + said.size


def invalid_input(block: dict[str, Any]) -> str | None:
    """The text that a model gave as the arguments of a call where it was no JSON object; None for a good call."""
    given = block.get("input")
    if isinstance(given, dict) and len(given) == 1 and isinstance(text := given.get(INVALID), str):
        return text
    return None
