"""``orch list``: the runs of a store, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from orchestrator.cli.flags import BadFlag
from orchestrator.cli.render.text import one_line
from orchestrator.cli.render.values import count, elapsed, local_time, moment, money, parse_since, table, usd
from orchestrator.cli.session import Session, begin, run_async

if TYPE_CHECKING:
    from orchestrator.journal.store import RunFilter, RunRow

_MOST = 2**31 - 1


def list_runs(
    context: typer.Context,
    status: Annotated[list[str] | None, typer.Option(help="Only these: running, waiting, failed, stalled …")] = None,
    name: Annotated[str | None, typer.Option(help="Only runs of this pipeline.")] = None,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="2h, 2026-11-23 or an RFC 3339 time.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Only runs that have this label.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
) -> int:
    """List the runs of a store."""
    session = begin(context)
    chosen, stalled = _filter(status or [], name, since, label or [], limit)
    rows = run_async(lambda: _load(session, chosen))
    if stalled:
        rows = [row for row in rows if row.stalled or row.status in (status or [])][:limit]
    if session.flags.machine:
        session.screen.data({"format": "orch.list/1", "runs": [run_object(row) for row in rows]})
    elif rows:
        session.screen.data_text(_table(session, rows))
    else:
        session.screen.say("no runs")
    return 0


async def _load(session: Session, chosen: RunFilter) -> list[RunRow]:
    from orchestrator.app.runs import opened
    from orchestrator.journal.errors import NoDatabase

    config = session.config()
    try:
        async with opened(config.chosen(), config, create=False) as store:
            return await store.list_runs(chosen)
    except NoDatabase:
        # A store that no run has been in yet: nothing to list, unless it was asked for by name.
        if config.chosen().explicit:
            raise
        return []


def _filter(
    status: list[str], name: str | None, since: str | None, labels: list[str], limit: int
) -> tuple[RunFilter, bool]:
    from orchestrator.clock import SystemClock
    from orchestrator.journal.store import RunFilter, Status

    known = (*get_args(Status), "stalled")
    for each in status:
        if each not in known:
            raise BadFlag("--status", each, problem=f"expected one of {', '.join(known)}")
    pairs: dict[str, str] = {}
    for text in labels:
        key, separator, value = text.partition("=")
        if not separator:
            raise BadFlag("--label", text, problem="expected name=value")
        pairs[key] = value
    if limit > _MOST:
        raise BadFlag("--limit", str(limit), problem=f"expected at most {_MOST}")
    try:
        start = None if since is None else parse_since(since, SystemClock().now())
    except (ValueError, OverflowError):
        raise BadFlag("--since", since or "", problem="expected 2h, a date or an RFC 3339 time") from None
    stalled = "stalled" in status
    wanted = tuple(dict.fromkeys("running" if each == "stalled" else each for each in status))
    # What is stalled is told apart after the read: the store cannot count it.
    return RunFilter(status=wanted, name=name, since=start, labels=pairs, limit=100_000 if stalled else limit), stalled


def run_object(row: RunRow) -> dict[str, Any]:
    """A run's row as programs read it."""
    return {
        "id": row.run_id,
        "name": row.name,
        "status": shown_status(row),
        "reason": row.reason,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
        "finished_at": moment(row.finished_at),
        "wake_at": moment(row.wake_at),
        "usd": usd(row.spend),
        "tokens": row.tokens,
        "labels": row.labels,
        "error": row.error,
        "parent": row.parent_id,
    }


def shown_status(row: RunRow) -> str:
    """The status of a run, where ``stalled`` is one."""
    return "stalled" if row.stalled else row.status


def _table(session: Session, rows: list[RunRow]) -> str:
    head = ["RUN", "NAME", "STATUS", "STARTED", "TIME", "TOKENS", "COST"]
    cells = [
        [
            one_line(row.run_id),
            one_line(row.name, 32),
            shown_status(row) + (f" ({one_line(row.reason, 24)})" if row.reason and not row.ended else ""),
            local_time(row.created_at),
            elapsed((row.finished_at or row.updated_at) - row.created_at),
            count(row.tokens),
            money(row.spend),
        ]
        for row in rows
    ]
    return table(head, cells, right=frozenset({4, 5, 6}))


COMMANDS = {"list": list_runs}
