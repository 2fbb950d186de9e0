"""``next_turn``: what an agent does next, as a pure function of its definition and its conversation."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.agents.builtin import FILE_OPERATIONS, READ_RESULT
from orchestrator.agents.keeping import tools_of
from orchestrator.agents.messages import ToolSpec
from orchestrator.agents.topology import reach_of
from orchestrator.frozen import field, frozen
from orchestrator.jsonish import canonical, clean, digest, loads
from orchestrator.spec.values import check_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.agents.conversation import Conversation, ToolCall
    from orchestrator.graph.nodes import AgentDef, Schema, ToolDef

MAX_REPAIRS = 2
LAST = "The budget ends here: no tool can be called any more. Answer now, as well as you can, with what you have."
"""What an agent is told at its last turn under a budget that lets it finish."""

LAST_SIZE = 200
"""Bytes that this adds to a request, and a little more."""

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@frozen
class CallModel:
    """Send the conversation. ``repair`` is said first, where the last reply has to be mended."""

    repair: str | None = None


@frozen
class CallTools:
    """Run what the model asked for."""

    calls: tuple[ToolCall, ...]


@frozen
class Finish:
    """The agent is done."""

    output: Any


@frozen
class Stop:
    """The agent cannot end well. ``more``: status, detail, and the step where it began, where there are any."""

    code: str
    message: str
    more: dict[str, Any] = field(default_factory=dict[str, Any])


Action: TypeAlias = "CallModel | CallTools | Finish | Stop"

_BAD_STOPS = {
    "max_tokens": "the reply was cut at max_tokens",
    "refusal": "the model refused",
    "context": "the conversation is larger than the model's context",
}


def next_turn(*, conversation: Conversation, output: Schema | None, turns: int, since: int = 0) -> Action:
    """What follows the last thing said. ``turns`` bounds the model calls after the first ``since``."""
    if not conversation.stop or (conversation.stop == "tool_use" and not conversation.calls):
        return _call(conversation, turns, since)
    stop = conversation.stop
    if stop in _BAD_STOPS:
        return Stop(stop, _BAD_STOPS[stop])
    if stop == "pause_turn":
        return _call(conversation, turns, since)
    if stop == "tool_use":
        return CallTools(conversation.calls)
    if conversation.calls:
        return Stop("invalid_reply", f"the model asked for tools in a turn that ended with {stop}")
    if output is None:
        return Finish(conversation.said)
    return _structured(conversation, output, turns, since)


def _call(conversation: Conversation, turns: int, since: int, repair: str | None = None) -> Action:
    if conversation.turn - since >= turns:
        return Stop("turn_limit", f"no end after {turns} turns", {"detail": {"turns": turns}})
    return CallModel(repair)


def _structured(conversation: Conversation, output: Schema, turns: int, since: int) -> Action:
    """The last text as JSON of the agent's output type, or a bounded repair."""
    try:
        # Escapes in the text make characters that were not in it: one that stands for a secret must not come up here.
        value = clean(loads(_unfenced(conversation.said)))
        problems = check_value(output, value)
    except ValueError as error:
        value, problems = None, [f"it is not JSON: {error}"]
    if not problems:
        return Finish(value)
    if conversation.repairs >= MAX_REPAIRS:
        return Stop(
            "invalid_output",
            "the reply does not fit the output type: " + "; ".join(problems[:5]),
            {"detail": {"problems": problems[:20]}},
        )
    listed = "\n".join(f"- {problem}" for problem in problems[:20])
    return _call(
        conversation,
        turns,
        since,
        f"Your reply does not fit the required JSON Schema:\n{listed}\nReply with the corrected JSON alone.",
    )


def _unfenced(text: str) -> str:
    """JSON out of a Markdown fence, where a model put it into one."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text[text.index("\n") + 1 : -3]
    return text


@frozen
class Offer:
    """A tool under the name that a model calls it by.

    ``kind`` says what performs a call: ``tool`` (then ``tool`` and ``operation`` say which), else a kind of step for
    calls that are built in, to which ``name`` means something (a delegate, say), and which may need what is ``given``.
    """

    spec: ToolSpec
    tool: ToolDef | None = None
    operation: str | None = None
    kind: str = "tool"
    name: str = ""
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])


READ_REST = Offer(ToolSpec("read_result", READ_RESULT.description, READ_RESULT.input), kind="read_result")
"""What an agent has that may get a result which was cut."""


def wire_name(name: str) -> str:
    """A tool's name on the wire, where no dot is allowed."""
    return name.replace(".", "__")


def offers_of(
    agent: AgentDef, agents: Mapping[str, AgentDef] = MappingProxyType({}), *, reading: bool = False
) -> dict[str, Offer]:
    """What an agent may call, by wire name. ``agents`` are those that have names; ``reading``: there are results of
    calls to read that the agent did not make itself."""
    offers: dict[str, Offer] = {}
    for tool in agent.tools:
        if tool.kind == "files":
            for operation in agent.operations.get(tool.name) or tuple(tool.operations):
                known = FILE_OPERATIONS[operation]
                name = wire_name(f"{tool.name}.{operation}")
                offers[name] = Offer(ToolSpec(name, known.description, known.input), tool, operation)
        elif tool.server is None:
            name = wire_name(tool.name)
            offers[name] = Offer(ToolSpec(name, tool.description or tool.name, tool.input or _NO_ARGUMENTS), tool)
    for one in reach_of(agent, agents):
        offers[one.name] = Offer(ToolSpec(one.name, one.description, one.input), kind=one.kind, name=one.name)
    if offers or reading:
        offers["read_result"] = READ_REST
    for own in tools_of(agent):
        offers[own.name] = Offer(ToolSpec(own.name, own.description, own.input), kind=own.name, given=own.given)
    return offers


@frozen
class Frame:
    """All of a request but its messages: its hash, and the size in bytes of what the model reads of it."""

    hash: str
    size: int


def frame_of(*, settings: dict[str, Any], system: str, tools: list[ToolSpec], output: Schema | None) -> Frame:
    """Computed once per agent step. Which key pays is no part of what is asked."""
    read = canonical([system, [[tool.name, tool.description, tool.schema] for tool in tools], output])
    asked = {key: value for key, value in settings.items() if key != "api_key"}
    return Frame(digest(canonical(asked) + read), len(read))
