"""The third pass: what can be known to go wrong before anything runs. One module per family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.compiler.checks import budgets, delegation, effects, models, scripted, types, unused

if TYPE_CHECKING:
    from orchestrator.compiler.lower import Lowered


def check(lowered: Lowered) -> Lowered:
    """Every family in turn. Unused things are told only where nothing is wrong, since a mistake is what hides a use."""
    types.check(lowered)
    effects.check(lowered)
    models.check(lowered)
    budgets.check(lowered)
    delegation.check(lowered)
    scripted.check(lowered)
    if lowered.resolved.report.whole and not lowered.resolved.report.failed:
        unused.check(lowered)
    return lowered
