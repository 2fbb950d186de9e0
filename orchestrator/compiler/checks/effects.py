"""A ``write`` is not tried again: nothing says whether it happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.graph.nodes import CallConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.compiler.drafts import Draft
    from orchestrator.compiler.lower import Lowered
    from orchestrator.compiler.report import Path, Report
    from orchestrator.graph.nodes import Effect

_HINT: Final = "say `effect: idempotent` where a second call does no harm (it gets the same key), or `read`"


def check(lowered: Lowered) -> None:
    """Every ``write`` under a ``retry`` of its own step, or of one around it."""
    top = list(lowered.root.drafts.values())
    for draft in top if lowered.on_failure is None else [*top, lowered.on_failure]:
        _check(lowered.resolved.report, draft, None)


def _check(report: Report, draft: Draft, around: Path | None) -> None:
    if draft.node.retry is not None:
        around = (*draft.at, "retry")
    config = draft.node.config
    if around is not None and isinstance(config, CallConfig) and not draft.vague and _effect(config) == "write":
        note = () if around[:-1] == draft.at else (report.note("the call stands here", draft.at),)
        message = f"a `{draft.node.kind}` with `effect: write` cannot be tried again"
        report.error("E403", message, around, key=True, hint=_HINT, notes=note)
    for inner in _inner(draft):
        _check(report, inner, around)


def _effect(config: CallConfig) -> Effect:
    tool, operation = config.tool, config.operation
    if operation is None:
        return tool.effect
    # What a server will say of its tool is not known here.
    return tool.operations[operation] if tool.server is None else tool.server.effects.get(operation, tool.effect)


def _inner(draft: Draft) -> Iterator[Draft]:
    if draft.block is not None:
        yield from draft.block.drafts.values()
    if draft.do is not None:
        yield draft.do
    yield from draft.cases.values()
    if draft.otherwise is not None:
        yield draft.otherwise
    if draft.fallback is not None:
        yield draft.fallback
