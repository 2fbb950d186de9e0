"""Other agents, as a model sees them: tools to ask one, to pass control to one, to make one, and to plan steps.

Pure: what a call makes is a function of the agent's definition, of the call, and of what is left of its bounds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from orchestrator.agents.compaction import clipped, transcript
from orchestrator.expr.values import Const
from orchestrator.frozen import frozen
from orchestrator.graph.nodes import AgentDef

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.agents.conversation import Conversation
    from orchestrator.graph.nodes import DelegateDef, PlanDef, SpawnDef, ToolDef

MAX_AGENTS: Final = 8
"""Agents that an agent may make in one activation, those that they make counted, where ``max_agents`` does not say."""

MAX_DEPTH: Final = 1
"""How deep agents that are made may nest, where ``depth`` does not say."""

MAX_STEPS: Final = 50
"""Steps of all plans of one activation, inner ones counted, where ``max_steps`` does not say."""

SUMMARY_BYTES: Final = 4_000
"""What a delegate is given of its caller's conversation with ``context: summary``."""

HANDOFF: Final = "handoff"
SPAWN: Final = "spawn"
PLAN: Final = "plan"
NAMES: Final[Mapping[str, str]] = {
    HANDOFF: "handoffs: {AGENT: {}}",
    SPAWN: "spawn: {}",
    PLAN: "plan: {}",
}
"""The names of these tools, and what gives each to an agent; a delegate goes by its own name."""

SPAWNED: Final = "spawned"
"""The name of an agent that was made at run time."""

Kind: TypeAlias = Literal["delegate", "handoff", "spawn", "plan"]


@frozen
class Reach:
    """A tool that leads to other agents. ``name`` is the wire's; of a delegate, the agent's too."""

    name: str
    kind: Kind
    description: str
    input: dict[str, Any]


def reach_of(agent: AgentDef, agents: Mapping[str, AgentDef]) -> list[Reach]:
    """The tools by which an agent reaches others, in a fixed order. ``agents`` are those that have names."""
    # In the order of names: a graph that was stored has no other one.
    found = [_delegate(name, agents.get(name)) for name in sorted(agent.delegates)]
    if agent.handoffs:
        found.append(_handoff(agent, agents))
    if agent.spawn is not None:
        found.append(_spawn(agent.spawn))
    if agent.plan is not None:
        found.append(_plan(agent, agent.plan))
    return found


def _delegate(name: str, other: AgentDef | None) -> Reach:
    about = (other.description if other is not None else "") or f"The agent {name}."
    what = f"{about} Give it a task in full: it sees what you write, and answers once."
    return Reach(name, "delegate", what, _object({"prompt": _TEXT}))


def _handoff(agent: AgentDef, agents: Mapping[str, AgentDef]) -> Reach:
    names = sorted(agent.handoffs)
    listed = "\n".join(f"- {_told(name, agents, back=agent.handoffs[name].returns)}" for name in names)
    what = f"Pass control, with this conversation, to another agent. There are:\n{listed}"
    return Reach(HANDOFF, "handoff", what, _object({"to": {"type": "string", "enum": names}}))


def _told(name: str, agents: Mapping[str, AgentDef], *, back: bool) -> str:
    about = agents[name].description if name in agents else ""
    said = f"{name}: {about}" if about else name
    return f"{said} (control comes back to you)" if back else said


def _spawn(spawn: SpawnDef) -> Reach:
    what = "Make an agent for a task, and get its answer. It sees its instructions and its prompt, and nothing else."
    names = [name for name, _, _ in granted(spawn.tools, spawn.operations)]
    optional: dict[str, Any] = {}
    if names:
        optional["tools"] = {"type": "array", "items": {"type": "string", "enum": names}}
    if spawn.models:
        optional["model"] = {"type": "string", "enum": [model.name for model in spawn.models]}
    return Reach(SPAWN, "spawn", what, _object({"instructions": _TEXT, "prompt": _TEXT}, optional))


def _plan(agent: AgentDef, plan: PlanDef) -> Reach:
    tools = ", ".join(name for name, _, _ in granted(agent.tools, agent.operations)) or "none"
    others = ", ".join(sorted(agent.delegates)) or "none"
    kinds = ", ".join(plan.kinds)
    what = (
        "Write steps that run now, and get their outputs. `steps` maps names to steps, each of one kind "
        f"({kinds}), as in a pipeline file: {{tool: NAME, with: {{…}}}}, {{agent: NAME, prompt: …}}, "
        "{agent: {instructions: …, tools: [NAME]}, prompt: …}, {map: EXPR, as: NAME, do: STEP}, {set: {…}}, "
        "{switch: EXPR, cases: {…}, default: STEP}, {steps: {…}, outputs: {…}}. A step sees the output of another as "
        "${{ steps.NAME.output }} and waits for it; steps that do not refer to each other run at the same time. "
        "`outputs` maps names to values, with ${{ }} in them. "
        f"Tools: {tools}. Agents: {others}. Where a plan has mistakes, nothing runs, and all of them are told."
    )
    given = {"type": "object"}
    return Reach(PLAN, "plan", what, _object({"steps": {**given, "minProperties": 1}}, {"outputs": given}))


def granted(
    tools: Sequence[ToolDef], operations: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, ToolDef, str | None]]:
    """Each thing that may be called, by its name in a file, with its tool, and its operation where it has several."""
    for tool in tools:
        several = operations.get(tool.name) or sorted(tool.operations)
        if several:
            yield from ((f"{tool.name}.{operation}", tool, operation) for operation in several)
        else:
            yield tool.name, tool, None


def spawned(agent: AgentDef, spawn: SpawnDef, args: Mapping[str, Any]) -> AgentDef:
    """The agent that a call makes, out of the lists that the caller may give from. ``args`` fit the tool's schema.

    It may make agents itself, out of no more than it was given; how deep that goes is for whoever begins it.
    """
    wanted: list[str] | None = args.get("tools")
    tools: dict[str, ToolDef] = {}
    operations: dict[str, tuple[str, ...]] = {}
    for name, tool, operation in granted(spawn.tools, spawn.operations):
        if wanted is None or name in wanted:
            tools[tool.name] = tool
            if operation is not None:
                operations[tool.name] = (*operations.get(tool.name, ()), operation)
    by_name = {model.name: model for model in spawn.models}
    own = by_name.get(agent.model.name) or next(iter(by_name.values()), agent.model)
    given = tuple(tools.values())
    return AgentDef(
        name=SPAWNED,
        model=by_name.get(args.get("model", ""), own),
        instructions=Const(args["instructions"]),
        tools=given,
        operations=operations,
        parallel_tools=agent.parallel_tools,
        spawn=replace(spawn, tools=given, operations=operations),
        context=agent.context,
        hooks=agent.hooks,
    )


def asked(delegate: DelegateDef, conversation: Conversation, prompt: str) -> str:
    """What a delegate is told: its task, behind as much of the caller's conversation as it may see.

    The conversation ends with the reply that makes the call. It is given as text, so that no call in it wants a result;
    of a summary, the caller's own prompt and the texts that it has said, the middle left out where they are long.
    """
    said = conversation.messages
    match delegate.context:
        case "none":
            return prompt
        case "full":
            told = transcript([*said[:-1], *({**message, "content": _texts(message)} for message in said[-1:])])
        case "summary":
            lines = [said[0], *(message for message in said[1:] if message["role"] == "assistant")]
            told = clipped(transcript([{**message, "content": _texts(message)} for message in lines]), SUMMARY_BYTES)
    return f"What was said before you were asked:\n\n{told}\n\nWhat you are asked:\n\n{prompt}"


def _texts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [block for block in message["content"] if block.get("type") == "text"]


def passed(name: str) -> str:
    """What a model reads as the result of a handoff."""
    return f"Control has passed to {name}."


def returned(name: str, said: str) -> str:
    """What an agent reads when control comes back to it."""
    return f"Control is back from {name}, which says:\n\n{said}"


_TEXT: Final[dict[str, Any]] = {"type": "string", "minLength": 1}


def _object(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }
