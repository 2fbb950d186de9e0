"""Budgets of the file -> budgets of the graph."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.compiler.budgets import micro_dollars
from orchestrator.graph.fingerprint import graph_hash
from orchestrator.graph.nodes import AgentConfig, BudgetDef, graph_from_json, to_json
from tests.unit.compiler.helpers import MODELS, graph_of

FILE = f"""
{MODELS}
budget: {{usd: 2.00, tokens: 400000, time: 30m, deadline: 2h, on_exceed: pause}}
agents:
  scout: {{budget: {{usd: 0.1, model_calls: 3}}}}
steps:
  a: {{agent: scout, prompt: x, budget: {{usd: 0.35, agents: 2, depth: 1, tool_calls: 0, on_exceed: finish}}}}
  b: {{run: x, budget: {{}}}}
"""


def test_bounds_are_micro_dollars_and_microseconds() -> None:
    graph = graph_of(FILE)
    assert graph.budget == BudgetDef(
        usd=2_000_000, tokens=400_000, time=1_800_000_000, deadline=7_200_000_000, on_exceed="pause"
    )
    node = graph.root.by_name["a"]
    assert node.budget == BudgetDef(usd=350_000, agents=2, depth=1, tool_calls=0, on_exceed="finish")
    assert isinstance(node.config, AgentConfig)
    assert node.config.agent.budget == BudgetDef(usd=100_000, model_calls=3)
    assert graph.root.by_name["b"].budget == BudgetDef()
    assert graph_from_json(to_json(graph)) == graph


def test_what_a_step_may_spend_is_no_part_of_what_it_is() -> None:
    one, other = graph_of(FILE), graph_of(FILE.replace("0.35", "0.36").replace("0.1,", "0.2,"))
    assert one.root.by_name["a"].definition == other.root.by_name["a"].definition
    assert graph_hash(one) != graph_hash(other)


@pytest.mark.parametrize(
    ("usd", "micros"),
    [(0.1, 100_000), (0.29, 290_000), (1.1, 1_100_000), (4.35, 4_350_000), (0.0000019, 1), (1e-7, 0), (1e9, 10**15)],
)
def test_dollars_are_what_they_say(usd: float, micros: int) -> None:
    assert micro_dollars(usd) == micros


@given(st.integers(0, 10**12))
def test_whole_micro_dollars_come_back(micros: int) -> None:
    assert micro_dollars(float(f"{micros // 1_000_000}.{micros % 1_000_000:06}")) == micros
