"""From what a performer says to the record of an attempt's end: pure, but for the time it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from orchestrator.engine.steps.common import handled_by
from orchestrator.journal.records import Draft
from orchestrator.jsonish import canonical, shortened
from orchestrator.spec.values import check_value, shape_value
from orchestrator.tools.protocol import Done, Failed, Lost

if TYPE_CHECKING:
    from orchestrator.agents.messages import Reply, Usage
    from orchestrator.engine.activation import Intent
    from orchestrator.journal.state import StepState
    from orchestrator.tools.protocol import Outcome

RETRYABLE = frozenset({"timeout", "rate_limit", "unavailable", "tool_error", "invalid_output"})
"""Classes that ``retry`` without ``on`` tries again."""

UNAVAILABLE = frozenset({"timeout", "rate_limit", "unavailable"})
"""Classes of a model call after which the next model of a fallback is asked."""

LONGEST_RETRY_AFTER = 15 * 60 * 1_000_000
"""The other side may ask for more patience than this (µs); it does not get it."""

MOST_MESSAGE = 64 * 1024
"""Characters of an error's message; the run's row holds it, beside its journal."""

MOST_DETAIL = 1024 * 1024
"""Bytes of an error's detail, as JSON."""

Kept: TypeAlias = "dict[str, Any]"


def ended(intent: Intent, outcome: Outcome, *, step: StepState, attempts: int, at: int, kept: Kept) -> Draft:
    """The record of how an attempt ended. ``kept``: the hashes of what was stored beside it (files, overflow, size)."""
    if isinstance(outcome, Done):
        return _done(intent, outcome, step=step, attempts=attempts, at=at, kept=kept)
    if isinstance(outcome, Lost):
        if intent.effect == "write":
            message = shortened(outcome.message, MOST_MESSAGE)
            body = {"reason": "doubt", "attempt": intent.attempt, "code": outcome.code, "message": message}
            return Draft("waiting", intent.path, body)
        outcome = Failed(outcome.code, outcome.message, status=outcome.status)
    return failed(intent, outcome, step=step, attempts=attempts, at=at)


def _done(intent: Intent, outcome: Done, *, step: StepState, attempts: int, at: int, kept: Kept) -> Draft:
    node = intent.act.node
    output = outcome.output
    schema = node.output
    if schema is not None and outcome.overflow is None:
        if node.lenient:
            output = shape_value(schema, output)
        problems = check_value(schema, output)
        if problems:
            bad = Failed(
                "invalid_output", f"the result does not fit its type: {problems[0]}", detail={"problems": problems[:20]}
            )
            return failed(intent, bad, step=step, attempts=attempts, at=at)
    return Draft("done", intent.path, {"attempt": intent.attempt, "output": output, **kept})


def bill(usage: Usage | None, cost: int | None) -> dict[str, Any]:
    """What a model call used. ``cost`` None: not known, and then all that was reserved is charged."""
    counted = (
        None if usage is None else {name: getattr(usage, name) for name in usage.__match_args__ if getattr(usage, name)}
    )
    known = {} if not counted else {"usage": counted}
    return {"cost": cost, "tokens": usage.total if usage else 0, **known}


def replied(intent: Intent, reply: Reply, *, cost: int | None) -> Draft:
    """The record of a model's reply; its content exactly as it came."""
    body: dict[str, Any] = {
        "attempt": intent.attempt,
        "reply": {
            "content": reply.content,
            "stop": reply.stop,
            "model": reply.model,
            "request_id": reply.request_id,
            "raw_stop": reply.raw_stop,
        },
        **bill(reply.usage, cost),
    }
    if reply.detail:
        body["reply"]["detail"] = reply.detail
    return Draft("done", intent.path, body)


def failed(
    intent: Intent,
    outcome: Failed,
    *,
    step: StepState,
    attempts: int,
    at: int,
    billed: dict[str, Any] | None = None,
) -> Draft:
    """The record of a failed attempt: with the time of the next one, where ``retry`` grants it. ``billed``: the bill
    of a model call."""
    body: dict[str, Any] = {"attempt": intent.attempt, "code": outcome.code}
    body |= error_body({"message": outcome.message, "status": outcome.status, "detail": outcome.detail})
    if outcome.no_effect:
        body["no_effect"] = True
    body |= billed or {}
    following = _next_model(intent, outcome)
    retry_at = at if following else _retry_at(intent, outcome, step=step, attempts=attempts, at=at)
    if retry_at is not None:
        body["retry_at"] = retry_at
        if following is not None:
            body["fallback"] = following
    else:
        handled = handled_by(intent.act)
        if handled:
            body["handled"] = handled
    return Draft("failed", intent.path, body)


def error_body(error: dict[str, Any]) -> dict[str, Any]:
    """What an error says, without what it leaves open, and no more of it than a run's row holds."""
    said = {name: value for name, value in error.items() if value is not None}
    said["message"] = shortened(said["message"], MOST_MESSAGE)
    if "detail" in said and len(text := canonical(said["detail"])) > MOST_DETAIL:
        said["detail"] = {"cut": shortened(text.decode(), MOST_MESSAGE)}
    return said


def cancelled(intent: Intent, *, began: bool) -> Draft:
    """The record of an attempt that was stopped, with its scope or by a budget of its own. Of one that ``began``, a
    write may have happened, and a model call may be billed in full."""
    body: dict[str, Any] = {"attempt": intent.attempt}
    stop = intent.act.stop
    if stop:
        body |= error_body(stop)
        handled = handled_by(intent.act)
        body |= {"handled": handled} if handled else {}
    if began and intent.effect == "write":
        body["in_doubt"] = True
    if began and intent.kind == "model":
        body |= bill(None, None)
    return Draft("failed" if stop else "cancelled", intent.path, body)


def _next_model(intent: Intent, outcome: Failed) -> int | None:
    """Which model of a fallback comes after one that is unavailable: 0 where it was the last. None: no other one."""
    model = intent.model
    if model is None or model.of == 1 or intent.act.stop is not None or outcome.code not in UNAVAILABLE:
        return None
    return (model.index + 1) % model.of


def _retry_at(intent: Intent, outcome: Failed, *, step: StepState, attempts: int, at: int) -> int | None:
    retry = intent.act.node.retry
    if retry is None or intent.act.stop is not None or step.failures + 1 >= attempts:
        return None
    wanted = retry.on or tuple(RETRYABLE)
    if outcome.code not in wanted and outcome.status not in wanted:
        return None
    delay = min(retry.delay * retry.backoff**step.failures, retry.max_delay)
    if outcome.retry_after is not None:
        delay = max(delay, min(outcome.retry_after * 1_000_000, LONGEST_RETRY_AFTER))
    return at + int(delay)


End: TypeAlias = Literal["done", "failed", "limited", "cancelled", "waiting", "paused", "stopped", "held"]
