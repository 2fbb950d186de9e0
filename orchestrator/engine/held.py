"""What may start and does not yet, and what for: told to people alone, and no part of a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from orchestrator.engine.decide import Decider, RunInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.engine.activation import Intent
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.state import RunState

Held: TypeAlias = "dict[str, str]"
"""``step`` and what it waits ``for``."""


def held(intents: Iterable[Intent]) -> list[Held]:
    """What attempts that found no place wait for."""
    return [{"step": intent.path, "for": _place(intent)} for intent in intents]


def held_back(graph: Graph, state: RunState, *, run_id: str, now: int) -> list[Held]:
    """The same of a run that another process drives, as far as its records tell: calls of models with ``limits`` that
    may start since before ``now``, in microseconds, and have not."""
    decider = Decider(graph, state, RunInfo(run_id))
    decider.decide()
    return held(
        intent
        for intent in decider.permitted.values()
        if intent.model is not None and intent.model.settings.get("limits") and intent.not_before <= now
    )


def _place(intent: Intent) -> str:
    return "a child process to end" if intent.model is None else f"the limits of the model `{intent.model.name}`"
