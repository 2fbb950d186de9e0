"""What an agent's conversation is kept to, and who looks on: ``context`` and ``hooks``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.graph.nodes import ContextDef, HooksDef

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.compiler.report import Path
    from orchestrator.compiler.tools import Toolbox
    from orchestrator.graph.nodes import ModelDef
    from orchestrator.spec.agents import ContextRule
    from orchestrator.spec.fields import Hooks

MAX_TOKENS: Final = 100_000
"""Of a conversation, where ``context`` does not say."""

POINTS: Final = ("before_model", "after_model", "before_tool", "after_tool")


def context_of(
    rule: ContextRule | None, toolbox: Toolbox, at: Path, model: Callable[[str, Path], ModelDef]
) -> ContextDef | None:
    """The rule of an agent's ``context``; ``model`` finds the one that sums up."""
    if rule is None:
        return None
    strategy = rule.strategy or "summarize"
    if rule.model is not None and strategy == "drop":
        hint = "nothing is summed up where the strategy is `drop`"
        toolbox.resolved.report.error(
            "E127", "`model` goes with `strategy: summarize`", (*at, "model"), key=True, hint=hint
        )
    return ContextDef(
        max_tokens=rule.max_tokens or MAX_TOKENS,
        keep=rule.keep,
        strategy=strategy,
        model=None if rule.model is None else model(rule.model, at),
    )


def hooks_of(hooks: Hooks | None, toolbox: Toolbox, at: Path) -> HooksDef | None:
    """The functions of a ``hooks`` entry, each of which must take an ``event``."""
    if hooks is None:
        return None
    report = toolbox.resolved.report
    given = {point: ref for point in POINTS if (ref := getattr(hooks, point)) is not None}
    for point, ref in given.items():
        known, _ = toolbox.function(ref, (*at, point))
        if known is not None and known.closed and "event" not in known.fields:
            report.error("E246", f"`{ref}` takes no `event`", (*at, point), hint="def hook(event, context): …")
    return HooksDef(**given, search=(str(report.loaded.folder_of(at)),))
