"""Accounts as the fold keeps them, whatever order things happen in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.journal.accounts import Totals, needed, used
from orchestrator.journal.records import Draft
from orchestrator.journal.state import RunState, around

SECOND = 1_000_000


def folded(*drafts: Draft) -> RunState:
    state = RunState()
    for seq, draft in enumerate(drafts, 1):
        state.apply(draft, seq=seq, at=seq * SECOND)
    return state


def started(path: str = "a/turn1", **more: Any) -> Draft:
    body = {"attempt": 1, "what": "model", "reserve": {"usd": 100, "tokens": 50}, "account": "a", **more}
    return Draft("started", path, body)


def test_a_reservation_is_spent_until_it_is_settled() -> None:
    state = folded(started())
    assert [state.totals(path).spent("usd") for path in ("a", "")] == [100, 100]
    assert state.totals("a").open == {"usd": 100, "tokens": 50, "model_calls": 1}
    state = folded(started(), Draft("done", "a/turn1", {"attempt": 1, "cost": 30, "tokens": 7}))
    for path in ("a", ""):
        totals = state.totals(path)
        assert (totals.spent("usd"), totals.spent("tokens"), totals.spent("model_calls")) == (30, 7, 1)
        assert set(totals.open.values()) == {0}
        assert (totals.running, totals.time) == (0, SECOND)
    assert state.spend == 30


@pytest.mark.parametrize(
    ("body", "usd", "tokens"),
    [
        ({"cost": None, "tokens": 0}, 100, 50),
        ({"cost": None, "tokens": 9, "usage": {"input": 9}}, 100, 9),
        ({"cost": 0, "tokens": 0}, 0, 0),
        ({"cost": 120, "tokens": 60, "usage": {"input": 60}}, 120, 60),
        ({}, 0, 0),
    ],
    ids=["no usage", "no price", "free", "more than was reserved", "never began"],
)
def test_what_an_end_does_not_say_costs_what_was_reserved(body: dict[str, Any], usd: int, tokens: int) -> None:
    state = folded(started(), Draft("failed", "a/turn1", {"attempt": 1, "code": "x", "message": "", **body}))
    totals = state.totals("")
    assert (totals.spent("usd"), totals.spent("tokens"), totals.spent("model_calls")) == (usd, tokens, 1)
    assert (state.tokens, state.steps["a/turn1"].tokens) == (tokens, tokens)


def test_a_lost_attempt_stays_charged_and_a_second_one_counts_as_well() -> None:
    state = folded(started(), Draft("claimed", "", {}), started(attempt=2))
    totals = state.totals("a")
    assert (totals.lost["usd"], totals.open["usd"], totals.spent("model_calls")) == (100, 100, 2)
    assert state.spend == 200
    assert (state.tokens, state.lost_tokens, state.steps["a/turn1"].tokens) == (50, 50, 50)


def test_an_attempt_in_doubt_is_lost() -> None:
    state = folded(
        started("t", what="tool", reserve=None), Draft("waiting", "t", {"reason": "doubt", "attempt": 1, "code": "x"})
    )
    assert state.totals("a").lost == {"tool_calls": 1}
    assert state.totals("a").running == 0


def test_the_time_of_what_was_lost_counts_up_to_where_its_driver_was_last_seen() -> None:
    lost = folded(started(), Draft("expanded", "x", {"count": 0}), Draft("claimed", "", {}))
    assert lost.totals("a").time == SECOND
    seen = folded(started(), Draft("claimed", "", {"previous": {"renewed_at": SECOND + 300}}))
    assert seen.totals("a").time == 300
    late = folded(started(), Draft("claimed", "", {"previous": {"renewed_at": 9 * SECOND}}))
    assert late.totals("a").time == SECOND


def test_running_attempts_take_time() -> None:
    state = folded(started(), started("b/turn1"))
    assert state.totals("").spent_time(5 * SECOND) == 4 * SECOND + 3 * SECOND
    assert state.totals("a").running == 2


def test_each_account_around_is_charged_once() -> None:
    assert around({}) == [""]
    assert around({"account": ""}) == [""]
    assert around({"account": "a/b", "within": ["a"]}) == ["a/b", "a", ""]
    state = folded(started(account="a/b", within=["a"]), started("c/turn1", account="a"))
    assert {path: totals.spent("usd") for path, totals in state.accounts.items()} == {"a/b": 100, "a": 200, "": 200}


def test_what_counts_as_what() -> None:
    assert needed({"what": "model", "reserve": {"usd": None, "tokens": 3, "agents": 1}}) == {
        "tokens": 3, "agents": 1, "model_calls": 1,
    }  # fmt: skip
    assert needed({"what": "tool"}) == {"tool_calls": 1}
    assert needed({"what": "hook"}) == needed({"what": "builtin"}) == {}
    assert used({"agents": 1, "model_calls": 1}, {"cost": 4, "tokens": 2}) == {
        "agents": 1, "model_calls": 1, "usd": 4, "tokens": 2,
    }  # fmt: skip


def test_limits_and_what_people_add_are_folded() -> None:
    limit = {"account": "a", "dimension": "usd", "needed": 2, "left": 1}
    state = folded(
        Draft("limit_reached", "a", limit | {"then": "finish"}),
        Draft("limit_reached", "b", limit | {"then": "fail"}),
        Draft("limit_reached", "", limit | {"then": "fail"}),
        Draft("limit_reached", "c", limit | {"then": "pause"}),
        Draft("paused", "", {"reason": "limit"}),
    )
    assert state.finishing == {"a"}
    assert (state.steps["b"].fired, state.steps["b"].fired_seq) == ("limit", 2)
    assert (state.limit or {})["then"] == "fail"
    assert state.limit_seq == 3
    assert "c" not in state.steps
    for seq, (path, amounts) in enumerate([("a", {"usd": 5}), ("a", {"usd": 2, "tokens": 1}), ("", {"time": 1})], 6):
        state.apply(Draft("budget_added", path, {"add": amounts}), seq=seq, at=0)
    assert state.added == {"a": {"usd": 7, "tokens": 1}, "": {"time": 1}}
    assert state.finishing == set()
    assert state.paused is None
    state.apply(Draft("resumed", "", {"reopen": ["b"]}), seq=9, at=0)
    assert (state.limit, state.steps["b"].limit, state.steps["b"].fired) == (None, None, None)


@given(st.lists(st.tuples(st.sampled_from(["reserve", "settle", "lose"]), st.integers(0, 100), st.integers(0, 100))))
def test_sums_are_those_of_a_list_of_attempts(moves: list[tuple[str, int, int]]) -> None:
    totals = Totals("")
    open_: list[tuple[int, int]] = []
    spent = time = 0
    for at, (move, amount, part) in enumerate(moves):
        if move == "reserve" or not open_:
            totals.reserve({"usd": amount}, at=at)
            open_.append((amount, at))
            continue
        need, begun = open_.pop(part % len(open_))
        time += at - begun
        if move == "settle":
            totals.settle({"usd": need}, {"usd": min(need, part)}, begun=begun, at=at)
            spent += min(need, part)
        else:
            totals.lose({"usd": need}, begun=begun, at=at)
            spent += need
    assert totals.spent("usd") == spent + sum(need for need, _ in open_)
    assert totals.open.get("usd", 0) == sum(need for need, _ in open_)
    assert totals.running == len(open_)
    assert totals.spent_time(len(moves)) == time + sum(len(moves) - begun for _, begun in open_)
