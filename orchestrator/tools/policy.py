"""What every result of a tool goes through: it is cleaned, redacted and cut, in this order.

Redaction comes before the cut, so that no half of a secret is left at its edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from orchestrator.jsonish import clean, clean_text, dumps
from orchestrator.tools.protocol import Done, Failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.tools.protocol import CallContext, FileOut

KEPT = 16 * 1024 * 1024
"""Bytes of one result that are kept at most; what lies beyond is dropped, and a note in the text says so."""

TAIL = 4000
"""Characters of an output that a failure's detail shows at most."""


def finish(value: Any, context: CallContext, *, files: Mapping[str, FileOut] | None = None) -> Done | Failed:
    """The good end of a call with ``value``: clean, without secrets, at most ``context.max_output`` bytes.

    A value that is no JSON gives ``Failed("invalid_output")``.
    """
    try:
        plain = context.redact(clean(value))
    except (TypeError, ValueError) as error:
        return Failed("invalid_output", f"the result is not JSON: {error}")
    shown, overflow = cap(plain, context.max_output)
    return Done(shown, files=files or {}, overflow=overflow, settled=True)


def failed(
    context: CallContext,
    code: str,
    message: str,
    *,
    status: int | None = None,
    detail: Any = None,
    no_effect: bool = False,
    retry_after: float | None = None,
) -> Failed:
    """A bad end whose texts are clean, without secrets and short."""
    if detail is not None:
        detail, _ = cap(context.redact(clean(detail)), KEPT // 256)
    message = head(context.redact(clean_text(message)), TAIL)
    return Failed(code, message, status=status, detail=detail, no_effect=no_effect, retry_after=retry_after)


def cap(value: Any, max_output: int) -> tuple[Any, str | None]:
    """``value`` in at most ``max_output`` bytes, and its whole text where it had to be cut, else None.

    ``value`` is JSON. Text is cut at its end. In lists and objects the longest texts are cut, so that the shape stays;
    where that is not enough, the value becomes the head of its JSON text. The whole text is at most ``KEPT`` bytes.
    """
    whole = value if isinstance(value, str) else dumps(value)
    size = _size(whole)
    if size <= max_output:
        return value, None
    if not isinstance(value, (list, dict)):
        return head(whole, max_output), head(whole, KEPT)
    lengths = sorted(_size(dumps(text)) for text in _texts(cast("Any", value)))
    room = max_output - (size - sum(lengths))
    limit = _level(lengths, room)
    while limit > 16:
        shrunk = _shorten(value, limit)
        if _size(dumps(shrunk)) <= max_output:
            return shrunk, head(whole, KEPT)
        limit = limit * 3 // 4  # escapes take more bytes in JSON than in the text that was cut
    return head(whole, max_output), head(whole, KEPT)


def head(text: str, size: int) -> str:
    """The beginning of ``text`` in at most ``size`` bytes of UTF-8, never half a character."""
    if len(text) <= size // 4:
        return text
    return text[:size].encode()[:size].decode("utf-8", "ignore")


def tail(text: str, size: int = TAIL) -> str:
    """The last ``size`` characters of ``text``, with a mark where something was left out."""
    return text if len(text) <= size else "…" + text[-size:]


def read_result(text: str, *, offset: int = 0, limit: int | None = None, max_output: int = 65_536) -> dict[str, Any]:
    """A piece of a kept result, as the tool ``read_result`` gives it.

    ``offset`` and ``limit`` count characters; a piece has at most ``max_output`` bytes. ``next`` is the offset to go on
    from, None at the end. ValueError for a negative offset or a limit under 1.
    """
    if offset < 0 or (limit is not None and limit < 1):
        raise ValueError("offset is at least 0, and limit at least 1")
    piece = head(text[offset : None if limit is None else offset + limit], max_output)
    end = offset + len(piece)
    return {"text": piece, "offset": offset, "next": end if end < len(text) else None, "total": len(text)}


def as_text(value: Any) -> str:
    """A value where text is wanted: scalars as text, null as the empty text, lists and objects as JSON.

    A whole number has no fraction, as inside text.
    """
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return value if isinstance(value, str) else dumps(value)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _texts(value: Any) -> list[str]:
    found: list[str] = []
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, list):
            todo += cast("list[Any]", item)
        elif isinstance(item, dict):
            todo += cast("dict[str, Any]", item).values()
    return found


def _level(lengths: list[int], room: int) -> int:
    """The greatest limit to which texts of these sorted lengths can be cut so that together they fit ``room``."""
    left = room
    for index, length in enumerate(lengths):
        share = left // (len(lengths) - index)
        if length > share:
            return max(share, 0)
        left -= length
    return lengths[-1] if lengths else 0


def _shorten(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return head(value, limit - 2)
    if isinstance(value, list):
        return [_shorten(item, limit) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _shorten(item, limit) for key, item in cast("dict[str, Any]", value).items()}
    return value
