"""A conversation as a fold: what an agent's records say was said, with a running hash over it.

Nothing is copied and nothing hashed twice: a turn costs what it adds. The messages of a request are a function of
the graph and of the records before its ``started``; only their hash is journaled.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from orchestrator.agents.attachments import block_of, weight_of
from orchestrator.frozen import frozen
from orchestrator.jsonish import canonical, dumps

if TYPE_CHECKING:
    from collections.abc import Sequence

PREVIEW_CHARS = 2_000


@frozen
class ToolCall:
    """A tool that a model asked for: ``name`` as on the wire, ``args`` as it came (an object if the model behaves)."""

    id: str
    name: str
    args: Any


class Conversation:
    """The messages so far. ``turn`` counts the replies; ``calls`` are those of the last reply, ``said`` its
    text, ``last`` the text of the last message that has any; ``sizes`` are the bytes of the messages, with those
    that their files stand for, and ``size`` their sum; ``files`` are those that came along, by hash."""

    __slots__ = (
        "_hash",
        "calls",
        "dropped",
        "files",
        "last",
        "messages",
        "repairs",
        "results",
        "said",
        "size",
        "sizes",
        "stop",
        "turn",
    )

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        self.dropped: list[list[dict[str, Any]]] = []
        self.files: dict[str, dict[str, Any]] = {}
        self._hash = hashlib.sha256()
        self.size = 0
        self.turn = 0
        self.stop = ""
        self.last = ""
        self.said = ""
        self.repairs = 0
        self.calls: tuple[ToolCall, ...] = ()
        self.results: list[Any] = []

    @property
    def digest(self) -> str:
        """The hash of all messages, in hex."""
        return self._hash.copy().hexdigest()

    def _add(self, message: dict[str, Any], *, weight: int = 0) -> None:
        self.messages.append(message)
        data = canonical(message)
        self.sizes.append(len(data) + weight)
        self.size += len(data) + weight
        self._hash.update(len(data).to_bytes(8, "big"))
        self._hash.update(data)

    def add_user(self, text: str, files: Sequence[dict[str, Any]] = ()) -> None:
        """The prompt, a message from outside, or what the engine has to say (a repair). Raises Unfit for a file that no
        model is sent."""
        self.last = text
        self.files |= {file["$file"]: file for file in files}
        blocks = [*map(block_of, files), {"type": "text", "text": text or " "}]
        self._add({"role": "user", "content": blocks}, weight=sum(map(weight_of, files)))

    def go_on(self, text: str) -> None:
        """Something said after an end: it is to be answered."""
        self.add_user(text)
        self.stop = ""

    def add_reply(self, reply: dict[str, Any]) -> None:
        """A model's reply, as its record holds it: ``{"content": [blocks], "stop": …}``."""
        self.turn += 1
        self.stop = reply["stop"]
        content: list[dict[str, Any]] = reply["content"]
        self._add({"role": "assistant", "content": content})
        self.said = "".join(block["text"] for block in content if block.get("type") == "text")
        self.last = self.said or self.last
        self.calls = tuple(
            ToolCall(block["id"], block["name"], block.get("input"))
            for block in content
            if block.get("type") == "tool_use"
        )
        self.results = []

    def add_results(self, results: list[tuple[str, Any, bool]]) -> None:
        """The results of the last reply's calls, in call order: (id, output or message, is it an error)."""
        blocks: list[dict[str, Any]] = []
        for call_id, output, bad in results:
            block = {"type": "tool_result", "tool_use_id": call_id, "content": as_text(output) or " "}
            blocks.append(block | {"is_error": True} if bad else block)
        self._add({"role": "user", "content": blocks})
        self.results = [output for _, output, _ in results]
        self.calls = ()

    def compact(self, at: int, *, note: str, shrink: int | None) -> None:
        """Leave the messages from 1 up to ``at`` out, ``note`` in their place; cut results over ``shrink`` bytes.

        What is left out stays in ``dropped``, to be read again.
        """
        first, rest = self.messages[0], self.messages[at:]
        weight = self.sizes[0] - len(canonical(first))
        self.dropped.append(self.messages[1:at])
        self.messages, self.sizes, self.size, self._hash = [], [], 0, hashlib.sha256()
        self._add(first, weight=weight)
        if at > 1:
            self._add({"role": "user", "content": [{"type": "text", "text": note}]})
        for message in rest:
            self._add(message if shrink is None else self._shrunk(message, shrink))

    def _shrunk(self, message: dict[str, Any], size: int) -> dict[str, Any]:
        results = (block for block in message["content"] if block["type"] == "tool_result")
        long = {id(block): index for index, block in enumerate(results) if len(block["content"].encode()) > size}
        if not long:
            return message
        return {
            **message,
            "content": [_cut(block, self.turn, long.get(id(block)), size) for block in message["content"]],
        }


def _cut(block: dict[str, Any], turn: int, index: int | None, size: int) -> dict[str, Any]:
    if index is None:
        return block
    text = block["content"]
    head = text.encode()[:size].decode("utf-8", "ignore")
    return {**block, "content": preview(head, size=len(text), result_id=f"turn{turn}/tool{index}")}


def last_text(messages: Sequence[dict[str, Any]]) -> str:
    """The text of the last message that has any."""
    for message in reversed(messages):
        said = "".join(block["text"] for block in message["content"] if block.get("type") == "text")
        if said:
            return said
    return ""


def as_text(output: Any) -> str:
    """A result as a model reads it: text as it is, anything else as JSON."""
    return output if isinstance(output, str) else dumps(output)


def preview(output: Any, *, size: int, result_id: str) -> str:
    """The head of a result that was cut, and how to read the rest of its ``size`` characters."""
    text = as_text(output)
    return (
        f"{text}\n[The result was cut: it has {size} characters. "
        f"Read the rest with read_result, id {result_id!r}, offset {len(text)}.]"
    )
