"""From what a performer says to the record of an attempt's end: pure, but for the time it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from orchestrator.engine.steps.common import handled_by
from orchestrator.journal.records import Draft
from orchestrator.spec.types import check_value, shape_value
from orchestrator.tools.protocol import Done, Failed, Lost

if TYPE_CHECKING:
    from orchestrator.agents.messages import Reply
    from orchestrator.engine.activation import Intent
    from orchestrator.journal.state import StepState
    from orchestrator.tools.protocol import Outcome

RETRYABLE = frozenset({"timeout", "rate_limit", "unavailable", "tool_error", "invalid_output"})
"""Classes that ``retry`` without ``on`` tries again."""

LONGEST_RETRY_AFTER = 15 * 60 * 1_000_000
"""The other side may ask for more patience than this (µs); it does not get it."""

Kept: TypeAlias = "dict[str, Any]"


def ended(intent: Intent, outcome: Outcome, *, step: StepState, attempts: int, at: int, kept: Kept) -> Draft:
    """The record of how an attempt ended. ``kept``: the hashes of what was stored beside it (files, overflow, size)."""
    if isinstance(outcome, Done):
        return _done(intent, outcome, step=step, attempts=attempts, at=at, kept=kept)
    if isinstance(outcome, Lost):
        if intent.effect == "write":
            body = {"reason": "doubt", "attempt": intent.attempt, "code": outcome.code, "message": outcome.message}
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


def replied(intent: Intent, reply: Reply, *, cost: int | None, tokens: int) -> Draft:
    """The record of a model's reply; its content exactly as it came."""
    usage = reply.usage
    body: dict[str, Any] = {
        "attempt": intent.attempt,
        "reply": {
            "content": reply.content,
            "stop": reply.stop,
            "model": reply.model,
            "request_id": reply.request_id,
            "raw_stop": reply.raw_stop,
        },
        "cost": cost,
        "tokens": tokens,
    }
    if usage is not None:
        body["usage"] = {name: getattr(usage, name) for name in usage.__slots__ if getattr(usage, name)}
    if reply.detail:
        body["reply"]["detail"] = reply.detail
    return Draft("done", intent.path, body)


def failed(
    intent: Intent, outcome: Failed, *, step: StepState, attempts: int, at: int, cost: int | None = 0, tokens: int = 0
) -> Draft:
    """The record of a failed attempt: with the time of the next one, where ``retry`` grants it."""
    body: dict[str, Any] = {"attempt": intent.attempt, "code": outcome.code, "message": outcome.message}
    for name in ("status", "detail"):
        if getattr(outcome, name) is not None:
            body[name] = getattr(outcome, name)
    if outcome.no_effect:
        body["no_effect"] = True
    if cost != 0 or tokens:
        body |= {"cost": cost, "tokens": tokens}
    retry_at = _retry_at(intent, outcome, step=step, attempts=attempts, at=at)
    if retry_at is not None:
        body["retry_at"] = retry_at
    else:
        handled = handled_by(intent.act)
        if handled:
            body["handled"] = handled
    return Draft("failed", intent.path, body)


def cancelled(intent: Intent, *, in_doubt: bool) -> Draft:
    """The record of an attempt that was stopped with its scope."""
    body: dict[str, Any] = {"attempt": intent.attempt}
    return Draft("cancelled", intent.path, body | {"in_doubt": True} if in_doubt else body)


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
