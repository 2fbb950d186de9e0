"""From arguments to a verb: a group whose commands are imported when they are called."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from orchestrator.cli.boundary import guarded
from orchestrator.cli.flags import Flags, add_global_flags, from_environment
from orchestrator.cli.screen import ReaderGone
from orchestrator.cli.verbs import VERBS, NotAvailable, UnknownVerb

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Verbs(TyperGroup):
    """The verbs by name; the help of the whole needs none of their modules."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name.startswith("-"):
            return None
        if cmd_name not in VERBS:
            raise UnknownVerb(cmd_name)
        return load_verb(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}


def _later(context: typer.Context) -> int:
    """Not available yet."""
    raise NotAvailable(f"`{context.command_path}`")


def load_verb(name: str) -> Any:
    """The command of one verb, with the global flags. Imports its module."""
    module = import_module(f"orchestrator.cli.{name}_")
    app = typer.Typer(name=name, help=VERBS[name], add_completion=False, rich_markup_mode=None)
    for sub, function in module.COMMANDS.items():
        app.command(sub)(function)
    for sub in getattr(module, "PLANNED", ()):
        app.command(sub, hidden=True, context_settings=_ANYTHING)(_later)
    command = typer.main.get_command(app)
    command.name = name
    for each in [command, *getattr(command, "commands", {}).values()]:
        add_global_flags(each)
    return command


def build() -> Any:
    """The whole command."""
    app = typer.Typer(cls=_Verbs, rich_markup_mode=None, no_args_is_help=True)

    @app.callback()
    def orch() -> None:
        """Run declarative, durable pipelines of agents, tools and scripts."""

    command = typer.main.get_command(app)
    add_global_flags(command)
    return command


def main(args: Sequence[str]) -> int:
    """Perform the command line ``args`` and give the exit code. Prints; never raises but ``SystemExit``."""
    flags = Flags()
    return guarded(flags, lambda: _invoke(flags, list(args)))


def _invoke(flags: Flags, args: list[str]) -> int:
    from_environment(flags)
    try:
        result = build().main(args, prog_name="orch", standalone_mode=False, obj=flags)
    except SystemExit as end:
        # What typer makes of a reader that has gone while it printed a help.
        if isinstance(end.__context__, BrokenPipeError):
            raise ReaderGone from None
        raise
    return int(result or 0)
