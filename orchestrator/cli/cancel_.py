"""``orch cancel``: ask a run to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.session import RunReference, Session, begin
from orchestrator.cli.verbs import refuse

if TYPE_CHECKING:
    from orchestrator.app.runs import Found


def cancel(
    context: typer.Context,
    run: RunReference,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the journal.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Do not wait for a driver that is alive: take the run over.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", hidden=True)] = False,
) -> int:
    """Ask a run to end: what runs is stopped, and nothing more starts."""
    import anyio

    session = begin(context)
    refuse(undo=undo)
    run_id, status = anyio.run(_cancel, session, run, reason, force)
    if session.flags.machine:
        session.screen.data({"format": "orch.status/1", "run": run_id, "status": status})
    else:
        session.screen.data_text(f"{run_id} {status}\n")
    return 0


async def _cancel(session: Session, reference: str, reason: str | None, force: bool) -> tuple[str, str]:
    from orchestrator.app.runs import found_run
    from orchestrator.app.sending import send
    from orchestrator.journal.errors import Held

    async with found_run(reference, session.config()) as found:
        row = found.row
        if row.ended:
            return row.run_id, row.status
        await send(found.store, row.run_id, kind="cancel", request_id="cancel", body={"reason": reason})
        try:
            return row.run_id, await _end(session, found, force=force)
        except Held:
            session.screen.say("its driver was asked to end it")
            return row.run_id, "cancelling"


async def _end(session: Session, found: Found, *, force: bool) -> str:
    """Where no process has the run, this one takes it, to end it: no effect starts, so no secret is needed."""
    from orchestrator.app.services import build_services, files_folder
    from orchestrator.cli.again import Manner, go_on
    from orchestrator.cli.drive import Show
    from orchestrator.tools.redact import Redactor

    redactor = Redactor({})
    services = build_services({}, redactor=redactor, files_folder=files_folder(found.named))
    show = Show(session, name=found.row.name, redactor=redactor, events=None)
    end, _ = await go_on(
        found.store, found.row, services=services, config=session.config(), show=show, manner=Manner(force=force)
    )
    return end.status


COMMANDS = {"cancel": cancel}
