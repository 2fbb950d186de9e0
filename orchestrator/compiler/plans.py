"""Steps that an agent wrote at run time -> a node to run, or all that is wrong with them.

They are read and compiled as a file is, out of the agent's own tools, models and delegates. What would reach further
than these is taken out before anything is read, and said: files of this machine, tools and code in place, other
kinds of steps than the agent may plan.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.agents.results import HTTP_OUTPUT, SHELL_OUTPUT
from orchestrator.compiler.checks import check
from orchestrator.compiler.drafts import AgentDraft, ToolDraft
from orchestrator.compiler.lower import lower
from orchestrator.compiler.outlines import Outline, outline
from orchestrator.compiler.policy import Policy, allowed
from orchestrator.compiler.report import Report
from orchestrator.compiler.resolve import resolve
from orchestrator.expr.values import MapOf
from orchestrator.frozen import frozen
from orchestrator.graph.budgets import merged
from orchestrator.graph.nodes import PLAIN, GroupConfig, Node, PlanDef, to_json
from orchestrator.spec.agents import AgentEntry
from orchestrator.spec.diagnostics import Severity, SpecErrors, in_order
from orchestrator.spec.load import load
from orchestrator.spec.read import spec_of
from orchestrator.spec.shape import models_of
from orchestrator.spec.steps import StepBase
from orchestrator.spec.tools import ToolBase
from orchestrator.spec.types import FILE, ObjectType, from_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.compiler.agents import Cast
    from orchestrator.compiler.resolve import Inspect, Resolved
    from orchestrator.compiler.tools import Toolbox
    from orchestrator.graph.nodes import AgentDef, Graph, ToolDef
    from orchestrator.spec.diagnostics import Diagnostic
    from orchestrator.spec.document import Document
    from orchestrator.spec.types import Type

MOST: Final = 50
"""Problems of a plan that are told."""

WORDS: Final = 400
"""Characters of each."""


@frozen
class Planned:
    """A plan that may run: its node as JSON, a group, and how many steps it has, inner ones counted."""

    node: dict[str, Any]
    steps: int


@frozen
class Refused:
    """What is wrong with a plan: ``{code, message, at, hint?}`` each, with ``at`` a path such as ``steps.a.with.x``."""

    problems: list[dict[str, str]]


def compile_plan(
    agent: AgentDef, graph: Graph, given: Mapping[str, Any], *, most: int, folder: str, inspect: Inspect | None = None
) -> Planned | Refused:
    """The plan that an agent of a graph wrote: ``{steps, outputs?}``, with at most ``most`` steps.

    ``folder`` is where functions are looked for, after the environment; ``inspect`` as for a file.
    """
    plan = agent.plan or PlanDef()
    policy = Policy(frozenset(plan.kinds), spawn=agent.spawn is not None)
    data, problems = allowed({key: given[key] for key in ("steps", "outputs") if key in given}, policy)
    source = outline({"version": 1, "name": "plan", **data})
    try:
        loaded = load(source.text.encode(), name="plan", folder=Path(folder))
        spec = spec_of(loaded)
    except SpecErrors as error:
        return Refused([*problems, *_told(error.diagnostics, source)])
    report = Report(spec.loaded, spec.doubts)
    resolved = _known(resolve(spec.document, report, swap={}, inspect=inspect), agent, graph)
    casts: list[Cast] = []

    def seed(tools: Toolbox, cast_: Cast) -> None:
        _seed(tools, cast_, agent, graph)
        casts.append(cast_)

    lowered = check(lower(resolved, seed=seed))
    count = _steps(spec.document)
    if count > most:
        said = f"{count} step{'s' if count != 1 else ''}, and {max(most, 0)} {'is' if most == 1 else 'are'} left"
        report.error("E408", f"the plan has {said} (max_steps)", ("steps",), key=True)
    problems += _told(in_order([*spec.diagnostics, *report.found]), source)
    if problems:
        return Refused(problems)
    return Planned(_node(lowered.graph, casts[0].in_place, has_outputs="outputs" in data), count)


# What the plan's names stand for


def _known(resolved: Resolved, agent: AgentDef, graph: Graph) -> Resolved:
    """The names that a plan may use. What each stands for is compiled already: see ``_seed``."""
    nothing: Any = None
    resolved.tools = {tool.name: ToolBase.of({}) for tool in agent.tools}
    resolved.agents = {name: AgentEntry.of({}) for name in agent.delegates if name in graph.agents}
    models = (agent.model, *(() if agent.spawn is None else agent.spawn.models))
    resolved.models = {"default": (agent.model.name, nothing)} | {one.name: (one.name, nothing) for one in models}
    resolved.inputs = graph.inputs
    resolved.input_types = ObjectType(
        {one.name: FILE if one.is_file else from_schema(one.schema) for one in graph.inputs}
    )
    return resolved


def _seed(tools: Toolbox, cast_: Cast, agent: AgentDef, graph: Graph) -> None:
    tools.named.update({tool.name: _tool(tool, agent.operations.get(tool.name)) for tool in agent.tools})
    cast_.models.update({one.name: one for one in (*(() if agent.spawn is None else agent.spawn.models), agent.model)})
    cast_.definitions.update(graph.agents)
    for name, one in agent.delegates.items():
        if name in graph.agents:
            other = graph.agents[name]
            # A call in a plan is a call of the delegate, with its budget.
            definition = replace(other, budget=merged(other.budget, one.budget))
            output = None if other.output is None else from_schema(other.output)
            cast_.named[name] = AgentDraft(definition=definition, output=output)


def _tool(tool: ToolDef, granted: tuple[str, ...] | None) -> ToolDraft:
    """A tool of the agent, with no more of its operations than the agent has."""
    if granted and tool.server is not None:
        tool = replace(tool, server=replace(tool.server, tools=granted))
    elif granted:
        tool = replace(tool, operations={name: tool.operations[name] for name in granted})
    given = None if tool.input is None else from_schema(tool.input)
    made: Type | None = {"shell": SHELL_OUTPUT, "http": HTTP_OUTPUT}.get(tool.kind)
    return ToolDraft(
        definition=tool,
        input=given if isinstance(given, ObjectType) else None,
        output=made if tool.output is None else from_schema(tool.output),
    )


# What it becomes


def _steps(document: Document) -> int:
    return sum(isinstance(model, StepBase) for model in models_of(document))


def _node(graph: Graph, in_place: Mapping[str, bool], *, has_outputs: bool) -> dict[str, Any]:
    """A group of the plan's steps. Its agents count: those defined in place as made at run time, others as called."""
    outputs = MapOf(dict(graph.outputs)) if has_outputs else None
    found = to_json(Node(name="", id="plan", kind="steps", config=GroupConfig(block=graph.root, outputs=outputs)))
    _count(found, in_place)
    return found


def _count(data: Any, in_place: Mapping[str, bool]) -> None:
    """Give each agent step in the JSON of a node the kind that is counted."""
    if isinstance(data, list):
        for item in cast("list[Any]", data):
            _count(item, in_place)
    elif isinstance(data, dict) and "v" not in data:
        found = cast("dict[str, Any]", data)
        if found.get("is") == "Node" and found["kind"] == "agent":
            found["kind"] = "spawn" if in_place[found["id"]] else "delegate"
        inner = cast("dict[str, Any]", found["d"]) if "d" in found else found
        for key, item in inner.items():
            if inner is not found or key not in PLAIN:
                _count(item, in_place)


# What is said of it


def _told(diagnostics: Iterable[Diagnostic], source: Outline) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for one in diagnostics:
        if one.severity is Severity.ERROR and len(found) < MOST:
            at = source.place(one.mark.line) if one.mark is not None else ""
            problem = {"code": one.code, "message": _of_a_plan(one.message)[:WORDS], "at": at}
            found.append(problem | {"hint": one.hint[:WORDS]} if one.hint else problem)
    return found


def _of_a_plan(message: str) -> str:
    """What is said of a file, said of a plan; what it quotes stays as it is."""
    words = message.split("`")
    return "`".join(part if index % 2 else part.replace("the file", "the plan") for index, part in enumerate(words))
