from __future__ import annotations

from types import SimpleNamespace

import pytest

from orchestrator.agents.messages import Reply, Usage
from orchestrator.engine import outcomes
from orchestrator.expr.values import Const
from orchestrator.graph.nodes import Node, Retry, SetConfig
from orchestrator.journal.state import StepState
from orchestrator.tools.protocol import Done, Failed, Lost

CLOSED = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


def intent(effect="read", kind="tool", stop=None, **more):
    node = Node(name="s", id="s", kind="tool", config=SetConfig(values=Const(1)), **more)
    act = SimpleNamespace(node=node, stop=stop)
    return SimpleNamespace(act=act, effect=effect, kind=kind, path="s", attempt=2, model=None)


def ended(outcome, *, attempts=1, failures=0, kept=None, **more):
    step = StepState("s")
    step.failures = failures
    return outcomes.ended(intent(**more), outcome, step=step, attempts=attempts, at=1_000_000, kept=kept or {})


def test_what_comes_from_outside_loses_what_its_type_does_not_have():
    assert ended(Done({"a": 1, "b": 2}), output=CLOSED, lenient=True).body["output"] == {"a": 1}
    assert ended(Done({"a": 1, "b": 2}), output=CLOSED).body["code"] == "invalid_output"
    assert ended(Done({"b": 2}), output=CLOSED, lenient=True).body["detail"]["problems"]


def test_a_result_that_was_cut_is_not_checked():
    draft = ended(Done("abc", overflow="abcdef"), output=CLOSED, kept={"overflow": "h", "size": 6})
    assert draft.body == {"attempt": 2, "output": "abc", "overflow": "h", "size": 6}


def test_a_bad_result_is_tried_again_where_retry_says_so():
    retry = Retry(attempts=Const(2), delay=500)
    assert ended(Done({}), output=CLOSED, attempts=2, retry=retry).body["retry_at"] == 1_000_500


@pytest.mark.parametrize(
    ("outcome", "failures", "at"),
    [
        (Failed("timeout", ""), 0, 100),
        (Failed("timeout", ""), 2, 400),
        (Failed("timeout", ""), 9, 1_000),
        (Failed("rate_limit", "", retry_after=3.5), 0, 3_500_000),
        (Failed("rate_limit", "", retry_after=0.00001), 0, 100),
        (Failed("rate_limit", "", retry_after=10**9), 0, outcomes.LONGEST_RETRY_AFTER),
        (Failed("auth", ""), 0, None),
        (Failed("timeout", ""), 19, None),
    ],
)
def test_patience_grows_and_has_bounds(outcome, failures, at):
    retry = Retry(attempts=Const(20), delay=100, max_delay=1_000)
    draft = ended(outcome, attempts=20, failures=failures, retry=retry)
    assert draft.body.get("retry_at") == (None if at is None else 1_000_000 + at)


def test_what_is_being_stopped_is_not_tried_again():
    retry = Retry(attempts=Const(5))
    assert "retry_at" not in ended(Failed("timeout", ""), attempts=5, retry=retry, stop={}).body


@pytest.mark.parametrize(
    ("on_error", "stop", "handled"),
    [
        ("fail", None, None), ("continue", None, "continue"), ("step", None, "step"),
        ("continue", {}, "continue"), ("step", {}, None), ("step", {"code": "timeout"}, "step"),
    ],
)  # fmt: skip
def test_how_a_failure_is_dealt_with_is_recorded_with_it(on_error, stop, handled):
    assert ended(Failed("x", "y"), on_error=on_error, stop=stop).body.get("handled") == handled


def test_a_lost_write_is_in_doubt_and_anything_else_that_is_lost_has_failed():
    draft = ended(Lost("timeout", "late"), effect="write")
    assert (draft.kind, draft.body["reason"], draft.body["code"]) == ("waiting", "doubt", "timeout")
    assert ended(Lost("timeout", "late", 504), effect="idempotent").body["status"] == 504


def test_a_reply_is_kept_as_it_came_with_its_bill():
    reply = Reply([{"type": "text", "text": "x"}], "end_turn", Usage(3, 4, thinking=2), "m", "req", "raw", {"id": "i"})
    body = outcomes.replied(intent(kind="model"), reply, cost=9).body
    assert body["reply"]["content"] is reply.content
    assert body["reply"]["detail"] == {"id": "i"}
    assert (body["cost"], body["tokens"], body["usage"]) == (9, 7, {"input": 3, "output": 4, "thinking": 2})


def test_a_bill_that_is_not_known_says_so():
    assert outcomes.bill(None, None) == {"cost": None, "tokens": 0}
    assert outcomes.bill(Usage(), 0) == {"cost": 0, "tokens": 0}


@pytest.mark.parametrize(
    ("effect", "kind", "more"),
    [("write", "tool", {"in_doubt": True}), ("read", "tool", {}), ("read", "model", {"cost": None, "tokens": 0})],
)
def test_what_was_cut_off_says_what_may_have_become_of_it(effect, kind, more):
    assert outcomes.cancelled(intent(effect, kind), began=True).body == {"attempt": 2, **more}
    assert outcomes.cancelled(intent(effect, kind), began=False).body == {"attempt": 2}


HUGE = "\ud800\0" + "e" * 5_000_000


@pytest.mark.parametrize("outcome", [Failed("tool_error", HUGE), Lost("timeout", HUGE)])
@pytest.mark.parametrize("effect", ["read", "write"])
def test_the_text_of_an_error_is_cut_to_what_a_run_can_hold(outcome, effect):
    message = ended(outcome, effect=effect).body["message"]
    assert message.startswith("\ufffd\ufffdeee")
    assert message.endswith("e… (cut; 5000002 characters)")
    assert len(message) == outcomes.MOST_MESSAGE
    assert outcomes.error_body({"message": message}) == {"message": message}, "as it goes from step to step"


def test_the_detail_of_an_error_is_cut_to_what_a_run_can_hold():
    fits = {"text": "d" * (outcomes.MOST_DETAIL - len('{"text":""}'))}
    assert ended(Failed("tool_error", "", detail=fits)).body["detail"] == fits
    detail = ended(Failed("tool_error", "", detail={"text": fits["text"] + "d"})).body["detail"]
    assert list(detail) == ["cut"]
    assert detail["cut"].startswith('{"text":"ddd')
    assert detail["cut"].endswith(f"(cut; {outcomes.MOST_DETAIL + 1} characters)")
