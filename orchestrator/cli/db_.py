"""``orch db``: the tables of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.session import Session, begin, run_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.app.config import Named
    from orchestrator.journal.store import Store

Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The store; else that of --store and the configuration.")
]


def init(context: typer.Context, url: Url = None) -> int:
    """Make the tables where there are none; bring older ones up to date."""
    return _ready(context, url, create=True)


def migrate(context: typer.Context, url: Url = None) -> int:
    """Bring the tables of a store up to date."""
    return _ready(context, url, create=False)


def _ready(context: typer.Context, url: str | None, *, create: bool) -> int:
    session = begin(context)

    async def perform() -> tuple[str, list[int]]:
        from orchestrator.app.runs import opened

        async with opened(_named(session, url), session.config(), create=create, older=True) as store:
            return store.name, await store.migrate()

    name, applied = run_async(perform)
    if session.flags.machine:
        session.screen.data({"format": "orch.db/1", "store": name, "applied": applied})
    session.screen.say(f"{name} is ready" + (f": applied {', '.join(map(str, applied))}" if applied else ""))
    return 0


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; it must not be there yet.")],
    url: Url = None,
) -> int:
    """Write a copy of a store into a file, also while runs go on."""
    return _perform(context, url, lambda store: store.backup(file), f"a copy is in {file}")


def vacuum(context: typer.Context, url: Url = None) -> int:
    """Give back the room of what was removed."""
    return _perform(context, url, lambda store: store.vacuum(), "its free room was given back")


def _perform(context: typer.Context, url: str | None, what: Callable[[Store], Awaitable[None]], said: str) -> int:
    session = begin(context)

    async def perform() -> str:
        from orchestrator.app.runs import opened

        async with opened(_named(session, url), session.config(), create=False) as store:
            await what(store)
            return store.name

    name = run_async(perform)
    if session.flags.machine:
        session.screen.data({"format": "orch.db/1", "store": name})
    session.screen.say(f"{name}: {said}")
    return 0


def check(context: typer.Context, url: Url = None) -> int:
    """Say what is wrong with the tables and settings of a store."""
    session = begin(context)

    async def perform() -> tuple[str, list[str]]:
        from orchestrator.app.runs import build_store
        from orchestrator.journal.errors import SchemaIncomplete

        store = build_store(_named(session, url), session.config())
        try:
            await store.open(create=False)
            return store.name, await store.check()
        except SchemaIncomplete as error:
            return store.name, [f"{what} is missing" for what in error.missing]
        finally:
            await store.aclose()

    name, problems = run_async(perform)
    if session.flags.machine:
        session.screen.data({"format": "orch.db/1", "store": name, "problems": problems})
    for problem in problems:
        session.screen.problem("error", "E909", problem)
    if not problems:
        session.screen.say(f"{name} is in order")
    return 1 if problems else 0


def ddl(context: typer.Context, url: Url = None) -> int:
    """Print the statements that make the tables, for someone with the right to run them."""
    from orchestrator.app.runs import build_store

    session = begin(context)
    text = build_store(_named(session, url), session.config()).ddl()
    if session.flags.json:
        session.screen.data({"format": "orch.db/1", "ddl": text})
    else:
        session.screen.data_text(text if text.endswith("\n") else text + "\n")
    return 0


def _named(session: Session, url: str | None) -> Named:
    from orchestrator.app.config import Named

    return session.config().chosen() if url is None else Named(url, Path.cwd(), "--url", explicit=True)


COMMANDS = {"init": init, "migrate": migrate, "check": check, "ddl": ddl, "backup": backup, "vacuum": vacuum}
