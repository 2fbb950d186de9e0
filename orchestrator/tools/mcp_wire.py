"""What is known of one connection to a server, beside the messages: why it ended, and what the server said last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from orchestrator.frozen import field, slotted
from orchestrator.tools.policy import tail

if TYPE_CHECKING:
    from orchestrator.tools.protocol import CallContext

NOISE_LINES = 10_000
NOISE_BYTES = 1024 * 1024
"""What a server may write to its stdout that is no message: a banner, a stray print. More ends the connection."""

SHOWN = 1000
"""Characters of a server's last words that an error shows."""

_TAIL = 8192


@slotted
class Tail:
    """The end of an output, and how much came in all."""

    body: bytearray = field(default_factory=bytearray)
    size: int = 0
    lines: int = 0

    def add(self, chunk: bytes) -> None:
        """Take more of the output."""
        self.size += len(chunk)
        self.lines += chunk.count(b"\n")
        self.body += chunk[-_TAIL:]
        del self.body[:-_TAIL]

    def text(self) -> str:
        """The last lines that were seen, whole ones where something was left out."""
        body = bytes(self.body)
        if self.size > len(body):
            body = body.partition(b"\n")[2] or body
        return body.decode("utf-8", "replace").strip()


@slotted
class Wire:
    """One connection. ``over``: nothing more comes, or shall come; ``gone``: and nothing of it is left;
    ``asked``: a message was sent."""

    over: anyio.Event = field(default_factory=anyio.Event)
    gone: anyio.Event = field(default_factory=anyio.Event)
    asked: bool = False
    why: str = ""
    exit: str = ""
    stderr: Tail = field(default_factory=Tail)
    noise: Tail = field(default_factory=Tail)

    def end(self, why: str) -> None:
        """It is over. The first reason counts."""
        self.why = self.why or why
        self.over.set()

    def hear(self, line: bytes) -> None:
        """A line that is no message."""
        self.noise.add(line + b"\n")
        if self.noise.lines > NOISE_LINES or self.noise.size > NOISE_BYTES:
            self.end("it does not speak MCP on its stdout")

    def last_words(self, context: CallContext) -> str:
        """What the server said last, for an error; without secrets, whose halves a cut would let pass."""
        for name, heard in (("stderr", self.stderr), ("stdout", self.noise)):
            text = heard.text()
            if text:
                return f"; its {name} ends: {tail(context.redact(text), SHOWN)}"
        return ""
