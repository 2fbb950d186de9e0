"""``budget`` of the file -> ``BudgetDef``: dollars as whole micro-dollars, durations as microseconds."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from orchestrator.graph.nodes import BudgetDef

if TYPE_CHECKING:
    from orchestrator.spec.fields import Budget


def budget_def(written: Budget | None) -> BudgetDef | None:
    """The budget as the engine keeps it; None where none is written."""
    if written is None:
        return None
    given = written.data()
    if written.usd is not None:
        given["usd"] = micro_dollars(written.usd)
    return BudgetDef(**given)


def micro_dollars(usd: float) -> int:
    """Exactly what the number says, and less than it where that is finer than a micro-dollar: a bound is not raised."""
    return int((Decimal(repr(usd)) * 1_000_000).to_integral_value(ROUND_FLOOR))
