"""``tool``, ``run`` and ``python`` steps, and the tool calls of agents: one effect each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast

from orchestrator.agents.compaction import transcript
from orchestrator.agents.conversation import as_text
from orchestrator.engine.activation import Intent, Phase
from orchestrator.engine.steps.common import Base, Wrong
from orchestrator.graph.nodes import CallConfig, Node
from orchestrator.ids import idempotency_key
from orchestrator.jsonish import hash_of
from orchestrator.spec.types import check_value

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.expr.values import Const
    from orchestrator.graph.nodes import ToolDef
    from orchestrator.journal.state import StepState


class Effects(Base, ABC):
    """What all kinds with an effect share: attempts, and what to do where one is in doubt."""

    @abstractmethod
    def intent(self, decider: Decider, act: Act) -> Intent:
        """The effect, evaluated. May raise Skip, Wrong or EvalError."""

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        if step is None or step.status == "new":
            self.permit(decider, act, step)
        elif step.open:
            return
        elif step.retry_at is not None:
            self.permit(decider, act, step, not_before=step.retry_at)
        else:
            self.doubt(decider, act, step)

    def permit(self, decider: Decider, act: Act, step: StepState | None, *, not_before: int = 0) -> None:
        intent = self.intent(decider, act)
        intent.not_before = not_before
        if step is not None:
            intent.attempt = step.attempt + 1
            intent.logical = step.logical
        if intent.effect != "read":
            intent.key = idempotency_key(decider.run.run_id, act.path, intent.logical)
        decider.permit(intent)

    def doubt(self, decider: Decider, act: Act, step: StepState) -> None:
        """The last attempt's end is not known. Reads and keyed calls are sent again; nothing else ever is, unasked."""
        self.permit(decider, act, step)

    def stop(self, decider: Decider, act: Act) -> None:
        decider.permitted.pop(act.path, None)


class Call(Effects):
    """A call of a tool."""

    def intent(self, decider: Decider, act: Act) -> Intent:
        config = cast("CallConfig", act.node.config)
        tool = config.tool
        args = _args(decider, act, config)
        env = {**act.scope.env, "args": _with_nulls(args, tool)}
        request: dict[str, Any] = {
            key: decider.render(act, value, f"{tool.name}.{key}", env=env) for key, value in tool.config.items()
        }
        request["args"] = args if tool.kind in ("python", "files") else request.get("args")
        if config.operation is not None:
            request["operation"] = config.operation
        folder = act.node.dir or tool.dir
        if folder is not None:
            request["dir"] = decider.render(act, folder, "dir", env=env)
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
            tool=tool.name,
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


def _args(decider: Decider, act: Act, config: CallConfig) -> dict[str, Any]:
    """The caller's arguments, checked against the tool's input, then overlaid by its fixed ones."""
    args: Any = {} if config.args is None else decider.render(act, config.args, "with")
    tool = config.tool
    args = _with_defaults(args, tool)
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
