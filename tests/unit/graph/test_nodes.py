from __future__ import annotations

import pytest

from orchestrator.expr.values import Const
from orchestrator.graph.nodes import InputDef, OnDoubt, Retry, graph_from_json, to_json
from orchestrator.jsonish import canonical, loads
from tests.unit.graph.samples import graph, node, sample, tool


def test_a_graph_reads_back_as_it_was() -> None:
    one = sample()
    assert graph_from_json(loads(canonical(to_json(one)))) == one


def test_json_of_a_users_own_reads_back_as_it_was() -> None:
    odd = {"is": "Node", "v": ["c", 1], "d": {"x": 1}, "list": [1, {"is": "Graph"}]}
    one = graph(
        node("a", output=odd, retry=Retry(attempts=Const(odd), on=("timeout", 429))),
        inputs=(InputDef(name="i", schema=odd, has_default=True, default=odd),),
        labels={"is": "x", "v": "y", "d": "z"},
    )
    assert graph_from_json(loads(canonical(to_json(one)))) == one


def test_fields_at_their_default_are_left_out() -> None:
    assert to_json(node("a")).keys() == {"is", "name", "id", "kind", "config"}
    assert to_json(tool("t", on_doubt=OnDoubt())).keys() == {"is", "name", "kind"}  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("data", [{"is": "Node"}, {"is": "Graph", "format": 2}, {}])
def test_another_format_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="format"):
        graph_from_json(data)


def test_a_block_knows_its_nodes_and_what_waits_for_them() -> None:
    root = sample().root
    assert root.by_name["bye"].kind == "python"
    assert [one.name for one in root.dependents["find"]] == ["each", "route", "bye"]
    assert "bye" not in root.dependents
