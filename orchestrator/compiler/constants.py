"""Constants that no type describes, and that could not work at run time: shells, URLs, names of variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from orchestrator.expr.values import Const, Text
from orchestrator.regex import regex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.compiler.report import Path, Report
    from orchestrator.expr.values import Value

SHELLS: Final = ("bash", "sh", "python3")
"""Shells that go by a name."""

_UNCLEAN: Final = regex(r"[\x00-\x20\x7f\\]")
_SCHEMES: Final = ("http://", "https://")


def check_shell(report: Report, shell: Any, at: Path) -> None:
    """A shell by a name that is known; any other is an argv, which says where the script goes."""
    if isinstance(shell, str) and shell not in SHELLS:
        known = ", ".join(f"`{name}`" for name in SHELLS)
        hint = (
            f"write another one as an argv, with `{{0}}` where the script's file goes: `[{', '.join(shell.split())}]`"
        )
        report.error("E107", f"unknown shell `{shell[:80]}`: {known} go by a name", at, hint=hint)


def check_names(report: Report, env: Mapping[str, Any], at: Path) -> None:
    """Names of variables, as the operating system takes them."""
    for name in env:
        if not name or "=" in name or "\0" in name:
            report.error("E108", f"`{name[:80]}` cannot be the name of a variable", (*at, name), key=True)


def check_url(report: Report, url: Value, at: Path) -> None:
    """What is constant of a URL: the whole, or how it begins."""
    match url:
        case Const(value=str() as text):
            problem = _problem(text)
        case Text(parts=(str() as head, *_)):
            problem = None if any(_agree(head.lower(), scheme) for scheme in _SCHEMES) else _NO_HTTP
        case _:
            return
    if problem is not None:
        report.error(
            "E107", f"this is not a URL that can be asked: {problem}", at, hint="as https://api.example.com/search"
        )


_NO_HTTP: Final = "it begins with neither `http://` nor `https://`"


def _agree(head: str, scheme: str) -> bool:
    return head.startswith(scheme) or scheme.startswith(head)


def _problem(text: str) -> str | None:
    if _UNCLEAN.search(text):
        return "a space, a backslash or a control character stands in it"
    if not text.lower().startswith(_SCHEMES):
        return _NO_HTTP
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        return str(error)
    if not parts.hostname:
        return "the host is missing"
    if port == 0:
        return "there is no port 0"
    if "@" in parts.netloc:
        return "a user's name stands in it; use `auth`"
    return None
