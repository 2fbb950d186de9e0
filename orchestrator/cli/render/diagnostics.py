"""Diagnostics on the screen, and as annotations in GitHub Actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.cli.screen import Screen


def show_diagnostics(screen: Screen, diagnostics: Iterable[Any], *, texts: Mapping[str, str] | None = None) -> None:
    """Every diagnostic with its source line, on standard error."""
    from orchestrator.spec.diagnostics import render

    found = list(diagnostics)
    text = render(found, "text", texts=texts or {}, color=screen.colored())
    screen.err(text)
    if screen.github:
        screen.err(render(found, "github"))
