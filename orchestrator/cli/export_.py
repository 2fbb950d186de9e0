"""``orch export``: a run as JSON lines."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.session import RunReference, Session, begin, run_async


def export(
    context: typer.Context,
    run: RunReference,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out every value: inputs, outputs, prompts, replies, keys.")
    ] = False,
) -> int:
    """Print a run's graph and journal as JSON lines."""
    session = begin(context)
    run_async(lambda: _export(session, run, redact=redact))
    return 0


async def _export(session: Session, reference: str, *, redact: bool) -> None:
    from orchestrator.app.exports import export_lines
    from orchestrator.app.runs import found_run

    async with found_run(reference, session.config()) as found:
        async for line in export_lines(found.store, found.row, redact=redact):
            session.screen.line(line)


COMMANDS = {"export": export}
