"""Plain scalars of YAML's 1.2 core schema, without what JSON does not have."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.regex import regex

MAX_DIGITS: Final = 4300

_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = regex(r"[-+]?[0-9]+")
_BASED: Final = regex(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT: Final = regex(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_JSON: Final = regex(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_FIRST: Final = frozenset("0123456789+-.~nNtTfF")


class NotANumber(Exception):  # noqa: N818 (it is a finding, not a failure)
    """A number that JSON, or this language, does not have. ``code`` is that of the diagnostic."""

    def __init__(self, message: str, *, code: str = "E121") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def resolve(text: str) -> Any:
    """The value of a plain scalar: null, a boolean, a number, else the text itself. Raises NotANumber."""
    if not text:
        return None
    if text[0] not in _FIRST:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text, 10)
    based = _BASED.fullmatch(text)
    if based:
        return _integer(based[1], 8) if based[1] else _integer(based[2], 16)
    if _FLOAT.fullmatch(text):
        return _float(text)
    if _NO_JSON.fullmatch(text):
        raise NotANumber(f"`{text}` is no number of JSON")
    return text


def _integer(digits: str, base: int) -> int:
    if len(digits) > MAX_DIGITS:
        raise NotANumber(f"a number of over {MAX_DIGITS:,} digits", code="E116")
    return int(digits, base)


def _float(text: str) -> float:
    if len(text) > MAX_DIGITS:
        raise NotANumber(f"a number of over {MAX_DIGITS:,} digits", code="E116")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise NotANumber(f"`{text[:40]}` is too large a number")
    return value
