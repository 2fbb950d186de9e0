from __future__ import annotations

import pytest

from orchestrator.journal.records import KINDS, Draft, Record
from orchestrator.journal.state import RunState, fold


class Story:
    """Records one after the other, and the state after each."""

    def __init__(self):
        self.records = []
        self.tell("run_started", name="g", inputs={}, folder="/", seed="s")

    def tell(self, kind, path="", **body):
        seq = len(self.records) + 1
        self.records.append(Record(seq, 1, kind, path, body, seq * 10))
        return self

    def start(self, path, attempt=1, **more):
        return self.tell("started", path, attempt=attempt, hash="h", effect="read", **more)

    @property
    def state(self):
        return fold(self.records)


@pytest.fixture
def story():
    return Story()


def test_a_state_is_nothing_but_the_fold_of_its_records(story):
    story.start("a").tell("done", "a", attempt=1, output=5, cost=7, tokens=3)
    one, whole = RunState(), story.state
    for record in story.records:
        one.apply(record, seq=record.seq, at=record.at, epoch=record.epoch)
    assert (one.head, one.at, one.epoch, one.spend, one.tokens) == (3, 30, 1, 7, 3)
    step = whole.steps["a"]
    assert (step.status, step.output, step.ended_at, step.ended_seq, step.started_at) == ("done", 5, 30, 3, 20)
    assert whole.opens == {}


def test_every_kind_of_record_is_known(story):
    state = story.state
    bodies = {
        "started": {"attempt": 1},
        "failed": {"attempt": 1},
        "fired": {"timer": "timeout"},
        "compacted": {"turn": 1},
        "limit_reached": {"then": "pause"},
        "budget_added": {"add": {"usd": 1}},
        "run_finished": {"status": "done"},
    }
    for kind in KINDS[1:]:
        state.apply(Draft(kind, "x", bodies.get(kind, {})), seq=state.head + 1, at=0)
    assert state.head == len(KINDS)


def test_drafts_leave_the_epoch_alone(story):
    state = story.state
    state.apply(Draft("started", "a", {"attempt": 1}), seq=2, at=1)
    assert state.epoch == 1


def test_an_attempt_is_open_from_its_start_to_its_end(story):
    story.start("a", reserve={"usd": 50}, key="k", tool="t", logical=2)
    state = story.state
    assert list(state.opens) == ["a"]
    assert (state.reserved, state.spend) == (50, 50)
    assert (state.steps["a"].status, state.steps["a"].key, state.steps["a"].logical) == ("running", "k", 2)
    story.tell("failed", "a", attempt=1, code="c", message="m", cost=20, tokens=4, retry_at=99)
    state = story.state
    assert (state.opens, state.reserved, state.settled, state.tokens) == ({}, 0, 20, 4)
    assert (state.steps["a"].status, state.steps["a"].retry_at, state.steps["a"].failures) == ("retrying", 99, 1)
    assert not state.steps["a"].ended
    assert story.start("a", 2).state.steps["a"].retry_at is None


def test_a_cost_that_is_not_known_settles_at_what_was_reserved(story):
    story.start("a", reserve={"usd": 50}).tell("done", "a", attempt=1, cost=None, tokens=0)
    state = story.state
    assert (state.settled, state.unpriced, state.steps["a"].cost) == (50, False, 50)


def test_without_a_price_the_run_has_none(story):
    story.start("a", reserve={"usd": None, "tokens": 5}).tell("done", "a", attempt=1, cost=None)
    state = story.start("a", 2).tell("done", "a", attempt=2, cost=3).state
    assert (state.unpriced, state.steps["a"].cost, state.settled) == (True, None, 3)
    assert story.start("a", 3, reserve={"usd": 5}).tell("claimed").state.steps["a"].cost is None


def test_a_claim_loses_what_was_open_and_what_it_reserved_stays_charged(story):
    story.start("a", reserve={"usd": 50}).start("b")
    story.tell("done", "b", attempt=1).tell("claimed", owner="x", host="h").tell("claimed", owner="y")
    state = story.state
    assert (state.opens, state.reserved, state.lost, state.spend) == ({}, 0, 50, 50)
    assert (state.steps["a"].open, state.steps["a"].lost, state.steps["b"].lost) == (False, True, False)
    assert state.claim["owner"] == "y"
    assert not story.start("a", 2).state.steps["a"].lost


def test_an_effect_lost_in_the_same_process_waits_and_stays_charged(story):
    story.start("a", reserve={"usd": 5}).tell("waiting", "a", reason="doubt", attempt=1)
    state = story.state
    assert (state.steps["a"].status, state.opens, state.lost) == ("waiting", {}, 5)
    story.tell("paused", reason="doubt")
    assert story.state.status == "paused"
    story.tell("claimed").tell("waiting", "a", reason="doubt").tell("resolved", "a", retry=True)
    state = story.state
    assert (state.status, state.steps["a"].waiting, state.steps["a"].resolved) == ("running", None, {"retry": True})
    assert story.start("a", 2).state.steps["a"].resolved is None


def test_what_was_cut_off_may_be_in_doubt(story):
    story.start("a").start("b")
    story.tell("cancelled", "a", attempt=1, in_doubt=True).tell("cancelled", "b", attempt=1)
    steps = story.state.steps
    assert (steps["a"].lost, steps["b"].lost) == (True, False)
    assert {steps["a"].status, steps["b"].status} == {"cancelled"}


def test_a_failure_that_is_handled_ends_with_its_fallback(story):
    story.tell("failed", "a", attempt=1, code="c", message="m", status=4, detail=[1], handled="step")
    step = story.state.steps["a"]
    assert (step.status, step.ended) == ("running", False)
    assert step.error == {"code": "c", "message": "m", "status": 4, "detail": [1]}
    done = story.tell("done", "a", output=1, by="fallback").state.steps["a"]
    assert (done.status, done.error["code"]) == ("done", "c")


def test_a_good_attempt_after_a_bad_one_has_no_error(story):
    story.start("a").tell("failed", "a", attempt=1, code="c", message="m", retry_at=5, no_effect=True)
    assert story.state.steps["a"].logical == 2
    step = story.start("a", 2, logical=2).tell("done", "a", attempt=2).state.steps["a"]
    assert (step.error, step.failures, step.attempt) == (None, 1, 2)


def test_a_cancel_and_a_timer_keep_their_place(story):
    state = story.tell("fired", "g", timer="timeout").tell("cancel_requested", reason="x").state
    assert (state.steps["g"].fired, state.steps["g"].fired_seq) == ("timeout", 2)
    assert (state.cancel, state.cancel_seq) == ({"reason": "x"}, 3)


def test_the_end_is_the_runs_status(story):
    assert story.state.status == "running"
    state = story.tell("run_finished", status="failed", error={}).state
    assert (state.status, state.finished_at) == ("failed", 20)


def reopened(story, path, key="reopen"):
    story.tell("run_finished", status="failed").tell("claimed").tell("resumed", **{key: [path]})
    assert story.state.finished is None
    return story.state.steps[path]


def test_an_end_is_taken_back_and_attempts_go_on_counting(story):
    story.start("a", key="k").tell("failed", "a", attempt=1, code="c", message="m").tell("fired", "a", timer="timeout")
    step = reopened(story, "a")
    assert (step.status, step.attempt, step.round, step.failures) == ("new", 1, 2, 0)
    assert step.error is step.fired is step.ended_at is None
    assert step.logical == 1  # nothing proves that the first attempt had no effect


def test_only_what_was_done_well_is_done_again_under_a_new_key(story):
    story.start("f").tell("done", "f", attempt=1, output=1)
    assert reopened(story, "f", "again").logical == 2


def test_what_was_in_doubt_is_in_doubt(story):
    story.start("w").tell("cancelled", "w", attempt=1, in_doubt=True)
    step = reopened(story, "w")
    assert (step.status, step.lost, step.ended, step.logical) == ("running", True, False, 1)


def test_a_list_is_looked_at_again_and_a_case_stays(story):
    story.tell("expanded", "m", count=3, keys=["a"]).tell("expanded", "s", case="x").tell("expanded", "f/m", case="x")
    story.tell("resumed", reopen=["m", "s"], again=["f/m"])
    steps = story.state.steps
    assert (steps["m"].expanded, steps["s"].expanded, steps["f/m"].expanded) == (None, {"case": "x"}, None)
