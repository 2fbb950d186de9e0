"""Records as lines: for logs, and for what a run says where there is no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.cli.render.end import told_call
from orchestrator.cli.render.text import one_line
from orchestrator.cli.render.values import MARKS, moment, money, short_json

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen
    from orchestrator.journal.records import Record

_KIND_MARKS = {
    "started": "running", "done": "done", "failed": "failed", "skipped": "skipped", "cancelled": "cancelled",
    "waiting": "waiting", "paused": "paused",
}  # fmt: skip


_WORDS = {"fired": "timed out"}
"""Kinds whose name says too little."""


def record_line(screen: Screen, record: Record, *, stream: Any, clock: bool = True) -> str:
    """A record on one line: the time of day, a mark, the path, the kind and the heart of its body."""
    mark, color = MARKS.get(_KIND_MARKS.get(record.kind, ""), ("·", "dim"))
    parts = [screen.style(_time_of_day(record.at), "dim", stream=stream)] if clock else []
    parts += [
        screen.style(mark, color, stream=stream),
        one_line(record.path, 80) or "run",
        _WORDS.get(record.kind, record.kind.replace("_", " ")),
    ]
    told = heart(record)
    return " ".join([*parts, screen.style(told, "dim", stream=stream)] if told else parts)


def heart(record: Record) -> str:
    """What a body says that people want to see."""
    body = record.body
    match record.kind:
        case "failed" | "run_finished" if body.get("error") or record.kind == "failed":
            error: dict[str, Any] = body.get("error") or body
            again = " (tries again)" if "retry_at" in body else ""
            status = f"{body['status']}: " if record.kind == "run_finished" else ""
            return one_line(f"{status}{error.get('code', '')}: {error.get('message', '')}{again}", 160)
        case "run_finished":
            return one_line(str(body.get("status", "")))
        case "done":
            return _done(body)
        case "started":
            return f"attempt {body['attempt']}" if body.get("attempt", 1) > 1 else ""
        case "waiting" if body.get("reason") == "approval":
            return one_line(f"approval: {told_call(body, 150)}", 160)
        case "answered":
            comment = f": {body['comment']}" if body.get("comment") else ""
            return one_line(f"{body.get('choice')} by {body.get('by')}{comment}", 160)
        case "waiting" | "paused" | "cancel_requested" | "resolved" | "skipped":
            return one_line(str(body.get("reason") or body.get("for") or body.get("by") or ""), 100)
        case "expanded":
            return f"{body['count']} items" if "count" in body else ""
        case _:
            return ""


def _done(body: dict[str, Any]) -> str:
    parts: list[str] = []
    if body.get("tokens"):
        parts.append(f"{body['tokens']:,} tokens")
    if body.get("cost") is not None and body.get("tokens"):
        parts.append(money(body["cost"]))
    elif "cost" in body and body["cost"] is None:
        parts.append(money(None))
    if body.get("output") is not None:
        parts.append(short_json(body["output"], 80))
    return "  ".join(parts)


def record_object(record: Record) -> dict[str, Any]:
    """A record as programs read it."""
    return {
        "seq": record.seq,
        "epoch": record.epoch,
        "kind": record.kind,
        "path": record.path,
        "at": moment(record.at),
        "body": record.body,
    }


def _time_of_day(micros: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(micros / 1_000_000, UTC).astimezone().strftime("%H:%M:%S")
