"""Making an agent's conversation fit its ``context``, before the next turn: what is left out is recorded first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from orchestrator.agents.compaction import SUMMARY_SYSTEM, bound_of, clipped, cut_of, left_out, transcript
from orchestrator.agents.conversation import Conversation
from orchestrator.agents.turns import Stop
from orchestrator.engine.steps.choices import choices_of
from orchestrator.frozen import frozen
from orchestrator.graph.nodes import Node

if TYPE_CHECKING:
    from orchestrator.agents.compaction import Cut
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.engine.steps.agent import Talk
    from orchestrator.graph.nodes import AgentConfig, ContextDef
    from orchestrator.journal.state import StepState


@frozen
class Shorten:
    """What an agent wants recorded: which part of its conversation goes."""

    body: dict[str, Any]


def has_room(decider: Decider, act: Act, talk: Talk) -> bool:
    """Whether the next request fits, or has been made to. False: something has to happen first, and is under way."""
    context = talk.context
    if context is None:
        return True
    turn = talk.conversation.turn + 1
    said = act.state.compactions.get((act.path, turn))
    if said is not None:
        if talk.shortened < turn:
            talk.shortened = turn
            _apply(act, talk, said)
        return True
    if talk.conversation.size <= bound_of(context, talk.frame_size):
        return True
    cut = cut_of(talk.conversation, context, frame=talk.frame_size)
    if cut is None:
        message = f"what has to stay of the conversation is over `context.max_tokens` ({context.max_tokens})"
        talk.wants = Stop("context", message)
    elif not _summed_up(decider, act, talk, context, cut):
        return False
    else:
        talk.wants = Shorten(_body(act, context, cut, turn))
    decider.look_later(act)
    return False


def _apply(act: Act, talk: Talk, said: dict[str, Any]) -> None:
    talked = talk.conversation
    step = act.state.steps.get(said.get("summary", ""))
    summary = "" if step is None else clipped(_text_of(step), said["size"])
    number = len(talked.dropped) + 1
    note = left_out(number, said["at"] - 1, summary=summary, readable="read_result" in talk.offers)
    talked.compact(said["at"], note=note, shrink=said.get("shrink"))


def _text_of(step: StepState) -> str:
    content = (step.reply or {}).get("content", ())
    return "".join(block["text"] for block in content if block.get("type") == "text")


def _body(act: Act, context: ContextDef, cut: Cut, turn: int) -> dict[str, Any]:
    path = f"{act.path}/compact{turn}"
    step = act.state.steps.get(path)
    body: dict[str, Any] = {"turn": turn, "at": cut.at, "strategy": "drop"}
    if step is not None and step.status == "done":
        body |= {"strategy": context.strategy, "summary": path, "size": cut.summary}
    return body if cut.shrink is None else body | {"shrink": cut.shrink}


def _summed_up(decider: Decider, act: Act, talk: Talk, context: ContextDef, cut: Cut) -> bool:
    """Whether there is a summary, or will be none: where it fails, what goes is left out without one."""
    if context.strategy == "drop" or cut.at == 1:
        return True
    path = f"{act.path}/compact{talk.conversation.turn + 1}"
    step = act.state.steps.get(path)
    if step is not None and step.ended:
        return True
    node = Node(name="", id=f"{act.node.id}/compact", kind="summary", config=act.node.config, retry=talk.turn.retry)
    child = talk.children[path] = decider.child(act, node, path, role="summary")
    child.data = _asked(decider, act, talk, context, cut)
    return False


def _asked(decider: Decider, act: Act, talk: Talk, context: ContextDef, cut: Cut) -> Talk:
    """The request for a summary, as a conversation of its own."""
    model = context.model or cast("AgentConfig", act.node.config).agent.model
    models, size = choices_of(decider, act, model, system=SUMMARY_SYSTEM, offers=(), output=None)
    room = bound_of(context, size) - 1_024
    conversation = Conversation()
    conversation.add_user(clipped(transcript(talk.conversation.messages[1 : cut.at]), max(room, 1_024)))
    return replace(
        talk,
        conversation=conversation,
        models=models,
        system=SUMMARY_SYSTEM,
        prompt=conversation.last,
        offers={},
        output=None,
        frame_size=size,
        answered=[],
        children={},
        context=None,
        hooks=(),
    )
