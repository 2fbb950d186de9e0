"""``tool``, ``run`` and ``python`` steps, and the tool calls of agents: one effect each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from orchestrator.agents.compaction import transcript
from orchestrator.agents.conversation import as_text
from orchestrator.engine import permissions
from orchestrator.engine.activation import Intent, Phase
from orchestrator.engine.steps.common import Base, Wrong
from orchestrator.engine.steps.effect import Effects
from orchestrator.engine.steps.hook import changed, next_hook
from orchestrator.engine.steps.listing import resolve
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import AgentConfig, CallConfig, Node
from orchestrator.journal.records import Draft
from orchestrator.jsonish import hash_of
from orchestrator.spec.values import check_value

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import ToolDef
    from orchestrator.journal.state import StepState


class Call(Effects):
    """A call of a tool. ``act.data`` is what it waits for: a hook, or the tool that reconciles."""

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        if not resolve(decider, act):
            return
        if (step is None or step.status == "new") and not self._ready(decider, act):
            return
        if step is not None and permissions.pending(step):
            self.permit(decider, act, step, not_before=step.retry_at or 0)
            return
        super().decide(decider, act, step)

    def permit(self, decider: Decider, act: Act, step: StepState | None, *, not_before: int = 0) -> None:
        """Permit it if the policy does; else it has failed, or waits for a person."""
        if not permissions.guarded(cast("CallConfig", act.node.config).tool) or self._cleared(decider, act, step):
            super().permit(decider, act, step, not_before=not_before)

    def _cleared(self, decider: Decider, act: Act, step: StepState | None) -> bool:
        config = cast("CallConfig", act.node.config)
        args = _args(decider, act, config)
        verdict = permissions.judge(decider, act, config, _with_nulls(args, config.tool))
        if verdict.kind == "ask":
            return self._approved(decider, act, step, args)
        decider.timers.pop(act.path, None)
        if verdict.kind == "deny":
            decider.fail(act, "denied", verdict.why)
        return verdict.kind == "allow"

    def _approved(self, decider: Decider, act: Act, step: StepState | None, args: dict[str, Any]) -> bool:
        """Whether a person has approved this very call; asks where nobody has said anything of it."""
        config = cast("CallConfig", act.node.config)
        name = permissions.name_of(config)
        intent = self.intent(decider, act)
        intent.attempt = 1 if step is None else step.attempt + 1
        request = permissions.request_of(config, intent, args)
        answer = None if step is None else step.answered
        if decider.state.approve == "never":
            decider.fail(act, "denied", f"`{name}` needs an approval, and this run asks nobody")
        elif answer is None or answer["request"] != request:
            self._ask(decider, act, step, permissions.question(config, intent, args, request))
        elif answer["choice"] == "approve":
            decider.timers.pop(act.path, None)
            decider.tell_owner(act, waits=False)
            return True
        else:
            decider.fail(act, "denied", permissions.refusal(name, answer))
        return False

    def _ask(self, decider: Decider, act: Act, step: StepState | None, question: dict[str, Any]) -> None:
        """Put the question to whoever may answer it, once; it ends with the step's timeout."""
        if step is None or step.asked is None or step.waiting is None or step.asked["request"] != question["request"]:
            decider.record(Draft("waiting", act.path, question))
        decider.wait_for_answer(act)

    def _ready(self, decider: Decider, act: Act) -> bool:
        """Whether all hooks have seen the call, and none of them has given its result."""
        if act.data is not None and act.data.phase is not Phase.ENDED:
            return False
        act.data = None
        hook = next_hook(decider, act, act.path, "before_tool", lambda: _event(decider, act))
        if hook is not None:
            act.data = decider.child(act, *hook, role="hook")
            return False
        found = changed(decider, act, act.path, "before_tool")
        if "result" not in found:
            return True
        decider.finish(act, found["result"], by="hook")
        return False

    def intent(self, decider: Decider, act: Act) -> Intent:
        config = cast("CallConfig", act.node.config)
        tool = config.tool
        args = _args(decider, act, config)
        request, env = _request(decider, act, tool, args)
        request["args"] = args if tool.kind in ("python", "files", "mcp") else request.get("args")
        if config.operation is not None:
            request["operation"] = config.operation
        if bounds := permissions.bounds(config, args):
            request["bounds"] = bounds
        # A server outlasts the step that calls it: its folder is its own.
        folder = tool.dir if tool.kind == "mcp" else act.node.dir or tool.dir
        if folder is not None:
            request["dir"] = decider.render(act, folder, "dir", env=env or _env(act, tool, args))
        timeout = decider.timeout(act, act.node.timeout)
        own = decider.timeout(act, tool.timeout)
        return Intent(
            act=act,
            kind="tool",
            attempt=1,
            logical=1,
            hash=hash_of({"kind": tool.kind, "request": request}),
            effect=effect_of(config),
            request=request,
            timeout=min((t for t in (timeout, own) if t is not None), default=None),
            tool=permissions.name_of(config) if tool.kind == "mcp" else tool.name,
        )

    def doubt(self, decider: Decider, act: Act, step: StepState) -> None:
        config = cast("CallConfig", act.node.config)
        if effect_of(config) != "write":
            self.permit(decider, act, step)
            return
        if step.resolved is not None:
            decider.tell_owner(act, waits=False)
            _resolve(self, decider, act, step)
            return
        match config.tool.on_doubt.mode:
            case "retry":
                self.permit(decider, act, step)
            case "fail":
                decider.fail(act, "in_doubt", _IN_DOUBT)
            case "reconcile" if act.data is None:
                act.data = _reconcile(decider, act, config.tool)
            case "reconcile" if act.data.phase is not Phase.ENDED:
                return
            case "reconcile" if act.data.recorded is not None and act.data.recorded.status == "done":
                self._told(decider, act, step, act.data.recorded.output)
            case _:
                decider.wait(act, step)

    def _told(self, decider: Decider, act: Act, step: StepState, output: Any) -> None:
        """The reconciling tool has told: null, it did not happen; anything else is the result."""
        act.data = None
        if output is None:
            self.permit(decider, act, step)
        else:
            decider.emit("done", act, {"attempt": step.attempt, "output": output, "by": "reconcile"})

    def stop(self, decider: Decider, act: Act) -> None:
        super().stop(decider, act)
        if act.data is not None:
            decider.stop(act.data, {})

    def live(self, act: Act) -> list[Act]:
        return [] if act.data is None else [act.data]

    def busy(self, act: Act) -> bool:
        return act.data is not None and act.data.phase is not Phase.ENDED


_IN_DOUBT = "the driver ended while the effect was under way; whether it happened is not known"


def _resolve(kind: Effects, decider: Decider, act: Act, step: StepState) -> None:
    """What a person, or the reconciling tool, said."""
    said = step.resolved or {}
    if "result" in said:
        decider.emit("done", act, {"attempt": step.attempt, "output": said["result"], "by": "resolve"})
    elif said.get("retry"):
        kind.permit(decider, act, step)
    else:
        decider.fail(act, "in_doubt", _IN_DOUBT)


def effect_of(config: CallConfig) -> Any:
    """What a second call would do."""
    if config.operation is not None:
        return config.tool.operations.get(config.operation, config.tool.effect)
    return config.tool.effect


def _request(
    decider: Decider, act: Act, tool: ToolDef, args: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What the tool's own text asks for with these arguments, and what it may refer to, where it refers to anything."""
    request: dict[str, Any] = {}
    env: dict[str, Any] | None = None
    for key, value in tool.config.items():
        if isinstance(value, Const):
            request[key] = value.value
        else:
            env = env or _env(act, tool, args)
            request[key] = decider.render(act, value, f"{tool.name}.{key}", env=env)
    return request, env


def _env(act: Act, tool: ToolDef, args: dict[str, Any]) -> dict[str, Any]:
    return {**act.scope.env, "args": _with_nulls(args, tool)}


def _args(decider: Decider, act: Act, config: CallConfig) -> dict[str, Any]:
    """The caller's arguments, checked against the tool's input, then overlaid by its fixed ones."""
    args: Any = {} if config.args is None else decider.render(act, config.args, "with")
    tool = config.tool
    args = _with_defaults(args, tool)
    args = changed(decider, act, act.path, "before_tool").get("args", args)
    problems = check_value(tool.input, args) if tool.input is not None else []
    if problems:
        raise Wrong(
            "invalid_input",
            f"the arguments do not fit the tool's input: {problems[0]}",
            detail={"problems": problems[:20]},
        )
    if tool.fixed is not None:
        args = {**args, **decider.render(act, tool.fixed, "with", env={**act.scope.env, "args": args})}
    return args


def _event(decider: Decider, act: Act) -> dict[str, Any]:
    """What a hook sees of a call."""
    config = cast("CallConfig", act.node.config)
    name = config.tool.name if config.operation is None else f"{config.tool.name}.{config.operation}"
    event: dict[str, Any] = {"path": act.path, "tool": name, "args": _args(decider, act, config), "result": None}
    return {"agent": agent_name(act), **event}


def agent_name(act: Act) -> str | None:
    """The name of the agent that makes a call; None for a step."""
    return cast("AgentConfig", cast("Act", act.owner).node.config).agent.name if act.role == "tool" else None


def _with_defaults(args: dict[str, Any], tool: ToolDef) -> dict[str, Any]:
    properties: dict[str, Any] = {} if tool.input is None else tool.input.get("properties", {})
    return {name: schema["default"] for name, schema in properties.items() if "default" in schema} | args


def _with_nulls(args: dict[str, Any], tool: ToolDef) -> dict[str, Any]:
    """An omitted optional argument is null where the tool's own text refers to it."""
    if tool.input is None:
        return args
    names: dict[str, Any] = tool.input.get("properties", {})
    return dict.fromkeys(names) | args


def _reconcile(decider: Decider, act: Act, tool: ToolDef) -> Act | None:
    """Ask the tool that can tell; it sees the arguments of the call in doubt."""
    teller = cast("ToolDef", tool.on_doubt.tool)
    config = cast("CallConfig", act.node.config)
    node = Node(
        name="",
        id=f"{act.node.id}/@reconcile",
        kind="tool",
        config=CallConfig(tool=teller, args=tool.on_doubt.args or config.args),
        output=None,
    )
    step = act.recorded
    path = f"{act.path}/@reconcile{step.attempt if step else 1}"
    return decider.child(act, node, path, role="reconcile", ready_at=act.ready_at)


class BadCall(Base):
    """A call that a model got wrong: an unknown tool, or arguments of another shape."""

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        del step
        config = cast("CallConfig", act.node.config)
        said = cast("Const", config.args).value
        decider.fail(act, said["code"], said["message"])


def left_out_of(act: Act, name: str) -> list[dict[str, Any]] | None:
    """The messages that were left out of the conversation of a call's agent under a name: ``context1`` and so on."""
    dropped: list[list[dict[str, Any]]] = cast("Any", act.owner).data.conversation.dropped
    number = name.removeprefix("context")
    index = int(number) if number.isdecimal() and number.isascii() and len(number) < 6 else 0
    return dropped[index - 1] if name != number and 0 < index <= len(dropped) else None


class ReadResult(Effects):
    """The rest of a result that was cut, and what was left out of a conversation."""

    def intent(self, decider: Decider, act: Act) -> Intent:
        config = cast("CallConfig", act.node.config)
        args = cast("Const", config.args).value
        wanted: str = args["id"]
        owner = act.path.rpartition("/turn")[0]
        source = decider.state.steps.get(f"{owner}/{wanted}")
        request = {"offset": args.get("offset", 0), "limit": args.get("limit", 0)}
        if source is not None and source.overflow is not None:
            request["blob"] = source.overflow
        elif source is not None and source.status == "done" and "/tool" in wanted:
            request["text"] = as_text(source.output)
        elif (dropped := left_out_of(act, wanted)) is not None:
            request["text"] = transcript(dropped)
        else:
            raise Wrong("invalid_input", f"no result {wanted!r} was cut")
        return Intent(
            act=act,
            kind="builtin",
            attempt=1,
            logical=1,
            hash=hash_of(request),
            effect="read",
            request=request,
            tool="read_result",
        )
