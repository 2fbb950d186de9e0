"""``list_tools``: what an MCP server has to offer, asked once for each step that needs to know, and recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from orchestrator.agents.servers import effect_is_known, one_tool
from orchestrator.engine.activation import Intent, item_path
from orchestrator.engine.steps.effect import Effects
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import CallConfig, Node, Retry
from orchestrator.jsonish import hash_of

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import AgentDef, ToolDef

# A list changes nothing and costs nothing: a server that is away for a moment is asked again.
RETRY = Retry(attempts=Const(3), on=("unavailable",))


class Listing(Effects):
    """Asking a server for its tools."""

    def intent(self, decider: Decider, act: Act) -> Intent:
        config = cast("CallConfig", act.node.config)
        tool = config.tool
        request: dict[str, Any] = {
            key: decider.render(act, value, f"{tool.name}.{key}") for key, value in tool.config.items()
        }
        request |= {"list": True, "tools": cast("Const", config.args).value}
        if tool.dir is not None:
            request["dir"] = decider.render(act, tool.dir, "dir")
        return Intent(
            act=act,
            kind="builtin",
            attempt=1,
            logical=1,
            hash=hash_of({"kind": tool.kind, "request": request}),
            effect="read",
            request=request,
            timeout=decider.timeout(act, tool.timeout),
            tool=tool.name,
        )


def list_path(path: str, tool: ToolDef, names: tuple[str, ...] = ()) -> str:
    """Where a step records the list of a server, or of these tools of it."""
    return item_path(f"{path}/@tools", ",".join(f"{tool.name}.{name}" for name in names) or tool.name)


def list_node(owner: Node, tool: ToolDef, names: tuple[str, ...] = ()) -> Node:
    """The node of a list: of these tools, else of all that the file does not exclude."""
    wanted = names or (None if tool.server is None else tool.server.tools)
    config = CallConfig(tool=tool, args=Const(None if wanted is None else list(wanted)))
    return Node(
        name="", id=f"{owner.id}/@tools:{tool.name}", kind="list_tools", config=config, retry=owner.retry or RETRY
    )


def servers_of(agent: AgentDef) -> tuple[tuple[ToolDef, tuple[str, ...]], ...]:
    """The tools of an agent that stand for servers, each with the names of those that it has; none: all."""
    return tuple((tool, agent.operations.get(tool.name, ())) for tool in agent.tools if tool.server is not None)


def lists_of(act: Act, agent: AgentDef) -> dict[str, dict[str, Any]]:
    """The lists that an agent step has recorded, by the tool's name."""
    return {tool.name: act.state.steps[list_path(act.path, tool, names)].output for tool, names in servers_of(agent)}


def list_problem(act: Act, tool: ToolDef, names: tuple[str, ...] = ()) -> dict[str, Any] | None:
    """Why a list that has ended cannot be used, as a failure of the step that asked: code, message, step and more."""
    path = list_path(act.path, tool, names)
    step = act.state.steps.get(path)
    if step is not None and step.status == "done":
        return None
    error = (None if step is None else step.error) or {"code": "cancelled", "message": "this was cancelled"}
    more = {key: error[key] for key in ("status", "detail") if key in error}
    return {"code": error["code"], "message": f"the tools of `{tool.name}`: {error['message']}", "step": path, **more}


def resolve(decider: Decider, act: Act) -> bool:
    """Make the node of a tool step one of a single tool of its server. False where a list has to come first
    (``act.data`` is what asks for it), or has failed, and the step with it.
    """
    config = cast("CallConfig", act.node.config)
    tool, name = config.tool, config.operation or ""
    if tool.server is None:
        return True
    listed: dict[str, Any] | None = None
    if not effect_is_known(tool, name):
        path = list_path(act.path, tool, (name,))
        step = decider.state.steps.get(path)
        if step is None or not step.ended:
            act.data = act.data or decider.child(act, list_node(act.node, tool, (name,)), path, role="list")
            return False
        problem = list_problem(act, tool, (name,))
        if problem is not None:
            decider.fail(act, problem.pop("code"), problem.pop("message"), **problem)
            return False
        listed = cast("dict[str, Any]", step.output)
    act.node = replace(act.node, config=replace(config, tool=one_tool(tool, name, listed)))
    return True
