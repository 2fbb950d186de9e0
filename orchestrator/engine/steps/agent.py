"""``agent``: turns and tool calls, each an effect of its own, until the agent's end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, assert_never, cast

from orchestrator.agents.attachments import Unfit
from orchestrator.agents.conversation import Conversation, as_text, preview
from orchestrator.agents.servers import with_servers
from orchestrator.agents.topology import returned
from orchestrator.agents.turns import LAST, CallModel, CallTools, Finish, Stop, next_turn, offers_of
from orchestrator.engine.activation import Intent, Phase
from orchestrator.engine.budgets import is_last, limited, nesting, told, too_deep
from orchestrator.engine.steps.agent_calls import call_node
from orchestrator.engine.steps.choices import choices_of
from orchestrator.engine.steps.common import Base, Wrong
from orchestrator.engine.steps.effect import Effects
from orchestrator.engine.steps.hook import changed, next_hook
from orchestrator.engine.steps.listing import list_node, list_path, list_problem, lists_of, servers_of
from orchestrator.engine.steps.passing import Control
from orchestrator.engine.steps.reach import ROOTED, agent_of, reaching
from orchestrator.engine.steps.shorten import Shorten, has_room
from orchestrator.expr import EvalError
from orchestrator.expr.values import Const
from orchestrator.frozen import field, frozen, slotted
from orchestrator.graph.nodes import AgentConfig, Node, Retry
from orchestrator.ids import digest_text
from orchestrator.jsonish import canonical, hash_of

if TYPE_CHECKING:
    from orchestrator.agents.conversation import ToolCall
    from orchestrator.agents.turns import Action, Offer
    from orchestrator.engine.activation import Act, Choice
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import AgentDef, ContextDef, HooksDef, Schema, ToolDef
    from orchestrator.journal.state import StepState

# What a provider says of itself being busy costs nothing and changes nothing: without a `retry` of its own, an agent
# step sends such a model call again twice.
MODEL_RETRY = Retry(attempts=Const(3), on=("rate_limit", "unavailable"))


@slotted
class Talk:
    """What an agent step keeps while it is open. ``children`` are the turn or the tool calls under way, by path;
    ``heard`` counts the messages from outside that the conversation has; ``answered`` says of each reply which of the
    models gave it; ``asking``: it has all that the next turn is to answer; ``shortened`` is the last turn before which
    something was left out."""

    conversation: Conversation
    models: tuple[Choice, ...]
    system: str
    prompt: str
    offers: dict[str, Offer]
    output: Schema | None
    turns: int
    frame_size: int
    turn: Node
    children: dict[str, Act] = field(default_factory=dict[str, Any])
    calls: tuple[ToolCall, ...] = ()
    begun: int = 0
    heard: int = 0
    answered: list[int] = field(default_factory=list[int])
    context: ContextDef | None = None
    hooks: tuple[HooksDef | None, ...] = ()
    asking: bool = False
    shortened: int = 0
    wants: Action | Shorten | None = None
    last: bool = False
    servers: tuple[tuple[ToolDef, tuple[str, ...]], ...] = ()
    control: Control = field(default_factory=Control)

    @property
    def handoffs(self) -> int:
        """How many handoffs led to the agent in control."""
        return self.control.depth


DEEPEST = 64
"""Agents that may stand in each other, whatever the budgets say: paths grow with them."""

RESULT_CHARS = 64 * 1024
"""Characters of what a model reads at once of a result that came uncut: a delegate's, or a plan's."""


class Agent(Base):
    """Nothing is recorded of the agent itself but its end: its turns and tool calls are the records."""

    timed: ClassVar[bool] = True

    def descends(self, step: StepState | None) -> bool:
        del step
        return True

    def begin(self, decider: Decider, act: Act, step: StepState | None) -> None:
        del step
        refuse_too_deep(act)
        prompt, files = decider.render_prompt(act, cast("AgentConfig", act.node.config).prompt, "prompt")
        conversation = Conversation()
        try:
            conversation.add_user(prompt, files)
        except Unfit as error:
            raise Wrong("invalid_input", error.problem) from None
        act.data = begun(decider, act, conversation, prompt)

    def progress(self, decider: Decider, act: Act, step: StepState | None) -> None:
        """Go on as far as the records go; an end is decided later."""
        del step
        talk = cast("Talk", act.data)
        if talk.children or talk.wants is not None:
            return
        if talk.servers:
            self._list_tools(decider, act, talk)
            return
        if talk.asking:
            self._ask(decider, act, talk)
            return
        action = next_turn(
            conversation=talk.conversation, output=talk.output, turns=talk.turns, since=talk.control.since
        )
        if isinstance(action, Finish) and _turns_left(talk) and _unheard(act, talk):
            # Somebody had more to say before it came to its end.
            action = CallModel()
        if isinstance(action, Finish) and talk.control.held:
            self._hand_back(decider, act, talk, as_text(action.output))
            return
        if isinstance(action, CallTools) and talk.last:
            action = Stop("limited", "the budget ended, and the model asked for tools instead of an answer")
        match action:
            case CallModel():
                if action.repair is not None:
                    talk.conversation.repairs += 1
                    talk.conversation.add_user(action.repair)
                for text in _unheard(act, talk):
                    talk.heard += 1
                    talk.conversation.add_user(text)
                talk.asking = True
                self._ask(decider, act, talk)
            case CallTools():
                talk.calls, talk.begun = action.calls, 0
                self._call_tools(decider, act, talk)
            case Finish() | Stop():
                talk.wants = action
                decider.look_later(act)
            case _:
                assert_never(action)

    def _list_tools(self, decider: Decider, act: Act, talk: Talk) -> None:
        """Ask the servers what they have to offer: the first turn waits for that."""
        for tool, names in talk.servers:
            path = list_path(act.path, tool, names)
            talk.children[path] = decider.child(act, list_node(act.node, tool, names), path, role="list")

    def _listed(self, decider: Decider, act: Act, talk: Talk) -> None:
        """All lists have ended: what is offered is known now."""
        agent = agent_of(act)
        for tool, names in talk.servers:
            problem = list_problem(act, tool, names)
            if problem is not None:
                talk.wants = Stop(problem.pop("code"), problem.pop("message"), problem)
                decider.look_later(act)
                return
        talk.offers = with_servers(talk.offers, agent, lists_of(act, agent))
        talk.models, talk.frame_size = choices_of(
            decider, act, agent.model, system=talk.system, offers=talk.offers.values(), output=talk.output
        )
        talk.servers = ()
        decider.look_again(act)

    def _ask(self, decider: Decider, act: Act, talk: Talk) -> None:
        """Have the next turn begin, once what it is asked fits, and all hooks have seen it."""
        if has_room(decider, act, talk) and self._hooked(decider, act, talk):
            talk.asking = False
            self._call_model(decider, act, talk)

    def _hooked(self, decider: Decider, act: Act, talk: Talk) -> bool:
        path = f"{act.path}/turn{talk.conversation.turn + 1}"
        try:
            hook = next_hook(decider, act, path, "before_model", lambda: _event(act, talk, path))
        except Wrong as wrong:
            talk.wants = Stop(wrong.code, wrong.message)
            decider.look_later(act)
            return False
        if hook is not None:
            talk.children[hook[1]] = decider.child(act, *hook, role="hook")
        return hook is None

    def _call_model(self, decider: Decider, act: Act, talk: Talk) -> None:
        path = f"{act.path}/turn{talk.conversation.turn + 1}"
        talk.children[path] = decider.child(act, talk.turn, path, role="turn")

    def _call_tools(self, decider: Decider, act: Act, talk: Talk) -> None:
        """Begin the calls of the last reply: all, or one at a time."""
        parallel = cast("AgentConfig", act.node.config).agent.parallel_tools
        while talk.begun < len(talk.calls) and (parallel or not talk.children):
            call = talk.calls[talk.begun]
            path = f"{act.path}/turn{talk.conversation.turn}/tool{talk.begun}"
            talk.begun += 1
            node = reaching(decider, act, call_node(act.node, call, talk.offers.get(call.name)), call)
            turn = act.state.steps[f"{act.path}/turn{talk.conversation.turn}"]
            scope = decider.scope if node.kind in ROOTED else None
            talk.children[path] = decider.child(act, node, path, role="tool", scope=scope, ready_at=turn.ended_at)

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        del step
        talk = cast("Talk", act.data)
        wants = talk.wants
        if isinstance(wants, Finish):
            decider.finish(act, wants.output)
        elif isinstance(wants, Stop):
            decider.fail(act, wants.code, wants.message, **wants.more)
        elif isinstance(wants, Shorten):
            talk.wants = None
            decider.emit("compacted", act, wants.body)
        else:
            decider.look_again(act)

    def child_ended(self, decider: Decider, act: Act, child: Act) -> None:
        talk = cast("Talk", act.data)
        talk.children.pop(child.path, None)
        if act.stop is not None:
            return
        if child.role == "turn":
            self._turn_ended(decider, act, talk, child)
            return
        if child.role in ("summary", "hook"):
            decider.look_again(act)
            return
        if child.role == "list":
            if not talk.children:
                self._listed(decider, act, talk)
            return
        self._call_tools(decider, act, talk)
        if not talk.children:
            turn = talk.conversation.turn
            talk.conversation.add_results(
                [self._result(act, turn, index, call) for index, call in enumerate(talk.calls)]
            )
            self._hand_over(decider, act, talk)
            decider.look_again(act)

    def _hand_over(self, decider: Decider, act: Act, talk: Talk) -> None:
        """Pass control on, if a call of the last reply did."""
        index, turn = talk.control.handoff, talk.conversation.turn
        step = act.state.steps.get(f"{act.path}/turn{turn}/tool{index}")
        if index is None or step is None or step.status != "done":
            talk.control.handoff = None
            return
        own, name = agent_of(act), talk.calls[index].args["to"]
        control, answered = talk.control.passed(
            own, turn=turn, answered=talk.answered, returns=own.handoffs[name].returns
        )
        self._give(decider, act, decider.graph.agents[name], control, answered)

    def _hand_back(self, decider: Decider, act: Act, talk: Talk, said: str) -> None:
        """Control comes back to the agent that lent it."""
        talk.conversation.go_on(returned(agent_of(act).name, said))
        self._give(decider, act, *talk.control.back(turn=talk.conversation.turn, answered=talk.answered))
        decider.look_again(act)

    def _give(self, decider: Decider, act: Act, agent: AgentDef, control: Control, answered: list[int]) -> None:
        """Have another agent go on with the conversation."""
        before = cast("Talk", act.data)
        act.node = replace(act.node, config=replace(cast("AgentConfig", act.node.config), agent=agent))
        try:
            act.data = begun(decider, act, before.conversation, before.prompt, control=control)
        except (Wrong, EvalError) as error:
            before.wants = Stop(error.code, error.message)
            decider.look_later(act)
            return
        act.data.heard, act.data.shortened, act.data.last = before.heard, before.shortened, before.last
        act.data.answered = answered
        before.conversation.repairs = 0

    def _turn_ended(self, decider: Decider, act: Act, talk: Talk, child: Act) -> None:
        step = child.recorded
        if step is not None and step.status == "done":
            talk.last = step.last
            if step.last:
                talk.conversation.add_user(LAST)
            talk.conversation.add_reply(step.reply or {"content": [], "stop": "end_turn"})
            talk.answered.append(step.model)
            decider.look_again(act)
            return
        error = (step.error if step is not None else None) or {"code": "failed", "message": "the model call failed"}
        if step is not None and (step.limit or {}).get("needed") and talk.control.held:
            # No budget has room for its turn: who lent control reads that.
            talk.conversation.turn += 1
            self._hand_back(decider, act, talk, f"{error['code']}: {error['message']}")
            return
        more = {"step": child.path, "status": error.get("status"), "detail": error.get("detail")}
        talk.wants = Stop(error["code"], error["message"], more)
        decider.look_later(act)

    def _result(self, act: Act, turn: int, index: int, call: ToolCall) -> tuple[str, Any, bool]:
        """A tool's result, as it goes back to the model."""
        name = f"turn{turn}/tool{index}"
        step = act.state.steps.get(f"{act.path}/{name}")
        if step is not None and step.status == "done":
            output = step.output
            if step.overflow is not None:
                output = preview(output, size=step.output_size, result_id=name)
            elif len(text := as_text(output)) > RESULT_CHARS:
                output = preview(text[:RESULT_CHARS], size=len(text), result_id=name)
            return call.id, output, False
        error = (step.error if step is not None else None) or {"code": "cancelled", "message": "the call was cancelled"}
        said = f"{error.get('code')}: {error.get('message')}"
        detail = error.get("detail")
        inner = {} if error.get("step") is None else {"step": error["step"]}
        inner |= {} if detail is None else {"detail": detail}
        return call.id, {"error": said, **inner} if inner else said, True

    def stop(self, decider: Decider, act: Act) -> None:
        if isinstance(act.data, Talk):
            for child in list(act.data.children.values()):
                decider.stop(child, {})

    def live(self, act: Act) -> list[Act]:
        return list(act.data.children.values()) if isinstance(act.data, Talk) else []

    def busy(self, act: Act) -> bool:
        return isinstance(act.data, Talk) and any(
            child.phase is not Phase.ENDED for child in act.data.children.values()
        )


def begun(
    decider: Decider, act: Act, conversation: Conversation, prompt: str, *, control: Control | None = None
) -> Talk:
    """A talk of the agent that has control. Raises Wrong or EvalError where a field of it has no value."""
    config, agent = cast("AgentConfig", act.node.config), agent_of(act)
    control = control or Control()
    system = "" if agent.instructions is None else str(decider.render(act, agent.instructions, "instructions"))
    offers = offers_of(agent, decider.graph.agents, reading=control.since > 0)
    # What the step wants is wanted of the last agent, not of one that gives control back.
    output = agent.output if control.held else act.node.output or agent.output
    models, size = choices_of(decider, act, agent.model, system=system, offers=offers.values(), output=output)
    return Talk(
        conversation=conversation,
        models=models,
        system=system,
        prompt=prompt,
        offers=offers,
        output=output,
        turns=decider.limit(act, agent.turns, "turns"),
        frame_size=size,
        context=agent.context,
        hooks=(agent.hooks, decider.graph.hooks),
        servers=servers_of(agent),
        turn=Node(name="", id=f"{act.node.id}/turn", kind="turn", config=config, retry=act.node.retry or MODEL_RETRY),
        control=control,
    )


def _event(act: Act, talk: Talk, path: str) -> dict[str, Any]:
    """What a hook sees of a model call."""
    name = cast("AgentConfig", act.node.config).agent.name
    request = {
        "system": talk.system,
        "messages": talk.conversation.messages,
        "tools": list(talk.offers),
        "model": talk.models[0].name,
    }
    return {"agent": name, "path": path, "request": request}


@frozen
class Asked:
    """What a model call sends: ``size`` in bytes with what goes beside the messages, ``digest`` the messages' hash."""

    system: str
    messages: list[dict[str, Any]]
    size: int
    digest: str


def asked_of(decider: Decider, act: Act) -> Asked:
    """The conversation that a model call is about, as the hooks have left it."""
    talk = talk_of(act)
    talked = talk.conversation
    plain = Asked(talk.system, talked.messages, talked.size + talk.frame_size, talked.digest)
    if act.kind == "summary" or not any(talk.hooks):
        return plain
    found = changed(decider, cast("Act", act.owner), act.path, "before_model")
    if not found:
        return plain
    system, messages = found.get("request.system", talk.system), found.get("request.messages", talked.messages)
    size = len(canonical([system, messages])) + talk.frame_size
    return Asked(system, messages, size, digest_text(f"{talked.digest}\0{hash_of(found)}"))


def talk_of(act: Act) -> Talk:
    """What a model call is about: the agent's conversation, or the one that asks for its summary."""
    return cast("Talk", act.data if act.kind == "summary" else cast("Act", act.owner).data)


def reading_turn(act: Act | None) -> int | None:
    """The turn of an agent that reads what is said to it now: the next one to begin; None where there is none."""
    if act is None or act.kind == "summary" or not isinstance(act.data, Talk) or act.stop is not None:
        return None
    asked = any(child.role not in ("tool", "list") for child in act.data.children.values())
    return act.data.conversation.turn + (2 if asked else 1)


def _turns_left(talk: Talk) -> bool:
    return talk.conversation.turn - talk.control.since < talk.turns


def _unheard(act: Act, talk: Talk) -> list[str]:
    """The messages from outside that the next turn is the one to read."""
    sent = act.state.messages.get(act.path, ())[talk.heard :]
    return [text for turn, text in sent if turn <= talk.conversation.turn + 1]


class Turn(Effects):
    """One model call. It is at least once: no key reaches the wire, and a lost one may have been billed."""

    def intent(self, decider: Decider, act: Act) -> Intent:
        talk = talk_of(act)
        step = act.recorded
        model = talk.models[0 if step is None else step.model]
        asked, last = asked_of(decider, act).digest, act.kind == "turn" and is_last(decider.state, act.account)
        return Intent(
            act=act,
            kind="model",
            attempt=1,
            logical=1,
            hash=digest_text(f"{model.frame}\0{asked}" + ("\0last" if last else "")),
            effect="read",
            timeout=model.settings.get("timeout"),
            model=model,
            last=last,
        )


def refuse_too_deep(act: Act) -> None:
    """An agent that stands deeper in others than a budget around it lets it. Raises Wrong."""
    level = nesting(act)
    if level > DEEPEST:
        raise Wrong("too_deep", f"agents stand at most {DEEPEST} deep in each other")
    found = too_deep(act.account, level)
    if found is not None:
        error = limited(told(found, step=act.path))
        raise Wrong(error["code"], error["message"], detail=error["detail"])
