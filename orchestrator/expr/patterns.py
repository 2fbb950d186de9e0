"""Regular expressions in RE2 syntax: linear in time, compiled once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_MEMORY: Final = 8 << 20
"""Bytes that one compiled pattern may take: nested counts such as ``(x{1000}){1000}`` are refused by it."""


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    return re2.compile(pattern, options=options)


def pattern_error(pattern: str) -> str | None:
    """What is wrong with a pattern, as a sentence; None where nothing is."""
    import re2

    if not pattern:
        return "an empty pattern matches everything"
    try:
        _compiled(pattern)
    except re2.error as error:
        detail = error.args[0] if error.args else "refused"
        text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        return f"the pattern {pattern!r} is not valid: {text}"
    return None


def searcher(pattern: str) -> Callable[[str], bool]:
    """A test whether a text has the pattern anywhere. ValueError, with a sentence, where the pattern is not valid."""
    message = pattern_error(pattern)
    if message:
        raise ValueError(message)
    compiled = _compiled(pattern)
    return lambda text: compiled.search(text) is not None
