"""Event streams: bytes to the data of events, however they were cut. Pure."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Any, cast

from orchestrator.agents.messages import INVALID
from orchestrator.jsonish import clean, loads
from orchestrator.providers.protocol import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_REPLY = 64 * 1024 * 1024
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventLines:
    """The data of each event. Keeps at most ``MAX_REPLY`` bytes."""

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._total = 0
        self._after_return = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Events that ``chunk`` completes. Raises ModelError (``invalid_reply``) for a reply without end."""
        self._total += len(chunk)
        if self._total > MAX_REPLY:
            raise invalid(f"the reply is longer than {MAX_REPLY} bytes")
        if self._after_return:
            chunk = chunk.removeprefix(b"\n")
        self._after_return = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk)
        for line in ended:
            self._line.append(line)
            whole = b"".join(self._line)
            self._line.clear()
            if whole.startswith(b"data:"):
                self._data.append(whole[5:].removeprefix(b" "))
            elif not whole and self._data:
                data, self._data = b"\n".join(self._data), []
                yield data
        self._line.append(rest)


def event_of(data: bytes) -> dict[str, Any]:
    """An event that is a JSON object. Raises ModelError."""
    try:
        event = loads(data)
    except ValueError:
        raise invalid("an event of the stream is not JSON") from None
    if not isinstance(event, dict):
        raise invalid("an event of the stream is no object")
    return cast("dict[str, Any]", event)


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments of a call from its text, or a mark that keeps what was no JSON object."""
    try:
        value = clean(loads(text), depth=48)
    except (ValueError, TypeError):
        return {INVALID: text}
    return value if isinstance(value, dict) else {INVALID: text}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the other side asks to wait: in its own header, in seconds, or as a date against its own clock."""
    from email.utils import parsedate_to_datetime

    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        if isfinite(seconds):
            return max(0.0, seconds)
    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (until - parsedate_to_datetime(headers.get("date", ""))).total_seconds())
    except (ValueError, TypeError):
        return None


def class_of_status(status: int) -> str:
    """The class of an HTTP status, as far as it alone tells."""
    if status == 429:
        return "rate_limit"
    if status in (401, 403):
        return "auth"
    if status == 408:
        return "timeout"
    return "unavailable" if status == 409 or status >= 500 else "bad_request"


def count_of(wire: Any, key: str, *, needed: bool = False) -> int:
    """A count of tokens in a mapping of the wire. Raises ValueError where it is missing or none."""
    value = cast("dict[str, Any]", wire).get(key) if isinstance(wire, dict) else wire
    if value is None and not needed:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(key)
    return value


def invalid(message: str) -> ModelError:
    """A reply that does not have the shape of one."""
    return ModelError("invalid_reply", message)
