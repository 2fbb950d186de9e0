"""Which agents an agent comes to, and what that means for the definition of its step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.expr.values import Const
from orchestrator.graph.budgets import merged
from orchestrator.graph.fingerprint import Definitions
from orchestrator.graph.nodes import (
    AgentConfig,
    AgentDef,
    BudgetDef,
    DelegateDef,
    HandoffDef,
    ModelDef,
    Node,
    PlanDef,
    SpawnDef,
)  # fmt: skip
from orchestrator.graph.reach import passed_to, reached


def agent(name: str, **more: Any) -> AgentDef:
    return AgentDef(name=name, model=ModelDef(name="m", settings={}), **more)


LEAD = agent("lead", delegates={"b": DelegateDef()}, spawn=SpawnDef(), plan=PlanDef())
AGENTS = {
    "a": agent("a", handoffs={"b": HandoffDef(), "c": HandoffDef(returns=True)}),
    "b": agent("b", delegates={"a": DelegateDef(), "gone": DelegateDef()}, handoffs={"a": HandoffDef()}),
    "c": agent("c", handoffs={"d": HandoffDef()}),
    "d": agent("d"),
    "e": agent("e"),
}


def test_all_that_an_agent_comes_to_is_found_once() -> None:
    assert list(reached([LEAD], AGENTS)) == ["a", "b", "c", "d"]
    assert list(reached([], AGENTS)) == []
    assert list(reached([AGENTS["d"]], AGENTS)) == []


def test_control_that_comes_back_is_not_passed_for_good() -> None:
    assert passed_to(AGENTS["a"], AGENTS) == ["a", "b"]
    assert passed_to(AGENTS["c"], AGENTS) == ["d"]
    assert passed_to(agent("x", handoffs={"gone": HandoffDef()}), AGENTS) == []


def step(lead: AgentDef) -> Node:
    return Node(name="s", id="s", kind="agent", config=AgentConfig(agent=lead))


def test_a_change_of_any_agent_that_a_step_comes_to_is_a_change_of_the_step() -> None:
    whole = Definitions().hash(step(LEAD), AGENTS)
    for name in "abcd":
        changed = AGENTS | {name: replace(AGENTS[name], instructions=Const("other"))}
        assert Definitions().hash(step(LEAD), changed) != whole
    assert Definitions().hash(step(LEAD), AGENTS | {"e": agent("e", turns=Const(3))}) == whole
    assert Definitions().hash(step(LEAD)) != whole


def test_what_they_may_spend_changes_nothing() -> None:
    bound = BudgetDef(tokens=5)
    lead = replace(
        LEAD, delegates={"b": DelegateDef(budget=bound)}, spawn=SpawnDef(budget=bound), plan=PlanDef(budget=bound)
    )
    changed = AGENTS | {"c": replace(AGENTS["c"], budget=bound)}
    assert Definitions().hash(step(lead), changed) == Definitions().hash(step(LEAD), AGENTS)


def test_of_two_budgets_the_smaller_bound_counts() -> None:
    one, other = BudgetDef(tokens=5, usd=9, on_exceed="pause"), BudgetDef(tokens=7, depth=2, on_exceed="fail")
    assert merged(one, other) == BudgetDef(tokens=5, usd=9, depth=2, on_exceed="pause")
    assert merged(one, None) == merged(None, one) == merged(one, one) == one
