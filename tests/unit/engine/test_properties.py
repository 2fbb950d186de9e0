"""The decider under random graphs: nested groups, maps, switches, agents, fallbacks, retries, timers, crashes."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.journal.state import RunState, fold
from tests.unit.engine.graphs import ENDS, Maker, Rough
from tests.unit.engine.spending import Budgeted, Payer

if TYPE_CHECKING:
    from orchestrator.journal.records import Record

COUNT = 4_000 if os.environ.get("ORCH_PROVE") else 120
prove = settings(max_examples=COUNT, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 2**32)


def whole(world: Rough) -> None:
    """It ended, its journal is one that the decider could have written, and no attempt has two ends."""
    assert world.end is not None, [(path, step.status) for path, step in world.state.steps.items() if not step.ended]
    assert world.verify() is None
    ends = Counter(
        (record.path, record.body["attempt"])
        for record in world.records
        if record.kind in ENDS and "attempt" in record.body
    )
    assert {key: times for key, times in ends.items() if times > 1} == {}
    Keepers().read(world.records)


CALL = re.compile(r"(.*/turn\d+)/tool(\d+)")


class Keepers:
    """What agents keep, by a model that knows nothing but the calls and the order of their ends."""

    def __init__(self) -> None:
        self.calls: dict[str, list[dict[str, Any]]] = {}
        self.notes: dict[str, list[str]] = {}
        self.todo: list[dict[str, Any]] = []
        self.board: dict[str, Any] = {}

    def read(self, records: list[Record]) -> None:
        for record in records:
            if record.kind == "resumed":
                self.notes = {path: kept for path, kept in self.notes.items() if path not in record.body["again"]}
            elif record.kind == "done" and "reply" in record.body:
                blocks = record.body["reply"]["content"]
                self.calls[record.path] = [block for block in blocks if block["type"] == "tool_use"]
            elif record.kind in ("done", "failed") and (place := CALL.fullmatch(record.path)):
                turn, index = place.groups()
                call = self.calls[turn][int(index)]
                if call["name"] not in ("t", "nope"):
                    known = {"todo": self.listed}.get(call["name"]) or getattr(self, call["name"])
                    expected = known(turn.rpartition("/turn")[0], **call["input"])
                    assert record.body.get("output") == expected, record

    def note(self, owner: str, text: str | None = None) -> Any:
        self.notes[owner] = self.notes.get(owner, []) + ([] if text is None else [text])
        return self.notes[owner]

    def listed(self, owner: str, add: list[str] | None = None, done: int | None = None) -> Any:
        if done is not None and not 0 < done <= len(self.todo):
            return None
        self.todo = [one | {"done": one["done"] or one["id"] == done} for one in self.todo]
        self.todo += [{"id": len(self.todo) + i, "text": text, "done": False} for i, text in enumerate(add or [], 1)]
        return self.todo

    def board_get(self, owner: str, board: str) -> Any:
        return dict(self.board)

    def board_set(self, owner: str, board: str, key: str, value: Any, **more: Any) -> Any:
        current = self.board.get(key)
        if "expected" in more and more["expected"] != current:
            return {"ok": False, "value": current}
        self.board.pop(key, None)
        self.board |= {} if value is None else {key: value}
        return {"ok": True, "value": value}


def kept_of(state: RunState) -> object:
    kept = state.kept
    return kept.notes, kept.todos, {name: (board.values, board.size) for name, board in kept.boards.items()}


def same(world: Rough) -> None:
    """A decider built from the records stands where the living one stands, once what was stopped has ended; and to look
    again decides nothing."""
    if not world.decider.cancels:
        assert world.twin() == (world.permits(), [])
    assert kept_of(fold(world.records)) == kept_of(world.state)
    if world.rng.randrange(3) == 0:
        world.nudge()


def end(world: Rough) -> tuple[object, object]:
    assert world.end is not None
    return world.end["status"], world.end.get("outputs")


@prove
@given(SEEDS)
def test_the_order_of_ends_and_crashes_anywhere_change_nothing(seed):
    graph = Maker(random.Random(seed)).graph()
    first = Rough(graph, seed=seed)
    while first.tick():
        same(first)
    whole(first)
    other = Rough(graph, seed=seed + 1).play()
    whole(other)
    assert end(other) == end(first)

    cut = Rough(graph, seed=seed + 2)
    cut.records = first.records[: cut.rng.randrange(1, len(first.records))]
    done = {record.path for record in cut.records if record.kind == "done"}
    cut.crash()
    while cut.tick():
        same(cut)
        if cut.rng.randrange(12) == 0:
            cut.crash()
    whole(cut)
    assert end(cut) == end(first)
    assert not done & {path for path, _ in cut.performed}


@prove
@given(SEEDS)
def test_timers_cancels_and_crashes_at_any_record_leave_a_run_that_ends(seed):
    world = Rough(Maker(random.Random(seed)).graph(), seed=seed, rough=True)
    while world.tick():
        same(world)
        if world.rng.randrange(20) == 0:
            world.crash()
    whole(world)


@prove
@given(SEEDS)
def test_a_run_that_is_taken_up_again_repeats_nothing_that_was_done(seed):
    world = Rough(Maker(random.Random(seed)).graph(), seed=seed, rough=bool(seed % 2)).play()
    for _ in range(2):
        if end(world)[0] == "done":
            break
        done = {path for path, step in world.state.steps.items() if step.status == "done"}
        world.performed.clear()
        world.reopen()
        taken = next(record.body for record in reversed(world.records) if record.kind == "resumed")
        while world.tick():
            same(world)
            if world.rng.randrange(20) == 0:
                world.crash()
        whole(world)
        repeated = done & {path for path, _ in world.performed}
        assert repeated <= {*taken["again"], *(path for path in taken["reopen"] if "/turn" in path)}
        world.rough = False
        world.bad = 10_000


@prove
@given(SEEDS)
def test_what_is_in_doubt_waits_for_a_word_and_a_run_ends_all_the_same(seed):
    world = Rough(Maker(random.Random(seed), doubts=("ask", "fail", "retry")).graph(), seed=seed, rough=True)
    words = ({"result": 1}, {"retry": True}, {"fail": True})
    while True:
        while world.tick():
            same(world)
            if world.rng.randrange(12) == 0:
                world.crash()
        if world.end is not None:
            break
        waiting = [
            path for path, step in world.state.steps.items() if step.waiting is not None and path in world.decider.acts
        ]
        assert waiting
        world.resolve(world.rng.choice(waiting), world.rng.choice(words))
    whole(world)


@prove
@given(SEEDS)
def test_no_budget_is_ever_overdrawn_and_a_run_under_budgets_ends(seed):
    world = Budgeted(Payer(random.Random(seed)).graph(), seed=seed, rough=bool(seed % 2))
    while world.tick():
        same(world)
        if world.rng.randrange(20) == 0:
            before = world.spent()
            world.crash()
            assert world.spent() == before
    whole(world)


@prove
@given(SEEDS)
def test_a_run_that_a_budget_ended_goes_on_with_more_and_repeats_nothing_that_was_done(seed):
    world = Budgeted(Payer(random.Random(seed)).graph(), seed=seed, most=0).play()
    for _ in range(3):
        if end(world)[0] != "limited":
            break
        done = {path for path, step in world.state.steps.items() if step.status == "done"}
        world.performed.clear()
        before = world.spent()
        world.reopen()
        assert world.spent() == before
        taken = next(record.body for record in reversed(world.records) if record.kind == "resumed")
        world.more()
        while world.tick():
            same(world)
            if world.rng.randrange(20) == 0:
                world.crash()
        whole(world)
        repeated = done & {path for path, _ in world.performed}
        assert repeated <= {*taken["again"], *(path for path in taken["reopen"] if "/turn" in path)}


@pytest.mark.parametrize("seed", [1914, 2451, 38, 85, 88])
def test_seeds_that_found_something(seed):
    graph = Maker(random.Random(seed), keeps=False).graph()
    for rough in (False, True):
        world = Rough(graph, seed=seed, rough=rough)
        while world.tick():
            same(world)
            if rough and world.rng.randrange(20) == 0:
                world.crash()
        whole(world)
