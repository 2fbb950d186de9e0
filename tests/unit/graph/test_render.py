from __future__ import annotations

import re
from typing import Any

import pytest

from orchestrator.expr.values import Const
from orchestrator.graph.nodes import (
    AgentConfig,
    AgentDef,
    Block,
    DelegateDef,
    GroupConfig,
    HandoffDef,
    MapConfig,
    ModelDef,
    PlanDef,
    SetConfig,
    SpawnDef,
    SwitchConfig,
)  # fmt: skip
from orchestrator.graph.render import render_dot, render_mermaid, render_tree
from tests.unit.graph.samples import HOSTILE, graph, node, sample


def test_a_tree_shows_kinds_needs_and_what_is_inside() -> None:
    assert render_tree(sample()) == (
        "sample\n"
        "├─ find  agent scout\n"
        "├─ each  map ← find\n"
        "│  └─ do  tool notes.read\n"
        "├─ route  switch ← each, find\n"
        "│  ├─ case high  tool page\n"
        "│  └─ default  fail\n"
        "├─ group  steps\n"
        "│  ├─ inner  set\n"
        "│  ├─ finally\n"
        "│  │  └─ clean  run\n"
        "│  └─ on_error  set\n"
        "├─ finally\n"
        "│  └─ bye  python ← find\n"
        "└─ on_failure  set\n"
    )


def test_mermaid_has_a_box_for_each_step_and_an_arrow_for_each_edge() -> None:
    text = render_mermaid(sample())
    lines = text.splitlines()
    assert lines[0] == "flowchart TD"
    assert lines.count("  n0 --> n1") == 1
    assert sum(" --> " in line for line in lines) == 4
    assert sum(line.strip().startswith("subgraph ") for line in lines) == sum(line.strip() == "end" for line in lines)
    assert all(
        re.fullmatch(r'flowchart TD| *(subgraph )?n\d+\["[^"]*"\]| *end| +n\d+ --> n\d+', line) for line in lines
    )


def test_dot_has_clusters_with_a_point_that_edges_end_at() -> None:
    text = render_dot(sample())
    assert text.startswith('digraph "sample" {\n')
    assert text.count("{") == text.count("}")
    assert "  n0 -> n1;\n" in text
    assert '    n1 [shape=point, label=""];\n' in text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(text: str) -> None:
    inner = node("x", SetConfig(values=Const({})), node_id="a/x")
    drawn = graph(
        node("a", SwitchConfig(on="1", cases={text: inner}), kind="switch"),
        node("b", MapConfig(over="[]", do=inner), kind="map"),
        node("c", GroupConfig(block=Block(nodes=(inner,))), kind="steps"),
        name=text,
    )
    mermaid = render_mermaid(drawn)
    assert all(
        re.fullmatch(r'flowchart TD| *(subgraph )?n\d+\["[^"<>\[\]{}|`\\]*"\]| *end| +n\d+ --> n\d+', line)
        for line in mermaid.splitlines()
    )
    dot = render_dot(drawn)
    quoted = re.compile(r'"(?:[^"\\\n]|\\.)*"')
    assert '"' not in quoted.sub("", dot)
    assert quoted.sub("", dot).count("{") == quoted.sub("", dot).count("}")
    for rendered in (mermaid, dot, render_tree(drawn)):
        assert all(char == "\n" or char.isprintable() for char in rendered)
        assert len(rendered.splitlines()) == rendered.count("\n")


def test_agents_that_others_come_to_are_drawn_with_how() -> None:
    def agent(name: str, **more: Any) -> AgentDef:
        return AgentDef(name=name, model=ModelDef(name="m", settings={}), **more)

    desk = agent("desk", delegates={"clerk": DelegateDef()}, handoffs={"aide": HandoffDef(returns=True)})
    maker = agent("maker", spawn=SpawnDef(), plan=PlanDef(), handoffs={"desk": HandoffDef()})
    drawn = graph(
        node("a", AgentConfig(agent=maker), kind="agent"),
        agents={"desk": desk, "clerk": agent("clerk"), "aide": agent("aide")},
    )
    assert render_tree(drawn).splitlines()[1:] == [
        "├─ a  agent maker  → hands off to desk; makes agents; plans",
        "└─ agents",
        "   ├─ aide",
        "   ├─ clerk",
        "   └─ desk  → calls clerk; hands off to aide (and back)",
    ]
    assert [line.strip() for line in render_mermaid(drawn).splitlines()[-3:]] == [
        "n0 -. hands off .-> n4", "n4 -. calls .-> n3", "n4 -. hands off .-> n2",
    ]  # fmt: skip
    assert '  n4 -> n3 [style=dashed, label="calls"];\n' in render_dot(drawn)
