"""Two budgets over one thing."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from orchestrator.graph.nodes import BudgetDef


def merged(one: BudgetDef | None, other: BudgetDef | None) -> BudgetDef | None:
    """Both bounds at once. What the first one leads to counts, where it says so."""
    if one is None or other is None or one == other:
        return one or other
    found: dict[str, Any] = {}
    for each in fields(BudgetDef):
        values = [value for value in (getattr(one, each.name), getattr(other, each.name)) if value is not None]
        found[each.name] = None if not values else values[0] if each.name == "on_exceed" else min(values)
    return replace(one, **found)
