"""Which agents an agent can come to, by calling them or by passing control on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.graph.nodes import AgentDef


def reached(first: Iterable[AgentDef], agents: Mapping[str, AgentDef]) -> dict[str, AgentDef]:
    """The agents that those of ``first`` come to, by name, in the order of names. Unknown names are left out."""
    found: dict[str, AgentDef] = {}
    waiting = list(first)
    while waiting:
        agent = waiting.pop()
        for name in (*agent.delegates, *agent.handoffs):
            if name not in found and name in agents:
                found[name] = agents[name]
                waiting.append(agents[name])
    return dict(sorted(found.items()))


def passed_to(first: AgentDef, agents: Mapping[str, AgentDef]) -> list[str]:
    """The agents that may have control for good where ``first`` had it, by name: control that comes back is not."""
    found: dict[str, None] = {}
    waiting = [first]
    while waiting:
        for name, handoff in waiting.pop().handoffs.items():
            if not handoff.returns and name not in found and name in agents:
                found[name] = None
                waiting.append(agents[name])
    return sorted(found)
