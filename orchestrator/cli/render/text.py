"""Text on its way to a terminal.

What a model, a tool or a file said may hold escape sequences that clear the screen, rewrite what stands above, or speak
for the user; and bidi controls that make text read as what it is not. None of it goes through.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.regex import regex

if TYPE_CHECKING:
    import re

_SEQUENCE = regex(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|$)"  # CSI
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]?"
)
_HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"  # bidi and invisible
    "\u2028\u2029\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"
)
_CONTROL = regex(f"[{_HIDDEN}]")
_ESCAPE_IN_JSON = regex(f"[{_HIDDEN}]".replace("\x00-\x08\x0b-\x1f", ""))
_BREAKS = regex(r"[\t\n\r\u2028\u2029]+ *")


def plain(text: str) -> str:
    """``text`` without escape sequences, control and bidi characters. Newlines and tabs stay; CRLF is a newline."""
    text = text.replace("\r\n", "\n")
    if "\x1b" in text or "\x9b" in text or _CONTROL.search(text):
        return _CONTROL.sub("", _SEQUENCE.sub("", text))
    return text


def one_line(text: str, width: int = 0) -> str:
    """``text`` made harmless, on one line, cut with an ellipsis at ``width`` characters (0: not cut)."""
    line = plain(_BREAKS.sub(" ", text)).strip()
    return line if not width or len(line) <= width else line[: max(width - 1, 0)] + "…"


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that reads back the same, with every character that could steer a terminal escaped."""
    # In the order that the journal keeps, so that a run and its resume print the same.
    text = json.dumps(
        value, ensure_ascii=False, sort_keys=True, indent=indent, separators=None if indent else (",", ":")
    )
    return _ESCAPE_IN_JSON.sub(_unicode_escape, text)


def _unicode_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
