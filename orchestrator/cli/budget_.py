"""``orch budget``: what a run may spend, what it has spent, and more of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from orchestrator.cli.flags import BadFlag
from orchestrator.cli.render.text import one_line
from orchestrator.cli.render.values import count, elapsed, money, table
from orchestrator.cli.session import RunReference, Session, begin
from orchestrator.errors import Exit, OrchError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.app.budgets import Bound, Line
    from orchestrator.app.runs import Found

DIMENSIONS = ("usd", "tokens", "time", "deadline", "model_calls", "tool_calls", "agents", "depth")


class NoSuchBudget(OrchError):
    """There is no such bound to add to."""

    code: ClassVar[str] = "E318"
    exit: ClassVar[Exit] = Exit.NOT_FOUND

    def __init__(self, path: str, dimension: str | None, *, known: Sequence[str]) -> None:
        whose = f"step {path!r}" if path else "the run"
        if dimension is None:
            close = did_you_mean(path, list(known))
            super().__init__(
                f"{whose} has no budget", hint=f"did you mean `{close}`?" if close else "`orch budget RUN` lists them"
            )
        else:
            bounds = ", ".join(known) or "none"
            super().__init__(f"the budget of {whose} has no bound of `{dimension}`", hint=f"it has {bounds}")


def budget(
    context: typer.Context,
    run: RunReference,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="usd=1", help="Add to a bound: usd, tokens, time (10m), model_calls, …"),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option("--step", metavar="PATH", help="Whose budget; by default the one that stopped the run."),
    ] = None,
) -> int:
    """Print the budgets of a run, or add to one of them."""
    import anyio

    session = begin(context)
    amounts = parse_amounts(add or [])
    run_id, status, lines = anyio.run(_perform, session, run, amounts, step)
    if session.flags.machine:
        accounts = [line.document() for line in lines]
        session.screen.data({"format": "orch.budget/1", "run": run_id, "status": status, "accounts": accounts})
    else:
        session.screen.data_text(budget_table(lines))
    if amounts and status == "paused":
        session.screen.say(f"next: orch resume {run_id}")
    return 0


def parse_amounts(texts: list[str]) -> dict[str, int]:
    """``usd=1.50 tokens=1000 time=10m`` in micro-dollars, tokens and microseconds. Raises ``BadFlag``."""
    found: dict[str, int] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in DIMENSIONS:
            raise BadFlag("--add", text, problem=f"expected one of {', '.join(DIMENSIONS)} and `=`")
        if name in found:
            raise BadFlag("--add", text, problem=f"{name} is given twice")
        found[name] = amount_of("--add", text, name, value)
    return found


def amount_of(flag: str, text: str, name: str, value: str) -> int:
    """An amount of a dimension, more than none. Raises ``BadFlag``."""
    from decimal import Decimal, InvalidOperation

    from orchestrator.app.config import duration

    try:
        if name in ("time", "deadline"):
            amount = int(duration(value) * 1_000_000)
        elif name == "usd":
            amount = int(Decimal(value) * 1_000_000)
        else:
            amount = int(value)
    except (ValueError, InvalidOperation, OverflowError) as error:
        raise BadFlag(flag, text, problem=f"{value!r} is no amount of {name}") from error
    if amount <= 0 or amount > 10**15:
        raise BadFlag(flag, text, problem=f"an amount of {name} is more than none, and bounded")
    return amount


async def _perform(
    session: Session, reference: str, amounts: dict[str, int], step: str | None
) -> tuple[str, str, list[Line]]:
    from orchestrator.app.budgets import lines_of, load, short_of
    from orchestrator.app.runs import found_run

    async with found_run(reference, session.config()) as found:
        loaded = await load(found.store, found.row)
        path = step if step is not None else short_of(loaded.state)
        lines = lines_of(loaded)
        _check(lines, path, amounts, named=step is not None)
        if amounts:
            await _add(session, found, path, amounts)
            row = await found.store.get_run(found.row.run_id)
            loaded = await load(found.store, row)
            lines = lines_of(loaded)
            return row.run_id, row.status, lines
        shown = [line for line in lines if step is None or line.path == step]
        return found.row.run_id, found.row.status, shown


def _check(lines: list[Line], path: str, amounts: dict[str, int], *, named: bool) -> None:
    line = next((line for line in lines if line.path == path), None)
    if line is None:
        if named or amounts:
            raise NoSuchBudget(path, None, known=[line.path for line in lines])
        return
    for dimension in amounts:
        if dimension not in line.bounds:
            raise NoSuchBudget(path, dimension, known=list(line.bounds))


async def _add(session: Session, found: Found, path: str, amounts: dict[str, int]) -> None:
    """Into the inbox of a run that goes on. One that a budget has ended is taken up, and waits for a resume."""
    from orchestrator.app.sending import send, sender
    from orchestrator.ids import new_nonce

    body: dict[str, Any] = {"add": amounts}
    if found.row.status != "limited":
        # Two additions of the same amount are two.
        request = f"budget:{new_nonce()}"
        await send(found.store, found.row.run_id, kind="budget", request_id=request, path=path, body=body)
        return
    from orchestrator.app.services import build_services, files_folder
    from orchestrator.clock import SystemClock
    from orchestrator.engine.host import Host
    from orchestrator.journal.records import Draft
    from orchestrator.tools.redact import Redactor

    services = build_services({}, redactor=Redactor({}), files_folder=files_folder(found.named))
    async with Host(store=found.store, services=services, clock=SystemClock()) as host:
        await host.reopen(found.row.run_id, [Draft("budget_added", path, body | {"by": sender()})], reason="limit")


def budget_table(lines: list[Line]) -> str:
    """A row per bound: what is left of it, or by how much it was overdrawn."""
    rows = [
        [one_line(line.path or "(run)", 60), name, *_cells(name, bound)]
        for line in lines
        for name, bound in line.bounds.items()
    ]
    if not rows:
        return "no budget\n"
    return table(["BUDGET", "OF", "LIMIT", "SPENT", "OPEN", "LEFT"], rows, right=frozenset({2, 3, 4, 5}))


def _cells(dimension: str, bound: Bound) -> list[str]:
    """The limit and what became of it; how deep agents stand is no amount that is spent."""
    limit, spent, is_open, left = bound.row()
    if dimension == "depth":
        return [_shown(dimension, limit), "", "", ""]
    over = left < 0 and dimension not in ("time", "deadline")
    remains = f"{_shown(dimension, -left)} over" if over else _shown(dimension, left)
    return [*(_shown(dimension, each) for each in (limit, spent, is_open)), remains]


def _shown(dimension: str, amount: int) -> str:
    if dimension == "usd":
        return money(max(amount, 0))
    if dimension in ("time", "deadline"):
        return elapsed(max(amount, 0))
    return count(max(amount, 0))


COMMANDS = {"budget": budget}
