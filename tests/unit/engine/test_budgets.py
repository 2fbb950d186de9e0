"""What fits a budget and what does not, and what a limit leads to in a run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.budgets import Account, limited, merged, sentence, short, told
from orchestrator.engine.gate import Ask, Gate
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import BudgetDef, Join
from orchestrator.journal.accounts import Totals
from orchestrator.journal.records import Draft
from orchestrator.tools.protocol import Done, Failed
from tests.unit.engine.spending import Budgeted
from tests.unit.engine.test_decide import agent, group, map_
from tests.unit.engine.world import SECOND, call, calls_reply, graph, text_reply, tool

DIMENSIONS = ("usd", "tokens", "model_calls")


def account(path: str = "", parent: Account | None = None, **bounds: Any) -> Account:
    begun: int = bounds.pop("begun_at", 0)
    return Account(
        path, BudgetDef(**bounds), parent=parent, totals=Totals(path), added={}, begun_at=begun, act=None
    )  # fmt: skip


def reserve(inner: Account, need: dict[str, int], at: int = 0) -> None:
    for each in inner.chain():
        each.totals.reserve(need, at=at)


# Arithmetic


def test_a_call_has_to_fit_every_account_around_it() -> None:
    run = account(usd=10)
    step = account("a", run, usd=8)
    reserve(step, {"usd": 5})
    assert short(step, {"usd": 3}, 0) is None
    found = short(step, {"usd": 4}, 0)
    assert found is not None
    assert (found.account.path, found.dimension, found.needed, found.left, found.comes_back) == ("a", "usd", 4, 3, True)
    other = account("b", run, usd=8)
    found = short(other, {"usd": 6}, 0)
    assert found is not None
    assert (found.account.path, found.left) == ("", 5)


def test_nothing_is_set_aside_for_a_step_that_takes_nothing() -> None:
    run = account(usd=10)
    account("a", run, usd=10)
    assert short(account("b", run, usd=10), {"usd": 10}, 0) is None


def test_what_costs_nothing_fits_an_account_that_is_used_up() -> None:
    run = account(usd=1, tool_calls=5)
    reserve(run, {"usd": 1})
    assert short(run, {"tool_calls": 1, "usd": 0}, 0) is None
    assert short(run, {}, 0) is None


def test_a_price_that_is_not_known_fits_no_bound_in_dollars() -> None:
    found = short(account(usd=1), {"usd": None}, 0)
    assert found is not None
    assert found.needed is None
    assert "not known" in sentence(told(found))
    assert short(account(tokens=1), {"usd": None}, 0) is None


def test_time_is_shared_by_attempts_that_run_at_once() -> None:
    run = account(time=10)
    assert run.due(100) is None
    reserve(run, {}, at=100)
    reserve(run, {}, at=102)
    assert run.due(102) == ("time", 106)
    assert short(run, {}, 105) is None
    found = short(run, {}, 106)
    assert found is not None
    assert (found.dimension, found.left) == ("time", 0)


def test_a_deadline_is_by_the_clock() -> None:
    run = account(deadline=10, time=100, begun_at=5)
    assert run.due(5) == ("deadline", 15)
    assert short(run, {}, 14) is None
    assert short(run, {}, 15) is not None


def test_of_two_budgets_of_one_account_the_smaller_bound_counts() -> None:
    one, other = BudgetDef(usd=5, tokens=9, on_exceed="pause"), BudgetDef(usd=3, agents=2, on_exceed="fail")
    assert merged(one, other) == BudgetDef(usd=3, tokens=9, agents=2, on_exceed="pause")
    assert merged(None, other) == merged(other, None) == other
    assert merged(None, None) is None


def test_room_for_last_turns_is_kept_free_of_everything_else() -> None:
    run = account(usd=10, on_exceed="finish")
    run.hold("a", {"usd": 4})
    assert short(run, {"usd": 6}, 0) is None
    assert short(run, {"usd": 7}, 0) is not None
    assert short(run, {"usd": 7}, 0, path="a") is None
    assert short(run, {"usd": 5}, 0, spare={"usd": 2}) is not None
    assert short(run, {"usd": 10}, 0, beside=()) is None
    assert short(run, {"usd": 7}, 0, beside=("a",)) is not None
    run.hold("a", {"usd": 1})
    assert short(run, {"usd": 9}, 0) is None
    run.hold("a", {})
    assert (run.held, run.holds) == ({"usd": 0}, {})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"account": "", "dimension": "usd", "needed": 1_500_000, "left": 20}, "has $0.00002 left, and the next call may take $1.5"),
        ({"account": "a", "dimension": "model_calls", "needed": 1, "left": 0}, "the budget of a has 0 model calls left, and the next call may take 1 model call"),
        ({"account": "", "dimension": "deadline"}, "the deadline of the run's budget has passed"),
        ({"account": "", "dimension": "time"}, "the time of the run's budget is used up"),
        ({"account": "a", "dimension": "depth", "needed": 3, "left": 2}, "agents nest 3 deep here, and the budget of a allows 2"),
    ],
)  # fmt: skip
def test_sentences(body: dict[str, Any], said: str) -> None:
    assert said in sentence(body)
    assert limited(body)["code"] == "limited"


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 3)), min_size=4, max_size=4),
    st.lists(
        st.tuples(
            st.sampled_from(["start", "start", "settle", "lose", "add"]), st.integers(0, 3), st.integers(0, 12),
            st.integers(0, 12),
        ),
        max_size=60,
    ),
)  # fmt: skip
def test_no_order_of_starts_ends_losses_and_additions_overdraws_any_account(
    bounds: list[tuple[int, int, int]], moves: list[tuple[str, int, int, int]]
) -> None:
    named = [dict(zip(DIMENSIONS, each, strict=True)) for each in bounds]
    run = account("", **named[0])
    left = account("a", run, **named[1])
    inner = account("a/b", left, **named[2])
    accounts = [run, left, inner, account("c", run, **named[3])]
    open_: list[tuple[Account, dict[str, int]]] = []
    for move, index, one, two in moves:
        chosen = accounts[index]
        if move == "start":
            need = {"usd": one, "tokens": two, "model_calls": 1}
            found = short(chosen, need, 0)
            if found is None:
                reserve(chosen, need)
                open_.append((chosen, need))
            else:
                assert found.account in chosen.chain()
                assert found.account.totals.spent(found.dimension) + (found.needed or 0) > (
                    found.account.limit(found.dimension) or 0
                )
        elif move == "add":
            chosen.added = {**chosen.added, "usd": chosen.added.get("usd", 0) + one}  # pyright: ignore[reportUnknownMemberType]
        elif open_:
            where, need = open_.pop(one % len(open_))
            taken = {name: min(amount, two) for name, amount in need.items()} | {"model_calls": 1}
            for each in where.chain():
                if move == "settle":
                    each.totals.settle(need, taken, begun=0, at=0)
                else:
                    each.totals.lose(need, begun=0, at=0)
        for each in accounts:
            for name in DIMENSIONS:
                assert each.totals.spent(name) <= (each.limit(name) or 0)
        # What is spent further out is all that is spent inside, and what is spent there itself.
        assert run.totals.spent("usd") >= left.totals.spent("usd") >= inner.totals.spent("usd")


# Runs


def told_by(world: Budgeted, kind: str = "limit_reached") -> list[tuple[str, str, str]]:
    return [(r.path, r.body["dimension"], r.body["then"]) for r in world.records if r.kind == kind]


def played(*nodes: Any, answer: Any = None, **more: Any) -> Budgeted:
    """A run to its end, in which each tool and model does well."""
    world = Budgeted(graph(*nodes, **more), seed=1, most=0, answer=answer or (lambda intent: Done(1)))
    world.play()
    assert world.verify() is None
    return world


def test_a_run_at_its_limit_ends_limited_and_not_failed() -> None:
    world = played(call("a"), call("b", needs=("a",)), budget=BudgetDef(tool_calls=1), on_failure=call("@failure"))
    assert told_by(world) == [("", "tool_calls", "fail")]
    assert world.end is not None
    assert world.end["status"] == "limited"
    assert world.end["error"]["code"] == "limited"
    assert world.end["error"]["step"] == "b"
    assert world.end["error"]["detail"]["left"] == 0
    assert [path for path, _ in world.performed] == ["a"]


def test_what_runs_may_end_before_the_limit_is_one() -> None:
    do = call("", id="m/do")
    world = played(map_("m", "range(4)", do, concurrency=Const(4)), budget=BudgetDef(tool_calls=3))
    assert len(world.performed) == 3
    assert sum(r.kind == "cancelled" for r in world.records) == 0


def test_a_step_at_its_limit_fails_as_its_on_error_says() -> None:
    inner = group("g", call("one"), call("two", needs=("one",)), budget=BudgetDef(tool_calls=1), on_error="continue")
    world = played(inner, call("z", needs=("g",)), outputs={"s": "steps.g.status", "e": "steps.g.error.code"})
    assert world.end is not None
    assert world.end["outputs"] == {"s": "failed", "e": "limited"}
    assert world.end["status"] == "done"


def test_a_fallback_stands_outside_the_budget_that_its_step_has_used_up() -> None:
    step = call("a", budget=BudgetDef(tool_calls=1), on_error="step", fallback=call("", id="a/@error"))
    world = played(
        step,
        outputs={"x": "steps.a.output"},
        answer=lambda intent: Done(2) if "@" in intent.path else Failed("x", "no"),
    )
    assert world.end is not None
    assert world.end["outputs"] == {"x": 2}


def test_a_step_under_no_on_error_makes_the_run_limited() -> None:
    inner = group("g", call("one"), call("two", needs=("one",)), budget=BudgetDef(tool_calls=1))
    world = played(inner)
    assert world.end is not None
    assert (world.end["status"], world.end["error"]["code"], world.end["error"]["step"]) == (
        "limited",
        "limited",
        "g/two",
    )


def test_finally_runs_as_far_as_the_budget_lets_it_and_sees_how_the_run_ended() -> None:
    late = (call("x", {"x": "1"}, condition="run.status == 'limited'"), call("y"))
    world = played(
        call("a"), call("b", needs=("a",)), finally_=late, budget=BudgetDef(deadline=SECOND * 100, tool_calls=1)
    )
    assert told_by(world)[0] == ("", "tool_calls", "fail")
    assert {path for path, _, _ in told_by(world)[1:]} == {"x", "y"}
    assert world.end is not None
    assert world.end["status"] == "limited"


def test_cleaning_up_after_a_deadline_has_time() -> None:
    world = Budgeted(
        graph(call("a"), finally_=(call("z"),), budget=BudgetDef(deadline=SECOND)), seed=1, answer=lambda i: Done(1)
    )
    world.clock += 2 * SECOND
    world.play()
    assert told_by(world) == [("", "deadline", "fail")]
    assert [path for path, _ in world.performed] == ["z"]
    assert world.end is not None
    assert world.end["status"] == "limited"


def two_turns(intent: Any) -> Any:
    if intent.kind != "model":
        return Done(1)
    if intent.last:
        return text_reply("what I have")
    return text_reply("all") if intent.path.endswith("turn9") else calls_reply(("t", {}))


def test_agents_finish_with_a_last_turn_without_tools() -> None:
    node = agent("a", tool(), budget=BudgetDef(model_calls=3, on_exceed="finish"))
    world = played(node, outputs={"x": "steps.a.output"}, answer=two_turns)
    assert told_by(world) == [("a", "model_calls", "finish")]
    assert world.end is not None
    assert world.end["outputs"] == {"x": "what I have"}
    assert [path for path, _ in world.performed if path.endswith("turn3")] == ["a/turn3"]
    assert world.state.steps["a/turn3"].last


def test_a_tool_that_no_budget_has_room_for_says_so_to_its_agent() -> None:
    node = agent("a", tool(), budget=BudgetDef(tool_calls=1, on_exceed="finish"))
    world = played(node, outputs={"x": "steps.a.output"}, answer=two_turns)
    assert told_by(world) == [("a", "tool_calls", "finish"), ("a/turn2/tool0", "tool_calls", "fail")]
    assert world.end is not None
    assert world.end["outputs"] == {"x": "what I have"}


def test_a_last_turn_that_does_not_fit_either_is_a_limit() -> None:
    world = played(agent("a", tool(), budget=BudgetDef(usd=1, on_exceed="finish")), answer=two_turns)
    assert [then for _, _, then in told_by(world)] == ["finish", "fail"]
    assert world.end is not None
    assert world.end["status"] == "limited"


def test_a_model_that_asks_for_tools_in_its_last_turn_has_no_answer() -> None:
    node = agent("a", tool(), budget=BudgetDef(model_calls=2, on_exceed="finish"))
    world = played(node, answer=lambda intent: calls_reply(("t", {})) if intent.kind == "model" else Done(1))
    assert world.end is not None
    assert world.end["error"]["code"] == "limited"
    assert "instead of an answer" in world.end["error"]["message"]


def test_each_agent_counts_once() -> None:
    do = agent("", tool())
    world = played(
        map_("m", "range(5)", do, concurrency=Const(1), join=Join(mode="settled")),
        budget=BudgetDef(agents=2),
        answer=two_turns_end,
    )
    assert world.end is not None
    assert world.end["status"] == "limited"
    assert world.state.totals("").spent("agents") == 2


def two_turns_end(intent: Any) -> Any:
    if intent.kind != "model":
        return Done(1)
    return text_reply("all") if intent.path.endswith("turn2") else calls_reply(("t", {}))


def test_an_agent_deeper_than_a_budget_lets_it_is_refused() -> None:
    world = played(agent("a", tool()), budget=BudgetDef(depth=0), answer=two_turns)
    assert world.end is not None
    assert world.end["error"]["detail"]["dimension"] == "depth"
    assert world.performed == []
    assert played(agent("a", tool(), budget=BudgetDef(depth=0)), answer=two_turns_end).end is not None


class Counted(Gate):
    """A gate that counts how often it looks whether something fits."""

    looks = 0

    def _short(self, *args: Any, **more: Any) -> Any:
        Counted.looks += 1
        return super()._short(*args, **more)


def test_a_thousand_that_wait_are_not_looked_at_again_and_again() -> None:
    node = map_("m", "range(1000)", agent("", tool()), concurrency=Const(1000))
    found = graph(node, budget=BudgetDef(usd=2_000, on_exceed="pause"))
    world = Budgeted(found, seed=1, most=0, answer=lambda intent: text_reply("x"))
    Counted.looks = 0
    world.gate = Counted(world.decider, world.gate.ask)
    while world.gate.pending(world.clock) or world.decider.in_flight:
        world.pump(None)
        for intent in list(world.decider.in_flight.values()):
            world.end_of(intent)
            world.pump(None)
    assert list(world.gate.paused) == [""]
    started = sum(record.kind == "started" for record in world.records)
    assert 100 < started < 900
    assert Counted.looks < 1_000 + 4 * started


def test_those_that_wait_start_by_what_they_take_the_smallest_first() -> None:
    node = map_("m", "range(30)", agent("", tool()), concurrency=Const(30))
    world = Budgeted(graph(node, budget=BudgetDef(usd=30, on_exceed="pause")), seed=1, most=0)
    world.pump(None)
    waiting = list(world.decider.permitted.values())
    under_way = list(world.decider.in_flight.values())
    taken = {intent.path: world.reserve(intent)["usd"] or 0 for intent in [*waiting, *under_way]}
    smallest = min(waiting, key=lambda intent: taken[intent.path])
    world.say(Draft("failed", under_way[0].path, {"attempt": 1, "code": "x", "message": "", "cost": 0, "tokens": 0}))
    while smallest.path not in world.decider.in_flight and world.decider.in_flight:
        world.pump(None)
        assert all(
            taken[path] <= min((taken[each] for each in world.decider.permitted), default=100)
            for path in world.decider.in_flight.keys() - {intent.path for intent in under_way}
        )
        world.say(Draft("failed", next(iter(world.decider.in_flight)), {"attempt": 1, "code": "x", "message": ""}))


# What the driver lacks, and what a journal may not say


def test_what_finds_no_place_in_the_process_starts_when_there_is_one() -> None:
    world = Budgeted(graph(call("a"), call("b"), call("c")), seed=1, answer=lambda intent: Done(1))
    places = 1

    def place(_: Any) -> str:
        nonlocal places
        places -= 1
        return "" if places >= 0 else "process"

    world.gate = Gate(world.decider, Ask(reserve=world.reserve, place=place))
    world.pump(None)
    assert list(world.decider.in_flight) == ["a"]
    assert world.gate.pending(world.clock)
    places = 0
    world.pump(None)
    assert list(world.decider.in_flight) == ["a"]
    places = 5
    world.pump(None)
    assert list(world.decider.in_flight) == ["a", "b", "c"]
    assert not world.gate.pending(world.clock)


def test_a_call_whose_price_is_not_known_is_refused_under_a_budget_in_dollars() -> None:
    world = Budgeted(graph(agent("a", on_error="continue"), budget=BudgetDef(usd=9, on_exceed="pause")), seed=1)
    ask = Ask(reserve=lambda intent, **_: {"usd": None, "tokens": 1}, place=lambda intent: "")
    world.gate = Gate(world.decider, ask)
    world.pump(None)
    assert told_by(world) == [("a/turn1", "usd", "fail")]
    assert "not known" in world.state.steps["a"].error["message"]  # pyright: ignore[reportOptionalSubscript]


def forged(world: Budgeted, kind: str, path: str | None = None, **more: Any) -> str | None:
    """What is said of the journal with another body in its first record of that kind."""
    index = next(i for i, record in enumerate(world.records) if record.kind == kind)
    record = world.records[index]
    body = {**record.body, **more}
    world.records[index] = record._replace(body=body, path=record.path if path is None else path)
    return world.verify()


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("started", {"account": ""}, "charged to another account"),
        ("started", {"within": ["x"]}, "charged to another account"),
        ("started", {"reserve": {"usd": 500}}, "has no room for"),
        ("limit_reached", {"account": "b"}, "no budget here has"),
        ("limit_reached", {"path": "x"}, "no budget here has"),
        ("limit_reached", {"then": "pause", "path": "x"}, "no budget here has"),
    ],
)
def test_a_journal_that_was_not_kept_within_its_budgets_is_found_out(
    kind: str, more: dict[str, Any], said: str
) -> None:
    world = played(agent("a", budget=BudgetDef(usd=30)), answer=two_turns)
    assert told_by(world) == [("a", "usd", "fail")]
    assert said in (forged(world, kind, **more) or "")
