"""Compiling what an agent planned: an effect that reads, and whose result is a record like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from orchestrator.engine import outcomes
from orchestrator.engine.steps.reach import agent_of, agents_around, steps_left, takes_steps
from orchestrator.frozen import frozen
from orchestrator.graph.nodes import AgentDef, Graph
from orchestrator.journal.records import Draft
from orchestrator.tools.protocol import Failed

if TYPE_CHECKING:
    from orchestrator.engine.activation import Intent
    from orchestrator.engine.decide import Decider


@frozen
class Plan:
    """A plan as compiled: the JSON of its ``node`` and how many ``steps`` it has, or its ``problems``."""

    node: dict[str, Any] | None = None
    steps: int = 0
    problems: tuple[Mapping[str, Any], ...] = ()


Planner: TypeAlias = Callable[[AgentDef, Graph, Mapping[str, Any], int, str], Plan]
"""Compiles what an agent of a graph wrote, of at most so many steps; functions are looked for in a folder."""


def no_planner(_agent: AgentDef, _graph: Graph, _written: Mapping[str, Any], _most: int, _folder: str) -> Plan:
    """Where plans cannot be compiled."""
    return Plan(problems=({"code": "E190", "message": "plans are not available here", "at": ""},))


async def perform(decider: Decider, intent: Intent, planner: Planner, now: Callable[[], int]) -> Draft:
    """Compile a plan, and give its record."""
    act = intent.act
    agent, folder = agent_of(next(agents_around(act))), str(decider.state.started["folder"])
    try:
        found = await anyio.to_thread.run_sync(
            planner, agent, decider.graph, intent.request, steps_left(decider, act), folder
        )
    except Exception as error:  # noqa: BLE001 - the attempt boundary: a plan is whatever a model writes
        found = Plan(problems=({"code": "E900", "message": f"{type(error).__name__}: {error}", "at": ""},))
    return recorded(decider, intent, found, at=now())


def recorded(decider: Decider, intent: Intent, found: Plan, *, at: int) -> Draft:
    """The record of a plan: ``expanded``, or that the call failed, with all problems.

    What it takes of its bounds is counted in the moment of its record, since others may have planned meanwhile.
    """
    act = intent.act
    left = steps_left(decider, act)
    if found.node is not None and found.steps <= left:
        body = {"attempt": intent.attempt, "graph": found.node, "takes": takes_steps(decider, act, found.steps)}
        return Draft("expanded", act.path, body)
    short = {"code": "E408", "message": f"the plan has {found.steps} steps, and {left} are left", "at": "steps"}
    problems = [dict(one) for one in found.problems] or [short]
    many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    refused = Failed("invalid_plan", f"the plan has {many}, and nothing of it ran", detail={"problems": problems})
    return outcomes.failed(intent, refused, step=decider.state.steps[act.path], attempts=1, at=at)
