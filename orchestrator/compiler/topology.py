"""How agents compose, as an agent's entry says it -> the fields of ``AgentDef`` for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.agents.topology import HANDOFF, PLAN, SPAWN, granted, reach_of
from orchestrator.agents.turns import wire_name
from orchestrator.compiler.budgets import budget_def
from orchestrator.compiler.resolve import WHAT
from orchestrator.graph.nodes import DelegateDef, HandoffDef, PlanDef, SpawnDef
from orchestrator.spec.availability import performed
from orchestrator.spec.steps import STEP_KINDS, StepBase
from orchestrator.spec.types import INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.compiler.agents import Cast
    from orchestrator.compiler.fields import Place
    from orchestrator.compiler.report import Path, Report
    from orchestrator.graph.nodes import AgentDef
    from orchestrator.spec.agents import AgentEntry, ModelEntry, Plan, Spawn

UNASKED: Final = frozenset({"run", "python", "pipeline"})
"""Kinds of steps that a plan has only where ``kinds`` names them: what they run is not what the agent was given."""


def reaching(agent: AgentEntry, definition: AgentDef, at: Path, place: Place, cast_: Cast) -> dict[str, Any]:
    """The fields ``delegates handoffs spawn plan`` of an agent at a place of the file."""
    return {
        "delegates": {
            name: DelegateDef(
                max_calls=None
                if one.max_calls is None
                else place.limit(one.max_calls, (*at, "delegates", name, "max_calls"), want=INTEGER),
                budget=budget_def(one.budget),
                context=one.context or "none",
            )
            for name, one in (agent.delegates or {}).items()
            if cast_.other(name, (*at, "delegates", name))
        },
        "handoffs": {
            name: HandoffDef(returns=one.return_ is True)
            for name, one in (agent.handoffs or {}).items()
            if cast_.other(name, (*at, "handoffs", name))
        },
        "spawn": None if agent.spawn is None else _spawn(agent.spawn, definition, (*at, "spawn"), place, cast_),
        "plan": None if agent.plan is None else _plan(agent.plan, (*at, "plan"), place),
    }


def _spawn(spawn: Spawn, agent: AgentDef, at: Path, place: Place, cast_: Cast) -> SpawnDef:
    """What it does not say is as the agent itself has it."""
    tools, operations = agent.tools, agent.operations
    if spawn.tools is not None:
        tools, operations = cast_.tools_of(spawn.tools, (*at, "tools"))
    models = [agent.model]
    if spawn.models is not None:
        found = [cast_.resolved.find("models", name, (*at, "models", i)) for i, name in enumerate(spawn.models)]
        models = [cast_.model_of(*cast("tuple[str, ModelEntry]", one)) for one in found if one is not None]
    return SpawnDef(
        tools=tools,
        operations=operations,
        models=tuple({model.name: model for model in models}.values()),
        max_agents=_limit(spawn.max_agents, (*at, "max_agents"), place),
        depth=_limit(spawn.depth, (*at, "depth"), place),
        budget=budget_def(spawn.budget),
    )


def _plan(plan: Plan, at: Path, place: Place) -> PlanDef:
    known = performed(StepBase, STEP_KINDS)
    kinds: list[str] = []
    if plan.kinds is None:
        kinds = [kind for kind in known if kind not in UNASKED]
    for index, kind in enumerate(plan.kinds or ()):
        if kind not in STEP_KINDS:
            place.report.unknown("E107", "kind of step", kind, known, (*at, "kinds", index))
        elif kind not in known:
            place.report.error("E190", f"`{kind}` is not available yet", (*at, "kinds", index))
        elif kind in kinds:
            place.report.error("E404", f"`{kind}` stands twice", (*at, "kinds", index))
        else:
            kinds.append(kind)
    return PlanDef(
        kinds=tuple(kinds),
        max_steps=_limit(plan.max_steps, (*at, "max_steps"), place),
        budget=budget_def(plan.budget),
    )


def _limit(data: Any, at: Path, place: Place) -> Any:
    return None if data is None else place.limit(data, at, want=INTEGER)


def named_apart(agent: AgentDef, at: Path, report: Report) -> set[str]:
    """The names of the tools that lead to other agents; nothing else that the agent may call goes by one."""
    taken = {wire_name(name) for name, _, _ in granted(agent.tools, agent.operations)}
    servers = tuple(f"{tool.name}__" for tool in agent.tools if tool.kind == "mcp")
    built_in = {HANDOFF: bool(agent.handoffs), SPAWN: agent.spawn is not None, PLAN: agent.plan is not None}
    for name in agent.delegates:
        if name in taken or name.startswith(servers or ("\0",)):
            _clash(
                report,
                f"`{name}` is a tool of this agent, too: a model could not tell them apart",
                (*at, "delegates", name),
            )
        elif name == "read_result" or built_in.get(name):
            _clash(report, f"`{name}` is a tool that is built in, and this agent has it", (*at, "delegates", name))
    for name, field in ((HANDOFF, "handoffs"), (SPAWN, "spawn"), (PLAN, "plan")):
        if built_in[name] and name in taken:
            _clash(report, f"`{name}` is a tool of this agent, too: a model could not tell them apart", (*at, field))
    return {one.name for one in reach_of(agent, {})}


def _clash(report: Report, message: str, at: Path) -> None:
    report.error("E210", message, at, key=True, hint="give one of them another name")


def unknown_agent(name: str, known: Iterable[str], at: Path, report: Report) -> None:
    report.unknown(*WHAT["agents"], name, known, at, key=True)
