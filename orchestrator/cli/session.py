"""What every verb begins with: its flags, its screen, its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from orchestrator.cli.screen import Screen
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from orchestrator.app.config import Config
    from orchestrator.cli.flags import Flags

T = TypeVar("T")


@frozen
class Session:
    """One call of a verb."""

    flags: Flags
    screen: Screen

    def config(self, near: Path | None = None) -> Config:
        """The configuration for a file, or for the working directory."""
        from orchestrator.app.config import load_config

        return load_config(flag=self.flags.store, near=near)


def begin(context: typer.Context) -> Session:
    """The session of the verb of ``context``, in the folder of ``-C``."""
    flags: Flags = context.find_root().obj
    flags.verb = str(context.info_name)
    flags.enter_folder()
    return Session(flags, Screen(flags))


def run_async(perform: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end on an event loop of its own."""
    from orchestrator.stores.blocking import run_blocking

    return run_blocking(perform)


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of runs that begin with what was typed, for the shell."""
    from orchestrator.app.config import load_config
    from orchestrator.app.runs import opened
    from orchestrator.errors import OrchError

    async def ids() -> list[str]:
        config = load_config(flag=context.find_root().params.get("store"))
        async with opened(config.chosen(), config, create=False) as store:
            return [row.run_id for row in await store.find_runs(incomplete, limit=20)]

    try:
        return ["@last", *run_async(ids)]
    except OrchError:
        return ["@last"]


RunReference = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's id, the beginning of one, @last or @-2.", autocompletion=complete_run),
]
