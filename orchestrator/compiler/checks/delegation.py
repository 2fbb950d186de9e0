"""Agents that come back to themselves, by calls or by handoffs: only where a depth bounds it.

A depth counts agents that stand in one another, in the account of the budget that says it: the run's, that of a step
around, of an agent that is called, or of the call. What is inside such an account has its end, so it is not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from orchestrator.frozen import field, slotted
from orchestrator.graph.nodes import AgentConfig
from orchestrator.spec.steps import AgentStep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.compiler.drafts import Draft
    from orchestrator.compiler.lower import Lowered
    from orchestrator.compiler.report import Path, Report
    from orchestrator.graph.nodes import AgentDef

Edge: TypeAlias = "tuple[str, Path]"
"""The agent that is called or passed control to, and where that is written."""

SHOWN: Final = 10
_HINT: Final = "bound it with a depth: `budget: {depth: 3}`, of the run, or of a step or an agent around"


def check(lowered: Lowered) -> None:
    """Every cycle that a step comes to with no depth around it, once."""
    if lowered.graph.budget is not None and lowered.graph.budget.depth is not None:
        return
    # What is not of this file was looked at with its own.
    written = lowered.resolved.document.agents or {}
    own = {name: agent for name, agent in lowered.graph.agents.items() if name in written}
    search = _Search(lowered.resolved.report, own)
    for draft in lowered.root.drafts.values():
        search.step(draft)
    if lowered.on_failure is not None:
        search.step(lowered.on_failure)


@slotted
class _Search:
    """``open`` are the agents on the way, with where the next one of each is written; ``done`` lead to no cycle that
    is not said."""

    report: Report
    agents: Mapping[str, AgentDef]
    done: set[str] = field(default_factory=set[Any])

    def step(self, draft: Draft) -> None:
        budget, step, config = draft.node.budget, draft.step, draft.node.config
        bounded = budget is not None and budget.depth is not None
        if not bounded:
            if isinstance(step, AgentStep) and isinstance(config, AgentConfig) and not _bounds(config.agent):
                named = step.agent if isinstance(step.agent, str) else ""
                self.walk(config.agent, ("agents", named) if named else (*draft.at, "agent"), named)
            for inner in _inner(draft):
                self.step(inner)
        if draft.fallback is not None:
            self.step(draft.fallback)

    def walk(self, agent: AgentDef, at: Path, name: str) -> None:
        """Follow every edge out of an agent, depth first, each agent once."""
        way: dict[str, Path] = {}
        waiting: list[tuple[str, Iterator[Edge]]] = [(name, _edges(agent, at, self.agents))]
        while waiting:
            own, edges = waiting[-1]
            edge = next(edges, None)
            if edge is None:
                waiting.pop()
                way.pop(own, None)
                self.done.add(own)
                continue
            other, written = edge
            way[own] = written
            if other in way:
                self.say(other, list(way.items()))
            elif other not in self.done:
                waiting.append((other, _edges(self.agents[other], ("agents", other), self.agents)))

    def say(self, first: str, way: list[tuple[str, Path]]) -> None:
        ring = way[[name for name, _ in way].index(first) :]
        names = [name for name, _ in ring] + [first]
        if len(names) > 2 * SHOWN:
            names[SHOWN:-SHOWN] = ["…"]
        notes = tuple(self.report.note(f"`{name}` comes to the next one here", at) for name, at in ring[1:SHOWN])
        message = f"agents that come back to themselves without a bound: {' → '.join(names)}"
        self.report.error("E407", message, ring[0][1], key=True, hint=_HINT, notes=notes)


def _edges(agent: AgentDef, at: Path, agents: Mapping[str, AgentDef]) -> Iterator[Edge]:
    """Where control can go from an agent. A call of one with a depth of its own is bounded; a handoff to it is not,
    since it goes on in the account of the agent that passes control."""
    for name, one in agent.delegates.items():
        bounded = one.budget is not None and one.budget.depth is not None
        if name in agents and not bounded and not _bounds(agents[name]):
            yield name, (*at, "delegates", name)
    yield from ((name, (*at, "handoffs", name)) for name in agent.handoffs if name in agents)


def _bounds(agent: AgentDef) -> bool:
    return agent.budget is not None and agent.budget.depth is not None


def _inner(draft: Draft) -> Iterator[Draft]:
    if draft.block is not None:
        yield from draft.block.drafts.values()
    if draft.do is not None:
        yield draft.do
    yield from draft.cases.values()
    if draft.otherwise is not None:
        yield draft.otherwise
