"""Diagnostics: what is wrong, where, and what to do about it. One renderer for specs, inputs, expressions and plans."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, assert_never

from orchestrator.errors import Exit, OrchError
from orchestrator.frozen import frozen
from orchestrator.regex import regex
from orchestrator.spec.codes import CODES

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping, Sequence

Format: TypeAlias = Literal["text", "concise", "json", "sarif", "github"]
FORMATS: Final[tuple[Format, ...]] = ("text", "concise", "json", "sarif", "github")

_WIDEST: Final = 160

_IN_USER = regex(r"(://[^\s/:@]*:)(\S*)(?=@)")
_STORE = regex(r"\b(?:postgres(?:ql)?|mysql|mariadb)\b[^:]*://")
_IN_QUERY = regex(
    r"([?&](?!(?:mode|pool|pooler|timeout|connect_timeout|ssl[a-z_-]*|user)=)[A-Za-z_-]+=)([^\s&\"']+)(?<!\$\{\{)"
)


class Severity(StrEnum):
    """Whether a diagnostic stands in the way of a run."""

    ERROR = "error"
    WARNING = "warning"


@frozen(order=True)
class Mark:
    """A stretch of a file: lines and columns from 1, columns in code points, the end exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@frozen
class Note:
    """Another place that has to do with a diagnostic."""

    message: str
    mark: Mark


@frozen
class Diagnostic:
    """One problem: a code of ``spec/codes.py``, a sentence, its place if it has one, and the way on."""

    code: str
    message: str
    mark: Mark | None = None
    hint: str | None = None
    notes: tuple[Note, ...] = ()
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = f"{self.mark}: " if self.mark else ""
        return f"{place}{self.severity}[{self.code}]: {self.message}"


def warning(
    code: str, message: str, mark: Mark | None = None, *, hint: str | None = None, notes: tuple[Note, ...] = ()
) -> Diagnostic:
    """A diagnostic that stands in no one's way."""
    return Diagnostic(code, message, mark, hint, notes, Severity.WARNING)


class SpecErrors(OrchError):
    """A spec that cannot be used. ``diagnostics`` holds every problem found, warnings too, in the order of places.

    ``texts`` maps the names of files, as marks have them, to their texts, for ``render``.
    """

    code: ClassVar[str] = "E100"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, diagnostics: Iterable[Diagnostic], *, texts: Mapping[str, str] | None = None) -> None:
        self.diagnostics = in_order(diagnostics)
        self.texts: dict[str, str] = dict(texts or {})
        super().__init__("\n".join(str(one) for one in self.diagnostics) or "the spec cannot be used")


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Diagnostics by place, each said once."""
    nowhere = Mark("", 0, 0, 0, 0)
    return tuple(sorted(dict.fromkeys(diagnostics), key=lambda one: (one.mark or nowhere, one.code, one.message)))


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether one of them stands in the way of a run."""
    return any(one.severity is Severity.ERROR for one in diagnostics)


def render(
    diagnostics: Iterable[Diagnostic],
    form: Format = "text",
    *,
    texts: Mapping[str, str] | None = None,
    color: bool = False,
) -> str:
    """Diagnostics in one of the ``FORMATS``, with a newline at the end unless there is nothing to say.

    ``texts`` maps the names of files to their texts, for the source lines of ``text``; only ``text`` has color.
    """
    ordered = in_order(diagnostics)
    match form:
        case "text":
            return "\n".join(render_text(one, texts or {}, color=color) for one in ordered)
        case "concise":
            return "".join(f"{_concise(one)}\n" for one in ordered)
        case "json":
            return json.dumps({"format": "orch.diagnostics/1", "diagnostics": [to_json(one) for one in ordered]}) + "\n"
        case "sarif":
            return json.dumps(_sarif(ordered)) + "\n"
        case "github":
            return "".join(f"{_github(one)}\n" for one in ordered)
        case _:
            assert_never(form)


def render_text(diagnostic: Diagnostic, texts: Mapping[str, str], *, color: bool = False) -> str:
    """A diagnostic with its source line and carets under it, and a newline at the end."""
    paint = _paint if color else _plain
    tone = "31" if diagnostic.severity is Severity.ERROR else "33"
    head = paint(f"{diagnostic.severity}[{diagnostic.code}]", f"1;{tone}")
    lines = [f"{head}{paint(': ' + _shown(diagnostic.message), '1')}"]
    if diagnostic.mark:
        lines += _excerpt(diagnostic.mark, texts, diagnostic.hint, tone, paint)
    elif diagnostic.hint:
        lines.append(f"  = {_shown(diagnostic.hint)}")
    for note in diagnostic.notes:
        lines.append(f"  {paint('note', '1')}: {_shown(note.message)}")
        lines += _excerpt(note.mark, texts, None, "36", paint)
    return "\n".join(lines) + "\n"


def _excerpt(mark: Mark, texts: Mapping[str, str], hint: str | None, tone: str, paint: Any) -> list[str]:
    lines = [f"  --> {_shown(str(mark))}"]
    source = _line_of(texts.get(mark.file), mark.line)
    if source is None:
        return [*lines, f"  = {_shown(hint)}"] if hint else lines
    gutter = " " * len(str(mark.line))
    end = mark.end_column if mark.end_line == mark.line else len(source) + 1
    cut = max(0, mark.column - _WIDEST // 2) if len(source) > _WIDEST else 0
    before = _shown(source[cut : mark.column - 1])
    under = _shown(source[mark.column - 1 : max(end - 1, mark.column)]) if mark.column <= len(source) else ""
    carets = "^" * max(1, min(_width(under), _WIDEST - _width(before)))
    shown = _shown(source[cut : cut + _WIDEST])
    return [
        *lines,
        f"{gutter} {paint('|', '34')}",
        f"{mark.line} {paint('|', '34')} {shown}".rstrip(),
        f"{gutter} {paint('|', '34')} {' ' * _width(before)}{paint(carets, tone)}{' ' + _shown(hint) if hint else ''}",
    ]


def _line_of(text: str | None, line: int) -> str | None:
    if text is None:
        return None
    lines = _lines(text)
    return _without_passwords(lines[line - 1]) if 1 <= line <= len(lines) else None


def _without_passwords(line: str) -> str:
    """The line with as many stars as characters where a URL of it may hold a password."""

    def stars(found: re.Match[str]) -> str:
        return found[1] + "*" * len(found[2])

    if "://" not in line:
        return line
    hidden = _IN_USER.sub(stars, line)
    return _IN_QUERY.sub(stars, hidden) if _STORE.search(line) else hidden


@lru_cache(maxsize=4)
def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _width(text: str) -> int:
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def _shown(text: str) -> str:
    """Text that a terminal takes as text: no control or bidi characters, a tab as one space."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if char == "\t" else char if char.isprintable() else "\ufffd" for char in text)


def _paint(text: str, tone: str) -> str:
    return f"\x1b[{tone}m{text}\x1b[0m"


def _plain(text: str, tone: str) -> str:  # noqa: ARG001 (the signature of _paint)
    return text


def _concise(diagnostic: Diagnostic) -> str:
    place = f"{diagnostic.mark}: " if diagnostic.mark else ""
    hint = f" ({diagnostic.hint})" if diagnostic.hint else ""
    return _shown(f"{place}{diagnostic.code} {diagnostic.message}{hint}")


def to_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """A diagnostic as JSON: ``code severity message hint``, its place in ``file line column end_line end_column``."""
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        **_place(diagnostic.mark),
        "notes": [{"message": note.message, **_place(note.mark)} for note in diagnostic.notes],
    }


def _place(mark: Mark | None) -> dict[str, Any]:
    if mark is None:
        return {"file": None, "line": None, "column": None, "end_line": None, "end_column": None}
    return {name: getattr(mark, name) for name in ("file", "line", "column", "end_line", "end_column")}


def _sarif(diagnostics: Sequence[Diagnostic]) -> dict[str, Any]:
    codes = sorted({one.code for one in diagnostics})
    rules = [{"id": code, "shortDescription": {"text": CODES.get(code, code)}} for code in codes]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "orch", "rules": rules}},
                "columnKind": "unicodeCodePoints",
                "results": [_sarif_result(one, codes.index(one.code)) for one in diagnostics],
            }
        ],
    }


def _sarif_result(diagnostic: Diagnostic, rule: int) -> dict[str, Any]:
    hint = f" ({diagnostic.hint})" if diagnostic.hint else ""
    return {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": diagnostic.severity.value,
        "message": {"text": diagnostic.message + hint},
        "locations": [_sarif_location(diagnostic.mark)] if diagnostic.mark else [],
        "relatedLocations": [
            {**_sarif_location(note.mark), "message": {"text": note.message}} for note in diagnostic.notes
        ],
    }


def _sarif_location(mark: Mark) -> dict[str, Any]:
    from urllib.parse import quote

    region = {
        "startLine": mark.line,
        "startColumn": mark.column,
        "endLine": mark.end_line,
        "endColumn": mark.end_column,
    }
    return {"physicalLocation": {"artifactLocation": {"uri": quote(mark.file)}, "region": region}}


def _github(diagnostic: Diagnostic) -> str:
    """A workflow command of GitHub Actions, with its own escapes, so that no text ends the command."""
    mark = diagnostic.mark
    fields = [f"title={_github_field(diagnostic.code + ' ' + CODES.get(diagnostic.code, ''))}"]
    if mark:
        fields = [f"file={_github_field(mark.file)}", f"line={mark.line}", f"col={mark.column}", *fields]
        if mark.end_line == mark.line:
            fields.insert(3, f"endColumn={mark.end_column}")
    hint = f" ({diagnostic.hint})" if diagnostic.hint else ""
    return f"::{diagnostic.severity} {','.join(fields)}::{_github_text(diagnostic.message + hint)}"


def _github_text(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _github_field(text: str) -> str:
    return _github_text(text).replace(":", "%3A").replace(",", "%2C")
