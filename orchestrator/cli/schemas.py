"""JSON Schemas of what leaves the program: export lines and the documents of each verb."""

from __future__ import annotations

from typing import Any

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_OBJECT = {"type": ["object", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_TIME = {"type": ["string", "null"], "format": "date-time"}
_USD = {"type": ["number", "null"], "minimum": 0, "description": "Dollars; null where a price is unknown"}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = (), title: str = "") -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    made = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"title": title, **made} if title else made


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _format(name: str) -> dict[str, Any]:
    return {"const": f"orch.{name}/1"}


_ERROR = _object({"code": _TEXT, "message": _TEXT, "detail": {}, "step": _MAYBE_TEXT})
_FAILURE = {**_object({"error": _ERROR}), "title": "What a command prints that failed"}
_RUN = _object({
    "id": _TEXT,
    "name": _TEXT,
    "status": {"enum": ["queued", "running", "waiting", "paused", "done", "failed", "limited", "cancelled", "stalled"]},
    "reason": _MAYBE_TEXT,
    "created_at": _TIME,
    "updated_at": _TIME,
    "finished_at": _TIME,
    "wake_at": _TIME,
    "usd": _USD,
    "tokens": _COUNT,
    "labels": {"type": "object", "additionalProperties": _TEXT},
    "error": _MAYBE_OBJECT,
    "parent": _MAYBE_TEXT,
})  # fmt: skip
_RECORD = _object({
    "seq": _COUNT, "epoch": _COUNT, "kind": _TEXT, "path": _TEXT, "at": _TIME, "body": {"type": "object"},
})  # fmt: skip
_STEP = _object(
    {
        "path": _TEXT,
        "status": _MAYBE_TEXT,
        "attempt": _COUNT,
        "started_at": _TIME,
        "ended_at": _TIME,
        "seconds": {"type": ["number", "null"]},
        "usd": _USD,
        "tokens": _COUNT,
        "error": _MAYBE_OBJECT,
        "waiting": _MAYBE_OBJECT,
        "output": {},
        "files": {},
        "agents": _list(_TEXT),
        "turns": _COUNT,
        "own_usd": _USD,
        "own_tokens": _COUNT,
    },
    optional=(
        "attempt",
        "started_at",
        "ended_at",
        "seconds",
        "usd",
        "tokens",
        "error",
        "waiting",
        "output",
        "files",
        "agents",
        "turns",
        "own_usd",
        "own_tokens",
    ),
)
_PLACE = {name: {"type": ["integer", "null"]} for name in ("line", "column", "end_line", "end_column")}
_DIAGNOSTIC = _object({
    "code": _TEXT, "severity": {"enum": ["error", "warning"]}, "message": _TEXT, "hint": _MAYBE_TEXT,
    "file": _MAYBE_TEXT,
    **_PLACE, "notes": _list({"type": "object"}),
})  # fmt: skip
_COST = _object(
    {"usd": _USD, "settled_usd": _USD, "open_usd": _USD, "lost_usd": _USD, "tokens": _COUNT, "lost_tokens": _COUNT}
)
_GRAPH = _object({
    "format": _format("graph"),
    "name": _TEXT,
    "hash": _TEXT,
    "nodes": _list(_object({
        "id": _TEXT, "name": _TEXT, "kind": _TEXT, "parent": _MAYBE_TEXT, "at": _TEXT, "description": _TEXT,
        "definition": _TEXT,
    })),
    "edges": _list(_object({"from": _TEXT, "to": _TEXT})),
})  # fmt: skip
_UNREAD = {**_list(_object({"step": _TEXT, "text": _TEXT})), "description": "Messages that no agent has read"}
_HELD = {**_list(_object({"step": _TEXT, "for": _TEXT})), "description": "What may start, and waits for a place"}
_STANDS = _object({
    "status": {"enum": ["waiting", "paused", "stopped"]}, "reason": _MAYBE_TEXT, "run": _TEXT,
    "waits": _list({"type": "object"}),
})  # fmt: skip


def cli_schema() -> dict[str, Any]:
    """What each verb prints on standard output, under ``$defs``; streams have a schema per line."""
    definitions: dict[str, Any] = {
        "error": _FAILURE,
        "run": {"title": "run, resume", "anyOf": [{"type": "object", "title": "the outputs"}, _FAILURE, _STANDS]},
        "plan": _object({
            "format": _format("plan"), "graph": _GRAPH, "inputs": {"type": "object"}, "models": {"type": "object"},
            "tools": _list(_TEXT), "usd": _USD,
        }),
        "events": {"title": "run --events: a header, then lines", "anyOf": [
            _object({"format": _format("events"), "run": _TEXT}),
            _RECORD,
            _object({"kind": {"const": "text"}, "path": _TEXT, "text": _TEXT}),
            _object({
                "kind": {"const": "end"}, "status": _TEXT, "reason": _MAYBE_TEXT, "outputs": _MAYBE_OBJECT,
                "error": _MAYBE_OBJECT, "waits": _list({"type": "object"}), "unread": _UNREAD,
            }),
        ]},
        "list": _object({"format": _format("list"), "runs": _list(_RUN)}),
        "show": _object(
            {
                "format": _format("show"), "run": _RUN, "steps": _list(_STEP), "outputs": {},
                "unread": _UNREAD, "held": _HELD, "inputs": {}, "cost": _COST, "records": _list(_RECORD),
            },
            optional=("inputs", "cost", "records"),
        ),
        "logs": {"title": "logs: a header, then lines", "anyOf": [
            _object({"format": _format("logs"), "run": _TEXT}), _RECORD,
        ]},
        "validate": _object({"format": _format("diagnostics"), "diagnostics": _list(_DIAGNOSTIC)}),
        "graph": _GRAPH,
        "status": _object(
            {"format": _format("status"), "run": _TEXT, "status": _TEXT, "step": _TEXT}, optional=("step",)
        ),
        "verify": _object({"format": _format("verify"), "ok": {"type": "boolean"}, "runs": _list(_object({
            "run": _MAYBE_TEXT, "source": _TEXT, "records": _COUNT, "problems": _list(_TEXT),
            "decided": {"type": "boolean"},
        }))}),
        "init": _object({"format": _format("init"), "made": _list(_TEXT), "kept": _list(_TEXT)}),
        "import": _object({"format": _format("import"), "run": _TEXT, "store": _TEXT}),
        "gc": _object({
            "format": _format("gc"), "dry_run": {"type": "boolean"}, "runs": _list(_TEXT), "blobs": _COUNT,
            "bytes": _COUNT,
        }),
        "db": _object(
            {
                "format": _format("db"), "store": _TEXT, "applied": _list({"type": "integer"}),
                "problems": _list(_TEXT), "ddl": _TEXT,
            },
            optional=("store", "applied", "problems", "ddl"),
        ),
        "doctor": _object({"format": _format("doctor"), "ok": {"type": "boolean"}, "checks": _list(_object({
            "name": _TEXT, "status": {"enum": ["ok", "warn", "fail"]}, "detail": _TEXT,
        }))}),
    }  # fmt: skip
    return {"$schema": _DIALECT, "title": "What orch prints", "$defs": definitions}


def records_schema() -> dict[str, Any]:
    """A line of an export: the header, or a row of the journal."""
    from orchestrator.journal.records import KINDS

    hash_ = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    header = _object(
        {
            "format": _format("export"), "run": _TEXT, "name": _TEXT, "graph_hash": hash_,
            "redacted": {"type": "boolean"}, "head": _COUNT, "head_sum": hash_, "inbox": _COUNT,
            "graph": {"type": "object"}, "row": {"type": "object"},
        },
        optional=("graph", "row"),
        title="the first line",
    )  # fmt: skip
    row = _object(
        {
            "run_id": _TEXT,
            "seq": {"type": "integer", "minimum": 1},
            "epoch": _COUNT,
            "nonce": _TEXT,
            "kind": {"enum": list(KINDS)},
            "path": _TEXT,
            "body": {"type": "object"},
            "blob": {"anyOf": [hash_, {"type": "null"}]},
            "at": {"type": "integer", "description": "Microseconds since the epoch, UTC"},
            "sum": hash_,
        },
        title="a row of the journal",
    )
    content = _object({"content": hash_, "base64": _TEXT}, title="a stored content that a row names")
    message = _object(
        {"inbox": _TEXT, "kind": _TEXT, "path": _TEXT, "by": _TEXT, "at": _COUNT, "body": {"type": "object"}},
        title="what waits in the run's inbox, under its request id",
    )
    end = _object({"contents": _COUNT}, title="the last line: how many stored contents came before it")
    return {"$schema": _DIALECT, "title": "A line of `orch export`", "anyOf": [header, row, message, content, end]}
