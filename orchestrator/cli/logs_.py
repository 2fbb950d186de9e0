"""``orch logs``: what happened in a run, line by line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.render.records import record_line, record_object
from orchestrator.cli.render.steps import within
from orchestrator.cli.session import RunReference, Session, begin, run_async

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.app.runs import Found
    from orchestrator.journal.records import Record

_POLL = 0.5
"""Seconds between two looks at a journal that is followed."""


def logs(
    context: typer.Context,
    run: RunReference,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the run has ended, waits or is paused.")
    ] = False,
    step: Annotated[
        str | None, typer.Option("--step", metavar="PATH", help="Only this step and what is inside it.")
    ] = None,
    tail: Annotated[int | None, typer.Option("--tail", metavar="N", min=0, help="Only the last N lines.")] = None,
) -> int:
    """Print what happened in a run, line by line."""
    session = begin(context)
    run_async(lambda: _logs(session, run, follow=follow, step=step, tail=tail))
    return 0


async def _logs(session: Session, reference: str, *, follow: bool, step: str | None, tail: int | None) -> None:
    from orchestrator.app.history import NoSuchStep
    from orchestrator.app.runs import found_run

    async with found_run(reference, session.config()) as found:
        records = await found.store.load(found.row.run_id)
        chosen = [each for each in records if within(each.path, step)]
        if step is not None and not chosen:
            known = list(dict.fromkeys(each.path for each in records if each.path))
            raise NoSuchStep(step, run_id=found.row.run_id, known=known)
        if session.flags.machine:
            session.screen.line({"format": "orch.logs/1", "run": found.row.run_id})
        _print(session, chosen if tail is None else chosen[len(chosen) - min(tail, len(chosen)) :])
        if follow:
            await _follow(session, found, records[-1].seq if records else 0, step)


async def _follow(session: Session, found: Found, head: int, step: str | None) -> None:
    import anyio

    while True:
        row = await found.store.get_run(found.row.run_id)
        if row.head > head:
            fresh = await found.store.load(row.run_id, from_seq=head + 1, verify=False)
            _print(session, [each for each in fresh if within(each.path, step)])
            head = fresh[-1].seq if fresh else head
        elif row.status not in ("running", "queued") or row.stalled:
            return
        else:
            await anyio.sleep(_POLL)


def _print(session: Session, records: Iterable[Record]) -> None:
    screen = session.screen
    for each in records:
        if session.flags.machine:
            screen.line(record_object(each))
        else:
            screen.data_text(record_line(screen, each, stream=sys.stdout) + "\n")


COMMANDS = {"logs": logs}
