"""The nodes of what an agent's model calls: a tool, what is built in, or a call that fails before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.agents.messages import invalid_input
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import CallConfig, Node, ToolDef
from orchestrator.spec.values import check_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.agents.conversation import ToolCall
    from orchestrator.agents.turns import Offer


def call_node(owner: Node, call: ToolCall, offer: Offer | None) -> Node:
    """The node of a tool call: what a ``tool`` step would be, or a call that fails before it begins."""
    if offer is None:
        return bad_call(owner, call, "unknown_tool", f"there is no tool {call.name!r}")
    if (said := invalid_input(call.args)) is not None:
        return bad_call(owner, call, "invalid_input", f"the arguments are no JSON object: {said[:200]}")
    problems = check_value(offer.spec.schema, call.args)
    if problems:
        return bad_call(
            owner, call, "invalid_input", "the arguments do not fit the tool's input: " + "; ".join(problems[:5])
        )
    if offer.tool is None:
        return _BUILT_IN.get(offer.kind, _plain)(owner, call, offer)
    tool = offer.tool
    config = CallConfig(tool=tool, args=Const(call.args), operation=offer.operation)
    return Node(
        name="",
        id=f"{owner.id}/{call.name}",
        kind="tool",
        config=config,
        output=tool.output,
        lenient=True,
        dir=owner.dir,
    )


def _plain(owner: Node, call: ToolCall, offer: Offer) -> Node:
    """A call that is built in and needs nothing but its arguments, and what the agent's definition gives it."""
    given = {name: Const(value) for name, value in offer.given.items()}
    tool = ToolDef(name=offer.name or call.name, kind="builtin", effect="read", config=given)
    return Node(
        name="", id=f"{owner.id}/{call.name}", kind=offer.kind, config=CallConfig(tool=tool, args=Const(call.args))
    )


_BUILT_IN: dict[str, Callable[[Node, ToolCall, Offer], Node]] = {}
"""How the nodes of calls are made whose kind needs more than the arguments, by the kind of the offer."""


def bad_call(owner: Node, call: ToolCall, code: str, message: str) -> Node:
    config = CallConfig(tool=ToolDef(name=call.name, kind="builtin"), args=Const({"code": code, "message": message}))
    return Node(name="", id=f"{owner.id}/{call.name}", kind="bad_call", config=config)
