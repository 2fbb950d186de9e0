from __future__ import annotations

import pytest

from orchestrator.cli.flags import Flags
from orchestrator.cli.render.steps import grow, outline, split_path, step_object, within
from orchestrator.cli.screen import Screen
from orchestrator.journal.records import Draft
from orchestrator.journal.state import RunState


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a", ["a"]),
        ("a/turn2/tool0", ["a", "a/turn2", "a/turn2/tool0"]),
        ("read[https://x/y]", ["read", "read[https://x/y]"]),
        ("read[a/b]/inner", ["read", "read[a/b]", "read[a/b]/inner"]),
        ("polish#3/x", ["polish", "polish#3", "polish#3/x"]),
    ],
)
def test_a_path_splits_where_steps_begin(path: str, parts: list[str]) -> None:
    assert split_path(path) == parts


def test_within() -> None:
    assert within("a/b", "a")
    assert within("a[k]", "a")
    assert within("a", "a")
    assert within("anything", None)
    assert not within("ab", "a")
    assert not within("b", "a")


def test_a_tree_holds_its_steps_in_the_order_they_were_reached_and_adds_up() -> None:
    state = RunState()
    bodies = [
        ("started", "b/turn1", {"attempt": 1}),
        ("done", "b/turn1", {"cost": 5, "tokens": 10}),
        ("started", "a[0]", {"attempt": 1}),
        ("done", "a[0]", {"cost": None, "tokens": 3}),
    ]
    for seq, (kind, path, body) in enumerate(bodies, start=1):
        state.apply(Draft(kind, path, body), seq=seq, at=seq)
    agent, mapped = grow(state)
    assert [each.path for each in agent.walk()] == ["b", "b/turn1"]
    assert [each.name for each in mapped.walk()] == ["a", "[0]"]
    assert (agent.tokens, agent.cost) == (10, 5)
    assert (mapped.tokens, mapped.cost) == (3, None)


def test_many_items_are_counted_but_for_those_that_are_not_done() -> None:
    state = RunState()
    seq = 0
    for number in range(40):
        for kind, body in (
            ("started", {"attempt": 1}),
            ("failed" if number == 7 else "done", {"code": "x", "message": "y"}),
        ):
            seq += 1
            state.apply(Draft(kind, f"a[{number}]", body), seq=seq, at=seq)
    screen = Screen(Flags(color="never"))
    some = list(outline(screen, grow(state), 0, depth=2, stream=None))
    assert [line.split()[:3] for line in some] == [["●", "a"], ["…", "39", "done"], ["✗", "[7]", "0.00s"]]
    assert len(list(outline(screen, grow(state), 0, depth=None, stream=None))) == 41


def test_an_agent_says_who_had_control_how_often_it_spoke_and_what_it_used_itself() -> None:
    state = RunState()
    bodies = [
        ("started", "a/turn1", {"attempt": 1, "agent": "desk"}),
        ("done", "a/turn1", {"cost": 5, "tokens": 10}),
        ("started", "a/turn1/tool0/turn1", {"attempt": 1, "agent": "scout"}),
        ("done", "a/turn1/tool0/turn1", {"cost": 7, "tokens": 3}),
        ("started", "a/turn2", {"attempt": 1, "agent": "clerk"}),
        ("done", "a/turn2", {"cost": None, "tokens": 1}),
    ]
    for seq, (kind, path, body) in enumerate(bodies, start=1):
        state.apply(Draft(kind, path, body), seq=seq, at=seq)
    (agent,) = grow(state)
    lines = [line.split() for line in outline(Screen(Flags(color="never")), [agent], 0, depth=None, stream=None)]
    assert lines[0][:11] == ["●", "a", "(desk", "→", "clerk)", "running", "2", "turns", "own", "11", "tokens"]
    assert lines[2][:6] == ["●", "tool0", "(scout)", "running", "1", "turn"]
    found = [step_object(each, io=False) for each in agent.walk()]
    assert found[0] | {"status": None} == {
        "path": "a", "status": None, "agents": ["desk", "clerk"], "turns": 2, "own_usd": None, "own_tokens": 11,
    }  # fmt: skip
    assert found[2]["own_usd"] == 0.000007


def test_what_a_run_that_is_over_left_without_an_end_was_stopped_with_it() -> None:
    state = RunState()
    bodies = [
        ("expanded", "m", {"count": 2}),
        ("started", "m[0]/turn1", {"attempt": 1, "agent": "a"}),
        ("done", "m[0]/turn1", {"cost": 0}),
        ("started", "n/x", {"attempt": 1}),
        ("done", "n/x", {}),
    ]
    for seq, (kind, path, body) in enumerate(bodies, start=1):
        state.apply(Draft(kind, path, body), seq=seq, at=seq)
    before = [each.status for branch in grow(state) for each in branch.walk()]
    assert before == ["running", "running", "done", "running", "done"]
    state.apply(Draft("run_finished", "", {"status": "limited"}), seq=9, at=9)
    branches = grow(state)
    after = [each.status for branch in branches for each in branch.walk()]
    assert after == ["cancelled", "cancelled", "done", "done", "done"]
    assert step_object(branches[0], io=False)["status"] == "cancelled"
    assert step_object(branches[0].inner[0], io=False)["status"] == "cancelled"
    lines = list(outline(Screen(Flags(color="never")), branches, 5_000_000, depth=None, stream=None))
    assert not any("running" in line for line in lines)


def test_calls_of_a_turn_stand_in_the_order_in_which_the_model_made_them() -> None:
    state = RunState()
    started = [
        "a/turn1/@before_model",
        "a/turn1",
        "a/turn1/tool10",
        "a/turn1/tool2/turn1",
        "a/turn1/tool0",
        "m[1]",
        "m[0]",
    ]
    for seq, path in enumerate(started, start=1):
        body = {"attempt": 1} | ({"agent": "a"} if path.endswith("turn1") else {})
        state.apply(Draft("started", path, body), seq=seq, at=seq)
    agent, mapped = grow(state)
    assert [each.name for each in agent.inner[0].inner] == ["@before_model", "tool0", "tool2", "tool10"]
    assert [each.name for each in mapped.inner] == ["[1]", "[0]"]
