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
    from orchestrator.journal.state import StepState

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


def list_path(path: str, tool: ToolDef) -> str:
    """Where a step records the list of a server."""
    return item_path(f"{path}/@tools", tool.name)


def list_node(owner: Node, tool: ToolDef, names: tuple[str, ...] | None) -> Node:
    """The node of a list. ``names``: the tools that are used, None for all that the file does not exclude."""
    wanted = names or (None if tool.server is None else tool.server.tools)
    config = CallConfig(tool=tool, args=Const(None if wanted is None else list(wanted)))
    return Node(
        name="", id=f"{owner.id}/@tools:{tool.name}", kind="list_tools", config=config, retry=owner.retry or RETRY
    )


def servers_of(agent: AgentDef) -> tuple[ToolDef, ...]:
    """The tools of an agent that stand for servers."""
    return tuple(tool for tool in agent.tools if tool.server is not None)


def lists_of(decider: Decider, act: Act, agent: AgentDef) -> dict[str, dict[str, Any]]:
    """The lists that an agent step has recorded, by the tool's name."""
    found: dict[str, dict[str, Any]] = {}
    for tool in servers_of(agent):
        step = decider.state.steps.get(list_path(act.path, tool))
        if step is not None and step.status == "done":
            found[tool.name] = step.output
    return found


def resolve(decider: Decider, act: Act) -> Act | None:
    """Make the node of a tool step one of a single tool of its server; the list that has to come first, where there is
    one. A list that failed fails the step.
    """
    config = cast("CallConfig", act.node.config)
    tool, name = config.tool, config.operation or ""
    if tool.server is None:
        return None
    listed: dict[str, Any] | None = None
    if not effect_is_known(tool, name):
        path = list_path(act.path, tool)
        step = decider.state.steps.get(path)
        if step is None or not step.ended:
            return decider.acts.get(path) or decider.child(act, list_node(act.node, tool, (name,)), path, role="list")
        if step.status != "done":
            fail_like_list(decider, act, tool, step)
            return decider.acts[path]
        listed = step.output
    act.node = replace(act.node, config=replace(config, tool=one_tool(tool, name, listed)))
    return None


def fail_like_list(decider: Decider, act: Act, tool: ToolDef, step: StepState) -> None:
    """Fail a step as the list of its server did."""
    error = step.error or {"code": "cancelled", "message": "it was cancelled"}
    more = {key: error.get(key) for key in ("status", "detail")}
    decider.fail(act, error["code"], f"the tools of `{tool.name}`: {error['message']}", step=step.path, **more)
