"""Agents that count against a bound: those made at run time, and delegates that may be called so often."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from orchestrator.agents.topology import granted
from orchestrator.engine.steps.agent import Agent
from orchestrator.engine.steps.reach import agent_of, may_make, takes_agent, takes_call
from orchestrator.expr.values import Const

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import AgentConfig
    from orchestrator.journal.state import StepState


class Counted(Agent):
    """An agent that takes from a bound: that is recorded before it acts."""

    def descends(self, step: StepState | None) -> bool:
        return step is not None and step.expanded is not None

    def begin(self, decider: Decider, act: Act, step: StepState | None) -> None:
        if not self.descends(step):
            self.takes(decider, act)
        super().begin(decider, act, step)

    def progress(self, decider: Decider, act: Act, step: StepState | None) -> None:
        if self.descends(step):
            super().progress(decider, act, step)
        else:
            decider.look_later(act)

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        if self.descends(step):
            super().decide(decider, act, step)
        else:
            decider.emit("expanded", act, {"agent": self.told(act), "takes": self.takes(decider, act)})

    def takes(self, decider: Decider, act: Act) -> list[list[Any]]:
        """What it takes of which bounds. Raises Wrong where one of them has too little."""
        return takes_call(decider, act)

    def told(self, act: Act) -> dict[str, Any]:
        """What is recorded of the agent."""
        return {"name": agent_of(act).name}


class Spawned(Counted):
    """An agent that was made at run time."""

    def begin(self, decider: Decider, act: Act, step: StepState | None) -> None:
        agent = agent_of(act)
        if agent.spawn is not None and not may_make(decider, act):
            config = cast("AgentConfig", act.node.config)
            act.node = replace(act.node, config=replace(config, agent=replace(agent, spawn=None)))
        super().begin(decider, act, step)

    def takes(self, decider: Decider, act: Act) -> list[list[Any]]:
        return takes_agent(decider, act)

    def told(self, act: Act) -> dict[str, Any]:
        agent = agent_of(act)
        said = agent.instructions
        instructions = (
            {} if said is None else {"instructions": said.value if isinstance(said, Const) else said.to_json()}
        )
        tools = [name for name, _, _ in granted(agent.tools, agent.operations)]
        return {"name": agent.name, "model": agent.model.name, "tools": tools, **instructions}
