"""Journals that no decider wrote."""

from __future__ import annotations

import pytest

from orchestrator.engine.verify import verify
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import Retry
from tests.unit.engine.test_decide import set_
from tests.unit.engine.world import RUN, World, call, graph

GRAPH = graph(
    call("a", {"x": 1}, effect="idempotent", retry=Retry(attempts=Const(2))),
    set_("b", needs=("a",), x="steps.a.output"),
    call("c", {"x": "steps.b.output.x"}, needs=("b",)),
)


@pytest.fixture
def records():
    world = World(GRAPH).play()
    assert world.end["status"] == "done"
    return world.records


def said(records):
    return str(verify(GRAPH, records, run_id=RUN.run_id))


def at(records, kind, path=""):
    return next(index for index, record in enumerate(records) if (record.kind, record.path) == (kind, path))


def change(records, index, **body):
    records[index] = records[index]._replace(body=records[index].body | body)
    return said(records)


def renumbered(records):
    return [record._replace(seq=seq) for seq, record in enumerate(records, 1)]


def test_a_journal_as_it_was_written_passes(records):
    assert verify(GRAPH, records, run_id=RUN.run_id) is None


@pytest.mark.parametrize("skip", [0, 1])
def test_a_journal_has_a_beginning(records, skip):
    assert said(records[5:] if skip else []) == "record 1 (the run): a journal begins with run_started"


def test_a_gap_is_seen(records):
    del records[2]
    assert "record 4" in said(records)
    assert "gap" in said(records)


@pytest.mark.parametrize("change_of", [{"attempt": 2}, {"hash": "0" * 32}, {"key": "other"}])
def test_an_effect_with_another_input_attempt_or_key(records, change_of):
    assert "another attempt, input or key" in change(records, at(records, "started", "a"), **change_of)


def test_an_effect_that_nothing_permitted(records):
    index = at(records, "started", "a")
    records[index] = records[index]._replace(path="zz")
    assert said(records) == f"record {index + 1} (zz): an effect was started that was not permitted here"


def test_an_effect_before_what_it_needs(records):
    first, last = at(records, "started", "a"), at(records, "started", "c")
    early = renumbered([*records[:first], records[last], *records[first:last], *records[last + 1 :]])
    assert "not permitted here" in said(early)


def test_a_control_record_that_was_not_decided(records):
    assert "something else than was decided" in change(records, at(records, "done", "b"), output={"x": 99})
    assert "something else" in change(records, at(records, "run_finished"), status="failed")


def test_an_end_of_another_attempt(records):
    assert "closes attempt 7, and attempt 1 is open" in change(records, at(records, "done", "a"), attempt=7)


@pytest.mark.parametrize("kind", ["done", "failed", "cancelled", "waiting", "skipped", "expanded", "run_finished"])
def test_an_end_that_closes_nothing(records, kind):
    index = at(records, "started", "a")
    extra = records[index]._replace(kind=kind, body={"attempt": 1})
    assert "closes nothing that is open" in said(renumbered([*records[:index], extra, *records[index:]]))


def test_a_second_end(records):
    index = at(records, "done", "a")
    assert "closes nothing" in said(renumbered([*records[: index + 2], records[index], *records[index + 2 :]]))


def test_what_was_decided_and_never_written_is_decided_again_after_a_claim():
    world = World(GRAPH).play()
    world.crash(at(world.records, "done", "a") + 1)
    world.play()
    assert verify(GRAPH, world.records, run_id=RUN.run_id) is None
