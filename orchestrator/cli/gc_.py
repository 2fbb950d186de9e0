"""``orch gc``: take away what need not be kept."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from orchestrator.cli.flags import BadFlag
from orchestrator.cli.render.text import one_line
from orchestrator.cli.render.values import count, local_time, parse_ago, table
from orchestrator.cli.session import Session, begin, run_async
from orchestrator.errors import Exit, OrchError

if TYPE_CHECKING:
    from orchestrator.app.retention import Gone
    from orchestrator.journal.store import RunRow, Store


class NotConfirmed(OrchError):
    """Nobody said that runs may go, and nobody can be asked."""

    code: ClassVar[str] = "E014"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, runs: int) -> None:
        super().__init__(
            f"{_runs(runs)} would go for good, and nobody said that they may",
            hint="`--dry-run` shows them, `--yes` lets them go",
        )


def gc(
    context: typer.Context,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Runs that ended so long ago, as 30d or 12h.")
    ] = "30d",
    status: Annotated[
        list[str] | None, typer.Option(help="Only these: done, failed, limited, cancelled (any of them).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and take nothing away.")] = False,
) -> int:
    """Take away runs that ended long ago, and stored contents that no run names."""
    session = begin(context)
    before = _before(older_than)
    _check_status(status or [])
    gone = run_async(lambda: _collect(session, before, status or [], dry_run=dry_run))
    if session.flags.machine:
        session.screen.data({
            "format": "orch.gc/1", "dry_run": dry_run, "runs": [row.run_id for row in gone.runs],
            "blobs": len(gone.swept.names), "bytes": gone.swept.size,
        })  # fmt: skip
    elif gone.runs:
        session.screen.data_text(_table(gone.runs))
    blobs = f"{count(len(gone.swept.names))} contents, {count(gone.swept.size)} bytes"
    session.screen.say(f"{_runs(len(gone.runs))} and {blobs} {'would go' if dry_run else 'went'}")
    if gone.swept.names and not dry_run:
        session.screen.say("`orch db vacuum` gives their room back")
    return 0


def _before(age: str) -> int:
    from orchestrator.clock import SystemClock

    try:
        return parse_ago(age, SystemClock().now())
    except ValueError as error:
        raise BadFlag("--older-than", age, problem=str(error)) from None


def _check_status(status: list[str]) -> None:
    from orchestrator.journal.store import ENDED

    for each in status:
        if each not in ENDED:
            problem = f"only runs that have ended go: expected one of {', '.join(sorted(ENDED))}"
            raise BadFlag("--status", each, problem=problem)


async def _collect(session: Session, before: int, status: list[str], *, dry_run: bool) -> Gone:
    from orchestrator.app.retention import Gone
    from orchestrator.app.runs import opened
    from orchestrator.journal.errors import NoDatabase
    from orchestrator.journal.store import Swept

    config = session.config()
    try:
        async with opened(config.chosen(), config, create=False) as store:
            return await _collect_from(session, store, before, status, dry_run=dry_run)
    except NoDatabase:
        # A store that no run has been in yet, unless it was asked for by name.
        if config.chosen().explicit:
            raise
        return Gone([], Swept(names=(), size=0))


async def _collect_from(session: Session, store: Store, before: int, status: list[str], *, dry_run: bool) -> Gone:
    from orchestrator.app import retention
    from orchestrator.app.services import files_folder

    runs = await retention.expired(store, before=before, status=status)
    if dry_run:
        return await retention.look(store, runs)
    if runs and not session.flags.yes:
        _ask(session, runs)
    return await retention.collect(store, runs, before=before, files=files_folder(session.config().chosen()))


def _ask(session: Session, runs: list[RunRow]) -> None:
    if session.flags.machine or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NotConfirmed(len(runs))
    session.screen.err(_table(runs))
    typer.confirm(f"{_runs(len(runs))} will be gone for good. Go on?", abort=True, err=True)


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{count(number)} runs"


def _table(runs: list[RunRow]) -> str:
    cells = [[one_line(row.run_id), one_line(row.name, 32), row.status, local_time(row.finished_at)] for row in runs]
    return table(["RUN", "NAME", "STATUS", "ENDED"], cells)


COMMANDS = {"gc": gc}
