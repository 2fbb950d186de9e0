"""``orch import``: a run from its export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.render.end import with_store
from orchestrator.cli.session import Session, begin, run_async

if TYPE_CHECKING:
    from orchestrator.app.exports import Exported


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `orch export` printed; - is standard input.")],
) -> int:
    """Make a run from its export, in another store."""
    session = begin(context)
    name, exported = _read(file)
    store = run_async(lambda: _import(session, exported, name))
    if session.flags.machine:
        session.screen.data({"format": "orch.import/1", "run": exported.run_id, "store": store})
    there = with_store(exported.run_id, session.flags.store)
    session.screen.say(f"run {exported.run_id} is in {store}; `orch resume {there}` goes on with it")
    return 0


def _read(file: Path) -> tuple[str, Exported]:
    from orchestrator.app.exports import parse_export, read_export

    if str(file) == "-":
        return "standard input", parse_export("standard input", sys.stdin.buffer.read())
    return str(file), read_export(file)


async def _import(session: Session, exported: Exported, name: str) -> str:
    from orchestrator.app.imports import import_run
    from orchestrator.app.notes import Note, write_note
    from orchestrator.app.runs import absolute_url, opened
    from orchestrator.clock import SystemClock

    config = session.config()
    named = config.chosen()
    async with opened(named, config, create=True) as store:
        await import_run(store, exported, name)
    url = absolute_url(named)
    if not url.startswith("memory:"):
        prefix = config.table_prefix or ""
        write_note(Note(exported.run_id, url, str(named.folder), str(Path.cwd()), SystemClock().now(), prefix))
    return store.name


COMMANDS = {"import": import_}
