from __future__ import annotations

import re
from typing import Any

import pytest

from orchestrator.agents.servers import effect_is_known, one_tool, wire_name_of, with_servers
from orchestrator.agents.turns import READ_REST, Offer, offers_of
from orchestrator.graph.nodes import AgentDef, ModelDef, ServerDef, ToolDef


def entry(name: str, **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "key": {}}, "required": ["a", "key"]}
    return {"name": name, "description": f"does {name}", "input": schema, **more}


LISTED = {
    "tools": [
        entry("look", hints={"read_only": True, "idempotent": False}),
        entry("put", hints={"idempotent": True}),
        entry("act", hints={"destructive": True}),
        entry("plain"),
    ]
}


def server(**more: Any) -> ToolDef:
    own = {key: more.pop(key) for key in ("tools", "effects", "approve", "declared", "fixed") if key in more}
    return ToolDef(name="s", kind="mcp", server=ServerDef(**own), **more)


@pytest.mark.parametrize(
    ("name", "effect"),
    [("look", "read"), ("put", "idempotent"), ("act", "write"), ("plain", "write"), ("gone", "write")],
)
def test_the_effect_follows_the_hints_of_the_list(name: str, effect: str) -> None:
    assert one_tool(server(), name, LISTED).effect == effect
    assert one_tool(server(), name, None).effect == "write"


def test_what_the_file_says_wins() -> None:
    tool = server(effects={"act": "read", "look": "write"}, effect="idempotent", declared=True)
    assert [one_tool(tool, name, LISTED).effect for name in ("act", "look", "put", "plain")] == [
        "read", "write", "idempotent", "idempotent",
    ]  # fmt: skip


def test_whether_the_file_says_it() -> None:
    assert not effect_is_known(server(), "act")
    assert not effect_is_known(server(effects={"look": "read"}), "act")
    assert effect_is_known(server(effects={"act": "read"}), "act")
    assert effect_is_known(server(declared=True), "act")
    assert effect_is_known(one_tool(server(), "act", None), "act")


def test_approval_is_of_the_single_tool_or_of_all() -> None:
    made = ToolDef(name="s", kind="mcp", approve="true", server=ServerDef(approve={"look": "false"}))
    assert one_tool(made, "look", LISTED).approve == "false"
    assert one_tool(made, "act", LISTED).approve == "true"


def test_a_single_tool_is_resolved_once() -> None:
    tool = one_tool(server(), "look", LISTED)
    assert tool.server is None
    assert tool.description == "does look"
    assert one_tool(tool, "look", None) is tool


def test_arguments_that_are_given_anyway_are_none_of_the_callers() -> None:
    found = one_tool(server(fixed=("key",)), "act", LISTED).input
    assert found == {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert one_tool(server(fixed=("key",)), "gone", LISTED).input is None


def test_offers_hold_every_listed_tool_beside_the_others() -> None:
    plain = ToolDef(name="t", kind="python")
    agent = AgentDef(name="a", model=ModelDef(name="m", settings={}), tools=(server(), plain))
    before = offers_of(agent)
    assert list(before) == ["t", "read_result"]
    found = with_servers(before, agent, {"s": LISTED})
    assert list(found) == ["t", "read_result", "s__look", "s__put", "s__act", "s__plain"]
    assert found["s__look"].operation == "look"
    assert found["s__look"].tool == one_tool(server(), "look", LISTED)
    assert found["s__look"].spec.schema == LISTED["tools"][0]["input"]


def test_an_agent_of_servers_alone_may_read_results_on() -> None:
    agent = AgentDef(name="a", model=ModelDef(name="m", settings={}), tools=(server(),))
    assert offers_of(agent) == {}
    assert with_servers({}, agent, {"s": LISTED})["read_result"] is READ_REST
    assert with_servers({}, agent, {"s": {"tools": []}}) == {}


@pytest.mark.parametrize("name", ["a", "get-sum", "x" * 200, "a/b", "a b", "é", "a.b", "\n", "A" * 61])
def test_names_on_the_wire_fit_and_are_always_the_same(name: str) -> None:
    wire = wire_name_of("srv", name, ())
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", wire)
    assert wire == wire_name_of("srv", name, ("other",))


def test_names_on_the_wire_are_unlike_each_other() -> None:
    names = ["a.b", "a__b", "a/b", "a_b", "a b", "x" * 100, "x" * 101, "read_result"]
    taken: dict[str, Offer] = {"srv__read_result": READ_REST}
    for name in names:
        wire = wire_name_of("srv", name, taken)
        assert wire not in taken
        taken[wire] = READ_REST
    assert "srv__a__b" in taken
