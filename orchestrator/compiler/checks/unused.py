"""What is defined and never used: warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.compiler.lower import Lowered
    from orchestrator.compiler.report import Path


def check(lowered: Lowered) -> None:
    """Definitions of this file that nothing refers to; what is imported may serve others."""
    report = lowered.resolved.report
    for what, name, at in _unused(lowered):
        if report.mark(at, key=True).file == report.loaded.file:
            report.warn("W502", f"the {what} `{name}` is never used", at)


def _unused(lowered: Lowered) -> Iterator[tuple[str, str, Path]]:
    resolved, document = lowered.resolved, lowered.resolved.document
    sections: tuple[tuple[str, str, Mapping[str, Any] | None], ...] = (
        ("models", "model", document.models),
        ("tools", "tool", document.tools),
        ("agents", "agent", document.agents),
        ("types", "type", document.types),
    )
    for section, what, written in sections:
        for name in written or {}:
            if (section, name) not in resolved.used:
                yield what, name, (section, name)
    seen = resolved.report.used
    for name in document.inputs or {}:
        if not {("inputs", name), ("inputs", "")} & seen:
            yield "input", name, ("inputs", name)
    for index, secret in enumerate(document.secrets or ()):
        if ("secrets", secret.removesuffix("?")) not in seen:
            yield "secret", secret.removesuffix("?"), ("secrets", index)
