"""What calls that reach other agents are: the nodes that they become, and what each takes of the bounds around it.

A delegate and an agent that is made at run time are agent steps at the path of the call. Whatever counts against a
bound is recorded as ``expanded`` before it acts, with whose bound it takes from: each agent around, through every
route, so that nothing starts anew further in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from orchestrator.agents.topology import MAX_AGENTS, MAX_DEPTH, MAX_STEPS, asked, passed, spawned
from orchestrator.engine.activation import Act
from orchestrator.engine.budgets import CALLS, nesting, sentence, told, too_deep
from orchestrator.engine.steps.agent_calls import bad_call
from orchestrator.engine.steps.common import Base, Wrong
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import AgentConfig, CallConfig, Node, PlanDef, SpawnDef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.agents.conversation import ToolCall
    from orchestrator.engine.decide import Decider
    from orchestrator.engine.steps.passing import Control
    from orchestrator.graph.nodes import AgentDef
    from orchestrator.journal.state import StepState

ROOTED = frozenset({"agent", "delegate", "spawn", "plan"})
"""Kinds of calls that see what named agents see: ``inputs``, ``run`` and ``secrets``, and nothing of their caller."""


def reaching(decider: Decider, act: Act, node: Node, call: ToolCall) -> Node:
    """The node of a call of the agent at ``act``, where it reaches another agent; any other as it is."""
    match node.kind:
        case "delegate":
            return _delegate(decider, act, node, call)
        case "spawn":
            return _spawn(act, node, call)
        case "plan":
            budget = cast("PlanDef", agent_of(act).plan).budget
            return replace(_like(node, act), budget=budget)
        case "handoff":
            return _handoff(act, node, call)
        case _:
            return node


def _delegate(decider: Decider, act: Act, node: Node, call: ToolCall) -> Node:
    one = agent_of(act).delegates[call.name]
    prompt = asked(one, act.data.conversation, call.args["prompt"])
    config = AgentConfig(agent=decider.graph.agents[call.name], prompt=Const(prompt))
    kind = "agent" if one.max_calls is None else "delegate"
    return replace(_like(node, act), kind=kind, config=config, budget=one.budget)


def _spawn(act: Act, node: Node, call: ToolCall) -> Node:
    agent = agent_of(act)
    spawn = cast("SpawnDef", agent.spawn)
    config = AgentConfig(agent=spawned(agent, spawn, call.args), prompt=Const(call.args["prompt"]))
    return replace(_like(node, act), config=config, budget=spawn.budget)


def _handoff(act: Act, node: Node, call: ToolCall) -> Node:
    """The first handoff of a turn passes control on."""
    control: Control = act.data.control
    if control.handoff is not None:
        return bad_call(act.node, call, "one_handoff", "control passes on once in a turn, and another call did that")
    control.handoff = act.data.begun - 1
    return node


def _like(node: Node, act: Act) -> Node:
    """The node with what an agent inside another one has of it."""
    return replace(node, retry=act.node.retry, dir=act.node.dir)


def agent_of(act: Act) -> AgentDef:
    """The agent that has control in an activation."""
    return cast("AgentConfig", act.node.config).agent


def agents_around(act: Act) -> Iterator[Act]:
    """The agents that an activation stands in, innermost first."""
    found: Any = act.owner
    while found is not None:
        if isinstance(found, Act) and found.role not in CALLS and isinstance(found.node.config, AgentConfig):
            yield found
        found = found.owner


# What is taken of bounds: [path, what, how much] for each that it is taken of


def takes_call(decider: Decider, act: Act) -> list[list[Any]]:
    """A call of a delegate that may be called so often by one activation. Raises Wrong where it may not any more."""
    caller = next(agents_around(act))
    name = agent_of(act).name
    one = agent_of(caller).delegates.get(name)
    if one is None or one.max_calls is None:
        return []
    most = decider.limit(caller, one.max_calls, "max_calls")
    what = f"calls {name}"
    if _taken(act, caller, what) >= most:
        raise Wrong("too_many_calls", f"{name} may be called {_times(most)} here (max_calls)")
    return [[caller.path, what, 1]]


def takes_agent(decider: Decider, act: Act) -> list[list[Any]]:
    """An agent that is made at run time: one of each agent around that may make some. Raises Wrong where one is over
    its bound."""
    takes: list[list[Any]] = []
    level = 1
    for around in agents_around(act):
        spawn = agent_of(around).spawn
        if spawn is not None:
            depth = _depth(decider, around, spawn)
            if level > depth:
                message = f"agents made by {around.path} nest at most {depth} deep, and this would be {level} (depth)"
                raise Wrong("too_deep", message)
            most = MAX_AGENTS if spawn.max_agents is None else decider.limit(around, spawn.max_agents, "max_agents")
            if _taken(act, around, "agents") >= most:
                message = f"{around.path}, and all inside it, may make {most} agents (max_agents)"
                raise Wrong("too_many_agents", message)
            takes.append([around.path, "agents", 1])
        level += around.kind == "spawn"
    return takes


def may_make(decider: Decider, act: Act) -> bool:
    """Whether an agent made at run time stands where it may make others itself."""
    level = 2
    for around in agents_around(act):
        spawn = agent_of(around).spawn
        if spawn is not None and level > _depth(decider, around, spawn):
            return False
        level += around.kind == "spawn"
    return True


def steps_left(decider: Decider, act: Act) -> int:
    """How many steps a plan may still have: as many as are left to each agent around that may plan."""
    return min(most - _taken(act, around, "steps") for around, most in _planners(decider, act))


def takes_steps(decider: Decider, act: Act, count: int) -> list[list[Any]]:
    """The steps of a plan, of each agent around that may plan."""
    return [[around.path, "steps", count] for around, _ in _planners(decider, act)]


def _planners(decider: Decider, act: Act) -> Iterator[tuple[Act, int]]:
    for around in agents_around(act):
        plan: PlanDef | None = agent_of(around).plan
        if plan is not None:
            yield around, MAX_STEPS if plan.max_steps is None else decider.limit(around, plan.max_steps, "max_steps")


def _depth(decider: Decider, act: Act, spawn: SpawnDef) -> int:
    return MAX_DEPTH if spawn.depth is None else decider.limit(act, spawn.depth, "depth")


def _taken(act: Act, around: Act, what: str) -> int:
    return act.state.taken.get((around.path, what), 0)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


class Handoff(Base):
    """Passes control; the agent goes on as the other one when all calls of the turn have ended."""

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        del step
        owner = cast("Act", act.owner)
        found = too_deep(owner.account, nesting(owner) + 1)
        if found is not None:
            raise Wrong("too_deep", sentence(told(found, then="fail", step=act.path)))
        args = cast("Const", cast("CallConfig", act.node.config).args).value
        decider.finish(act, passed(args["to"]))
