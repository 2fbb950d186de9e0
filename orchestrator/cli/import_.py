"""``orch import``: a run from its export."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.session import Session, begin, run_async

if TYPE_CHECKING:
    from orchestrator.app.exports import Exported


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `orch export` printed.")],
) -> int:
    """Make a run from its export, in another store."""
    from orchestrator.app.exports import read_export

    session = begin(context)
    exported = read_export(file)
    store = run_async(lambda: _import(session, exported, str(file)))
    if session.flags.machine:
        session.screen.data({"format": "orch.import/1", "run": exported.run_id, "store": store})
    session.screen.say(f"run {exported.run_id} is in {store}; `orch resume {exported.run_id}` goes on with it")
    return 0


async def _import(session: Session, exported: Exported, name: str) -> str:
    from orchestrator.app.imports import import_run
    from orchestrator.app.runs import opened

    config = session.config()
    async with opened(config.chosen(), config, create=True) as store:
        await import_run(store, exported, name)
        return store.name


COMMANDS = {"import": import_}
