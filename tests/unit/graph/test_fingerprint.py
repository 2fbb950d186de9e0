from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchestrator.compiler import compile as compile_spec
from orchestrator.expr.values import Const
from orchestrator.graph.fingerprint import Definitions, graph_hash
from orchestrator.graph.nodes import (
    AgentConfig,
    AgentDef,
    Block,
    CallConfig,
    GroupConfig,
    MapConfig,
    ModelDef,
    Node,
    SetConfig,
    SwitchConfig,
)
from orchestrator.spec.load import load
from tests.unit.graph.samples import graph, node, sample, tool

if TYPE_CHECKING:
    from pathlib import Path

definition_hash = Definitions().hash
OTHER = SetConfig(values=Const({"x": 2}))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "b"}, {"id": "b"}, {"needs": ("c",)}, {"description": "new"}, {"at": "x:1:1"}, {"definition": "0"},
    ],
)  # fmt: skip
def test_a_definition_says_nothing_of_place_and_order(change: dict[str, object]) -> None:
    one = node("a")
    assert definition_hash(replace(one, **change)) == definition_hash(one)


@pytest.mark.parametrize(
    "change",
    [
        {"config": OTHER}, {"condition": "true"}, {"timeout": Const(1)}, {"output": {}}, {"kind": "run"},
        {"on_error": "continue"}, {"dir": Const("x")}, {"lenient": True}, {"fallback": node("")},
    ],
)  # fmt: skip
def test_a_definition_says_what_the_node_does(change: dict[str, object]) -> None:
    one = node("a")
    assert definition_hash(replace(one, **change)) != definition_hash(one)


def agent(**changed: object) -> Node:
    tools = (tool("t"), tool("u"))
    made = AgentDef(name="g", model=ModelDef(name="m", settings={"x": Const(1)}), tools=tools)
    return node("a", AgentConfig(agent=replace(made, **changed)), kind="agent")


@pytest.mark.parametrize(
    "change",
    [
        {"tools": (tool("t"),)}, {"tools": (tool("u"), tool("t"))}, {"tools": (tool("t"), tool("u", effect="read"))},
        {"model": ModelDef(name="m", settings={"x": Const(2)})}, {"instructions": Const("x")}, {"description": "x"},
    ],
)  # fmt: skip
def test_the_definition_of_an_agent_step_has_its_model_and_tools_in_it(change: dict[str, object]) -> None:
    definitions = Definitions()
    assert definitions.hash(agent()) == definitions.hash(agent()) == Definitions().hash(agent())
    assert definitions.hash(agent(**change)) != definitions.hash(agent())


def test_the_definition_of_a_call_has_its_tool_in_it() -> None:
    one, other = (node("a", CallConfig(tool=tool("t", description=text))) for text in ("x", "y"))
    assert definition_hash(one) != definition_hash(other)


def wrapped(inner: Node) -> list[Node]:
    return [
        node("g", GroupConfig(block=Block(nodes=(inner,)))),
        node("m", MapConfig(over="[1]", do=inner)),
        node("s", SwitchConfig(on="1", cases={"1": inner}, otherwise=inner)),
        node("f", fallback=inner),
    ]


def test_inner_nodes_have_definitions_of_their_own() -> None:
    for one, other in zip(wrapped(node("x")), wrapped(node("x", OTHER)), strict=True):
        assert definition_hash(one) == definition_hash(other)
        assert graph_hash(graph(one)) != graph_hash(graph(other))
    with_case = node("s", SwitchConfig(on="1", cases={"1": node("x")}))
    assert definition_hash(with_case) != definition_hash(node("s", SwitchConfig(on="1", cases={"2": node("x")})))


def test_where_python_functions_are_searched_is_no_part_of_a_hash() -> None:
    def at(folder: str, kind: str = "python") -> Node:
        config = {"ref": Const("m:f"), "search": Const([folder])}
        return node("a", CallConfig(tool=tool("t", kind, config=config)))

    assert definition_hash(at("/one")) == definition_hash(at("/two"))
    assert graph_hash(graph(at("/one"))) == graph_hash(graph(at("/two")))
    assert definition_hash(at("/one", "http")) != definition_hash(at("/two", "http"))


def test_a_graph_says_nothing_of_where_its_files_are() -> None:
    one = sample()
    assert graph_hash(replace(one, sources={"/x": "0"}, description="new")) == graph_hash(one)
    assert graph_hash(replace(one, name="other")) != graph_hash(one)


def test_keys_of_a_users_own_are_not_taken_for_ours() -> None:
    odd = {"is": "Node", "at": "x", "v": 1, "d": {"description": "x"}}
    one = node("a", SetConfig(values=Const(odd)), output=odd)
    other = node("a", SetConfig(values=Const({**odd, "at": "y"})), output=odd)
    assert definition_hash(one) != definition_hash(other)
    assert definition_hash(one) != definition_hash(replace(one, output={**odd, "at": "y"}))


SOURCE = """\
version: 1
name: two_places
models:
  default: {provider: scripted, replies: [{text: hi}]}
tools:
  t: {python: "steps:f", description: Does}
agents:
  g: {tools: [t], instructions: [{file: brief.md}]}
steps:
  a: {agent: g, prompt: Hi}
  b: {python: "steps:f"}
"""


def test_two_checkouts_agree_and_a_named_file_counts(tmp_path: Path) -> None:
    found = []
    for name, brief in (("one", "short"), ("two", "short"), ("three", "long")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "brief.md").write_text(brief, encoding="utf-8")
        (folder / "steps.py").write_text("def f(): ...\n", encoding="utf-8")
        (folder / "pipeline.yaml").write_text(SOURCE if name == "one" else f"# a note\n{SOURCE}", encoding="utf-8")
        made = compile_spec(load(folder / "pipeline.yaml")).graph
        assert made is not None
        found.append(made)
    one, two, three = found
    assert one.sources != two.sources
    assert graph_hash(one) == graph_hash(two) != graph_hash(three)
    assert [x.definition for x in one.root.nodes] == [x.definition for x in two.root.nodes]
    assert one.root.by_name["a"].definition != three.root.by_name["a"].definition
    assert one.root.by_name["b"].definition == three.root.by_name["b"].definition
