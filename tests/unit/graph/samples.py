"""Graphs made by hand."""

from __future__ import annotations

from typing import Any

from orchestrator.expr.values import Const
from orchestrator.graph.nodes import (
    AgentConfig,
    AgentDef,
    Block,
    CallConfig,
    FailConfig,
    Graph,
    GroupConfig,
    MapConfig,
    ModelDef,
    Node,
    SetConfig,
    SwitchConfig,
    ToolDef,
)

HOSTILE = [
    'a"b', "a\\", "a\\\"]", "end", "a\nb", "a]\n  evil --> n0", "<script>alert(1)</script>", "#quot;", "a`b`", "{a}|b|",
    "\x1b[31mred\x1b[0m", "a\u202eb", "\u2028", "ä → 木", "\ud800", "", "}; evil [label=x];",
]  # fmt: skip

SET = SetConfig(values=Const({"x": 1}))


def node(name: str, config: Any = SET, *, kind: str = "set", node_id: str | None = None, **more: Any) -> Node:
    return Node(name=name, id=name if node_id is None else node_id, kind=kind, config=config, **more)


def tool(name: str, kind: str = "shell", **more: Any) -> ToolDef:
    return ToolDef(name=name, kind=kind, **more)


def graph(*nodes: Node, name: str = "sample", **more: Any) -> Graph:
    return Graph(name=name, root=Block(nodes=nodes), **more)


def sample() -> Graph:
    """One of each kind."""
    agent = AgentDef(name="scout", model=ModelDef(name="default", settings={}))
    read = CallConfig(tool=tool("notes", "files"), operation="read")
    group = Block(nodes=(node("inner", node_id="group/inner"),), finally_=(
        node("clean", CallConfig(tool=tool("run")), kind="run", node_id="group/clean"),
    ))  # fmt: skip
    nodes = (
        node("find", AgentConfig(agent=agent), kind="agent"),
        node(
            "each",
            MapConfig(over="[1]", do=node("", read, kind="tool", node_id="each/do")),
            kind="map",
            needs=("find",),
        ),
        node(
            "route",
            SwitchConfig(
                on="1",
                cases={"high": node("", CallConfig(tool=tool("page")), kind="tool", node_id="route/@case:high")},
                otherwise=node("", FailConfig(message=Const("no")), kind="fail", node_id="route/@default"),
            ),
            kind="switch",
            needs=("each", "find"),
        ),
        node(
            "group", GroupConfig(block=group), kind="steps", on_error="step", fallback=node("", node_id="group/@error")
        ),
    )
    late = (node("bye", CallConfig(tool=tool("python", "python")), kind="python", needs=("find",)),)
    return Graph(name="sample", root=Block(nodes=nodes, finally_=late), on_failure=node("", node_id="@on_failure"))
