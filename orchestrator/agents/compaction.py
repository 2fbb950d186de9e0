"""Making a long conversation shorter: what is left out, and what stands in its place. Pure.

Tokens are bounded by bytes: three of them to a token is on the safe side for what models are sent. A call is never
parted from its result, since a conversation is only cut in front of a reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.agents.conversation import as_text
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.agents.conversation import Conversation
    from orchestrator.agents.messages import Message
    from orchestrator.graph.nodes import ContextDef

BYTES_PER_TOKEN = 3
KEEP = 10
"""Messages that are kept as they are, where ``keep`` does not say."""

SUMMARY_SYSTEM = (
    "You make the record of a conversation shorter, for the one who has to go on with it. Keep: what was asked for, "
    "what was decided and found out (names, numbers, paths, identifiers exactly as they stand), what was tried and "
    "failed, and what is left to do. Leave out greetings and repetition. Write plain text."
)
_RESERVED = 256
_LEAST = 400


@frozen
class Cut:
    """Messages from 1 up to ``at`` go (none, where it is 1); results over ``shrink`` bytes are cut, where it is given.

    ``summary``: bytes that a summary may have.
    """

    at: int
    shrink: int | None
    summary: int


def bound_of(context: ContextDef, frame: int) -> int:
    """Bytes that the messages of a request may have, beside the ``frame`` bytes of its instructions and tools."""
    return context.max_tokens * BYTES_PER_TOKEN - frame


def cut_of(conversation: Conversation, context: ContextDef, *, frame: int) -> Cut | None:
    """How to make a conversation fit; None where it cannot be made to.

    The prompt stays, and the last ``keep`` messages; more goes where that does not do. Where the last reply's results
    alone are too much, they are cut.
    """
    sizes = conversation.sizes
    bound = bound_of(context, frame)
    summary = max(min(bound // 4, 16 * 1_024), 0) if context.strategy == "summarize" else 0
    room = bound - sizes[0] - summary - _RESERVED
    places = [index for index, message in enumerate(conversation.messages) if index and message["role"] == "assistant"]
    keep = KEEP if context.keep is None else context.keep
    wanted = [place for place in places if len(sizes) - place <= keep] or places[-1:]
    for place in wanted:
        if sum(sizes[place:]) <= room:
            return Cut(place, None, summary)
    return _shrunk(conversation, wanted[-1], room, summary) if wanted else None


def _shrunk(conversation: Conversation, place: int, room: int, summary: int) -> Cut | None:
    """Cut the last results, all to one size."""
    kept = conversation.messages[place:]
    results = [block for message in kept for block in message["content"] if block["type"] == "tool_result"]
    fixed = sum(conversation.sizes[place:]) - sum(len(block["content"].encode()) for block in results)
    share = (room - fixed) // max(len(results), 1) - 200
    return Cut(place, share, summary) if results and share >= _LEAST else None


def left_out(number: int, count: int, *, summary: str, readable: bool) -> str:
    """What stands in the place of messages that are gone. ``readable``: whether the agent has ``read_result``."""
    where = f" Read them with read_result, id 'context{number}'." if readable else ""
    said = f"{count} earlier messages of this conversation were left out here.{where}"
    return f"[{said}]\n{summary}" if summary else f"[{said}]"


def transcript(messages: Sequence[Message]) -> str:
    """Messages as text, for whoever sums them up or reads them again."""
    return "\n\n".join(_line(message["role"], block) for message in messages for block in message["content"])


def _line(role: str, block: dict[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return f"{role}: {block['text']}"
        case "tool_use":
            return f"{role} calls {block['name']}: {as_text(block.get('input'))}"
        case "tool_result":
            return f"result: {block['content']}"
        case other:
            return f"{role}: [{other}]"


def clipped(text: str, size: int) -> str:
    """At most about ``size`` bytes of a text: its head and its tail."""
    data = text.encode()
    if len(data) <= size:
        return text
    half = size // 2
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{head}\n[…]\n{tail}"
