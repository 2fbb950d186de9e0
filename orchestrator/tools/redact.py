"""Keeping the values of secrets out of everything that is written down.

A secret travels as a marker (``protocol.secret_marker``) and becomes its value inside a performer, at the last moment.
What comes back from outside may hold that value, plain or encoded: ``Redactor`` replaces each occurrence by
``***NAME***``.

Values of fewer than four characters are too common to search for: only a whole text that equals one is replaced, and
``Redactor.weak`` names them, so that a run can warn.
"""

from __future__ import annotations

import base64
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, quote_plus

from orchestrator.errors import Exit, OrchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SHORTEST = 4
_BROKEN = 8  # characters of a text in lines for each that counts: breaks and indents are the others
_LINE = 8
_MARKER = re.compile("\0secret:([^\0]*)\0")
_NEWLINE = r"(?:[\r\n]|\\[rn])[ \t]*"  # as it stands or escaped, and an indent
_BREAK = re.compile(_NEWLINE + r"|\\$")


class UnknownSecret(OrchError):
    """A request refers to a secret that has no value."""

    code = "E620"
    exit = Exit.USAGE

    def __init__(self, name: str) -> None:
        super().__init__(f"secret {name} has no value", hint=f"set the variable {name}, or declare it as {name}?")
        self.name = name


def reveal(value: Any, secrets: Mapping[str, str]) -> Any:
    """``value`` with each marker of a secret replaced by its value, at any depth (keys are left alone).

    Raises UnknownSecret for a marker whose name is not in ``secrets``.
    """
    if isinstance(value, str):
        return _MARKER.sub(lambda match: _value(match[1], secrets), value) if "\0" in value else value
    if isinstance(value, list):
        return [reveal(item, secrets) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: reveal(item, secrets) for key, item in cast("dict[str, Any]", value).items()}
    return value


def _value(name: str, secrets: Mapping[str, str]) -> str:
    try:
        return secrets[name]
    except KeyError:
        raise UnknownSecret(name) from None


class Redactor:
    """Replaces the values of secrets by ``***NAME***`` in text, bytes and nested JSON.

    Found are: the value as it stands, each line of a value of several lines, and both in JSON, Python, HTML, shell,
    percent and hexadecimal escapes, and in base64 (plain and URL-safe) at any alignment, wrapped or not.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        forms: dict[str, str] = {}
        encoded: dict[str, str] = {}
        self._whole: dict[str, str] = {}
        weak: list[str] = []
        for name, value in secrets.items():
            if not value.strip():
                continue
            shown = f"***{name}***"
            self._whole.setdefault(value, shown)
            if len(value.strip()) < SHORTEST:
                weak.append(name)
                continue
            for part in _parts(value):
                for form in _forms(part):
                    forms.setdefault(form, shown)
                for form in _wrappable_forms(part):
                    forms.setdefault(form, shown)
                    encoded.setdefault(form, shown)
        self.weak = tuple(weak)
        self.forms = sorted(forms.items(), key=lambda item: -len(item[0]))
        self.wrappable = tuple(encoded.items())

    def __call__(self, value: Any) -> Any:
        """``value`` without secrets: text, bytes, or JSON at any depth, keys too. Other values come back unchanged."""
        if not self._whole:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self._bytes(value)
        if isinstance(value, (list, tuple)):
            return [self(item) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            return {self(key): self(item) for key, item in cast("dict[Any, Any]", value).items()}
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return self._whole.get(repr(value), value)
        return value

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        whole = self._whole.get(text)
        if whole is not None:
            return whole
        spans = list(self.spans(text))
        return _replace(text, spans) if spans else text

    def stream(self) -> RedactedStream:
        """A redactor for text that comes in chunks, cut anywhere."""
        return RedactedStream(self)

    def _bytes(self, body: bytes) -> bytes:
        # Latin-1 gives each byte a character of its own; the forms take the same way, so that other bytes stay as they
        # are.
        text = body.decode("latin-1")
        spans = [
            (at, at + len(needle), shown)
            for form, shown in self.forms
            for needle in [form.encode("utf-8", "surrogatepass").decode("latin-1")]
            for at in _find_all(text, needle)
        ]
        spans += self._wrapped(text)
        return _replace(text, spans).encode("latin-1") if spans else body

    def spans(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Where ``text`` holds secrets: begin, end, and what is shown there."""
        for form, shown in self.forms:
            for at in _find_all(text, form):
                yield at, at + len(form), shown
        yield from self._wrapped(text)

    def _wrapped(self, text: str) -> Iterator[tuple[int, int, str]]:
        """The spans of encoded values that are broken over lines."""
        if not self.wrappable or not ("\n" in text or "\r" in text or "\\n" in text or "\\r" in text):
            return
        joined = _BREAK.sub("", text)
        for form, shown in self.wrappable:
            if form in joined:
                for match in _wrapped(form).finditer(text):
                    yield match.start(), match.end(), shown


class RedactedStream:
    """Redacts a text given in chunks. It holds back just what may be the beginning of a secret's form."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._forms = [form for form, _ in redactor.forms]
        self._wrappable = [form for form, _ in redactor.wrappable]
        self._reach = _BROKEN * max(map(len, self._wrappable), default=0)
        self._held = ""

    def feed(self, chunk: str) -> str:
        """What may be shown after ``chunk``: redacted text, often shorter than the chunk."""
        text = self._held + chunk
        spans = self._merged(text)
        cut = len(text) - self._open_end(text)
        for start, end, _ in spans:
            if start < cut < end:
                cut = start
        self._held = text[cut:]
        return _replace(text[:cut], [span for span in spans if span[1] <= cut])

    def close(self) -> str:
        """What was held back, redacted. The stream may be used again afterwards."""
        text, self._held = self._held, ""
        return _replace(text, self._merged(text))

    def _merged(self, text: str) -> list[tuple[int, int, str]]:
        return _merge(list(self._redactor.spans(text)))

    def _open_end(self, text: str) -> int:
        """How many characters at the end of ``text`` may begin a secret's form, whole or broken over lines."""
        size = _begun(text, self._forms)
        tail = text[max(len(text) - self._reach, 0) :]
        kept: list[int] = []
        at = 0
        for match in _BREAK.finditer(tail):
            kept += range(at, match.start())
            at = match.end()
        kept += range(at, len(tail))
        joined = "".join([tail[index] for index in kept])
        broken = _begun(joined, self._wrappable)
        return max(size, len(tail) - kept[-broken] if broken else 0)


def _begun(text: str, forms: list[str]) -> int:
    """The length of the longest end of ``text`` that is a proper beginning of one of ``forms``."""
    longest = 0
    for form in forms:
        at = text.find(form[0], max(len(text) - len(form) + 1, 0))
        while 0 <= at < len(text) - longest:
            if form.startswith(text[at:]):
                longest = len(text) - at
            at = text.find(form[0], at + 1)
    return longest


def _parts(value: str) -> Iterator[str]:
    yield value
    stripped = value.strip()
    if stripped != value:
        yield stripped
    lines = stripped.splitlines()
    if len(lines) > 1:
        yield "\r\n".join(lines)
        for line in lines:
            # The frame of a PEM block is no secret, and would mark every other one.
            if len(line.strip()) >= _LINE and not line.startswith("-----"):
                yield line.strip()


def _forms(value: str) -> Iterator[str]:
    yield value
    for ascii_only in (True, False):
        once = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        twice = json.dumps(once, ensure_ascii=ascii_only)[1:-1]
        yield from (once, once.replace("/", "\\/"), twice, json.dumps(twice, ensure_ascii=ascii_only)[1:-1])
    yield from (repr(value)[1:-1], repr(value.encode("utf-8", "surrogatepass"))[2:-1])
    import html

    yield from (html.escape(value), html.escape(value, quote=False), html.escape(value).replace("&#x27;", "&#39;"))
    yield from (value.replace("'", "'\"'\"'"), value.replace("'", "'\\''"))
    for escaped in (quote(value), quote(value, safe=""), quote_plus(value), quote(value, safe="!~*'()")):
        yield escaped
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), escaped)
        yield quote(escaped, safe="")


def _wrappable_forms(value: str) -> Iterator[str]:
    """Those that programs break over lines of one length: hexadecimal and base64."""
    digits = value.encode("utf-8", "surrogatepass").hex()
    yield from (digits, digits.upper())
    raw = value.encode("utf-8", "surrogatepass")
    for offset in range(3):
        text = base64.b64encode(bytes(offset) + raw + bytes(2)).decode()
        # Only the characters that the value alone decides: six bits each, none of a neighbour's.
        sure = text[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]
        if len(sure) >= SHORTEST:
            yield sure
            yield sure.replace("+", "-").replace("/", "_")


@lru_cache(64)
def _wrapped(form: str) -> re.Pattern[str]:
    """``form`` with line breaks between any characters. Slow to compile, seldom needed."""
    return re.compile(f"(?:{_NEWLINE})*".join(map(re.escape, form)))


def _find_all(text: str, needle: str) -> Iterator[int]:
    at = text.find(needle)
    while at >= 0:
        yield at
        at = text.find(needle, at + 1)


def _merge(spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    merged: list[tuple[int, int, str]] = []
    for start, end, shown in sorted(spans, key=lambda span: (span[0], -span[1])):
        if merged and start < merged[-1][1]:
            last = merged[-1]
            merged[-1] = (last[0], max(last[1], end), last[2])
        else:
            merged.append((start, end, shown))
    return merged


def _replace(text: str, spans: list[tuple[int, int, str]]) -> str:
    out: list[str] = []
    done = 0
    for start, end, shown in _merge(spans):
        out += (text[done:start], shown)
        done = end
    out.append(text[done:])
    return "".join(out)
