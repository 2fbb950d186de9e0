"""How driving a run ended, for whoever started it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.engine.budgets import sentence
from orchestrator.frozen import field, frozen
from orchestrator.journal.unread import unread

if TYPE_CHECKING:
    from orchestrator.journal.state import RunState


@frozen(kw_only=True)
class RunEnd:
    """``status`` is the run's (``done failed limited cancelled waiting paused``), or ``stopped`` by a signal.

    ``spend`` in micro-dollars, None where a price is unknown; times in microseconds; ``error`` has code, message,
    status, detail and step; ``waits`` says what the run waits for, ``unread`` which messages (step and text) no agent
    has read.
    """

    run_id: str
    status: str
    reason: str | None = None
    outputs: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    spend: int | None = 0
    tokens: int = 0
    started_at: int = 0
    ended_at: int = 0
    waits: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    unread: list[dict[str, str]] = field(default_factory=list[dict[str, str]])


def end_of(run_id: str, state: RunState, *, stopped: bool = False) -> RunEnd:
    """The end that a state tells."""
    finished = state.finished or {}
    waiting = [] if state.finished else [(path, step) for path, step in state.steps.items() if step.waiting is not None]
    limit: dict[str, Any] | None = None if state.paused is None else state.paused.get("limit")
    waits = [{"step": path, **(step.waiting or {})} for path, step in waiting]
    if limit is not None:
        waits.append({**limit, "reason": "limit", "message": sentence(limit)})
    return RunEnd(
        run_id=run_id,
        status="stopped" if stopped else state.status,
        reason=_reason(state),
        outputs=finished.get("outputs"),
        error=finished.get("error"),
        spend=None if state.unpriced else state.spend,
        tokens=state.tokens,
        started_at=state.started_at,
        ended_at=state.finished_at or state.at,
        waits=waits,
        unread=unread(state),
    )


def _reason(state: RunState) -> str | None:
    """Why it is paused, or what it waits for."""
    if state.paused is not None:
        return state.paused.get("reason")
    if state.status != "waiting":
        return None
    return next((step.waiting.get("reason") for step in state.steps.values() if step.waiting is not None), None)
