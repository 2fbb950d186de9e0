"""Errors on the screen, and as programs read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen
    from orchestrator.errors import OrchError


def show_error(screen: Screen, error: OrchError) -> None:
    """An error on standard error; for programs, as ``{"error": …}`` on standard output, too."""
    diagnostics: Any = getattr(error, "diagnostics", None)
    if diagnostics:
        from orchestrator.cli.render.diagnostics import show_diagnostics

        show_diagnostics(screen, diagnostics, texts=getattr(error, "texts", None))
    else:
        screen.problem("error", error.code, error.message, error.hint)
    for note in getattr(error, "__notes__", ()):
        screen.say(f"  = note: {note}")
    if screen.flags.error_document:
        screen.data({"error": error_object(error)})


def error_object(error: OrchError) -> dict[str, Any]:
    """An error as programs read it."""
    diagnostics: Any = getattr(error, "diagnostics", None)
    if diagnostics:
        from orchestrator.spec.diagnostics import to_json

        detail: dict[str, Any] | None = {"diagnostics": [to_json(one) for one in diagnostics]}
    else:
        detail = {"hint": error.hint} if error.hint else None
    return {"code": error.code, "message": error.message, "detail": detail, "step": None}
