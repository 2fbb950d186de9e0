"""``orch resume``: go on with a run that has stopped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.flags import approval
from orchestrator.cli.session import RunReference, Session, begin
from orchestrator.cli.verbs import refuse

if TYPE_CHECKING:
    from orchestrator.app.config import Config
    from orchestrator.app.runs import Found
    from orchestrator.cli.again import Manner
    from orchestrator.engine.host import RunEnd
    from orchestrator.graph.nodes import Graph


def resume(
    context: typer.Context,
    run: RunReference,
    force: Annotated[bool, typer.Option("--force", help="Take the run from a driver that is alive.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed.")] = False,
    events: Annotated[
        str | None, typer.Option("--events", metavar="FILE|-", help="What happens, as JSON lines.")
    ] = None,
    approve: Annotated[
        str | None, typer.Option("--approve", metavar="ask|never", help="Ask for approvals, or refuse them all.")
    ] = None,
    spec: Annotated[str | None, typer.Option(hidden=True)] = None,
    keep: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
    rerun: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
) -> int:
    """Go on with a run that has stopped. Prints its outputs as one JSON object."""
    import anyio

    from orchestrator.cli.again import Manner
    from orchestrator.cli.drive import finish, open_events

    session = begin(context)
    refuse(spec=spec, keep=keep, rerun=rerun)
    sink = open_events(events)
    manner = Manner(force=force, retry_failed=retry_failed, approve=approval(approve))
    end, stopped_by = anyio.run(_resume, session, run, manner, sink)
    return finish(session, end, stopped_by, streamed=sink is sys.stdout)


async def _resume(session: Session, reference: str, manner: Manner, sink: Any) -> tuple[RunEnd, int | None]:
    from orchestrator.app.history import load_graph
    from orchestrator.app.runs import found_run
    from orchestrator.cli.again import ended, over

    config = session.config()
    async with found_run(reference, config) as found:
        if over(found.row, retry_failed=manner.retry_failed):
            return await ended(found.store, found.row), None
        graph = await load_graph(found.store, found.row)
        _say(session, found, graph)
        return await drive_on(session, found, graph, config=config, sink=sink, manner=manner)


async def drive_on(
    session: Session, found: Found, graph: Graph, *, config: Config, sink: Any, manner: Manner
) -> tuple[RunEnd, int | None]:
    """Drive a run that exists, with the secrets that its graph needs. Raises ``SecretsMissing`` before it starts."""
    from orchestrator.app.services import build_services, files_folder, secrets_of
    from orchestrator.cli.again import go_on
    from orchestrator.cli.drive import Show
    from orchestrator.cli.run_ import say_unguarded
    from orchestrator.tools.redact import Redactor

    secrets = secrets_of(graph)
    say_unguarded(session, graph)
    redactor = Redactor(secrets)
    services = build_services(secrets, redactor=redactor, files_folder=files_folder(found.named))
    asks = manner.approve != "never"
    show = Show(session, name=found.row.name, redactor=redactor, events=sink, asks=asks)
    return await go_on(found.store, found.row, services=services, config=config, show=show, manner=manner, graph=graph)


def _say(session: Session, found: Found, graph: Graph) -> None:
    from orchestrator.app.graphs import scripted_models
    from orchestrator.app.services import changed_sources
    from orchestrator.cli.run_ import say_scripted

    screen = session.screen
    screen.say(f"{screen.style(found.row.name, 'bold')}  run {found.row.run_id}")
    changed = changed_sources(graph)
    if changed:
        screen.say(f"changed since it started: {', '.join(changed)}; the run goes on with its own graph")
    say_scripted(session, scripted_models(graph))


COMMANDS = {"resume": resume}
