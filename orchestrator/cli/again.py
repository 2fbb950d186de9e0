"""Going on with a run that exists: drive it, follow the driver that has it, or read how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anyio

from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from orchestrator.app.config import Config
    from orchestrator.cli.drive import Show
    from orchestrator.engine.effects import Services
    from orchestrator.engine.host import Host, RunEnd
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.store import RunRow, Store

_POLL = 0.3
"""Seconds between two looks at a run that another process drives."""


@frozen(kw_only=True)
class Manner:
    """``force`` takes the run from a live driver; ``attach`` follows that driver instead of refusing; ``approve``
    changes whether anybody is asked."""

    force: bool = False
    retry_failed: bool = False
    attach: bool = False
    approve: Literal["ask", "never"] | None = None


def over(row: RunRow, *, retry_failed: bool) -> bool:
    """Whether there is nothing to drive: the run has ended, and is not to be tried again."""
    return row.ended and not (retry_failed and row.status in ("failed", "cancelled"))


async def ended(store: Store, row: RunRow) -> RunEnd:
    """How a run ended, from its journal."""
    from orchestrator.engine.ends import end_of
    from orchestrator.journal.state import fold

    return end_of(row.run_id, fold(await store.load(row.run_id)))


async def go_on(
    store: Store,
    row: RunRow,
    *,
    services: Services,
    config: Config,
    show: Show,
    manner: Manner,
    graph: Graph | None = None,
) -> tuple[RunEnd, int | None]:
    """Drive the run on, whose ``graph`` may be at hand; the exit code of the signal that stopped it, if one did.

    Raises ``Held``.
    """
    from orchestrator.cli.drive import drive
    from orchestrator.journal.errors import Held

    if over(row, retry_failed=manner.retry_failed):
        return await ended(store, row), None

    async def act(host: Host) -> RunEnd:
        return await host.resume(
            row.run_id, force=manner.force, retry_failed=manner.retry_failed, approve=manner.approve, graph=graph
        )

    try:
        await show.catch_up(store, row)
        return await drive(act, store=store, services=services, config=config, show=show)
    except Held:
        if not manner.attach:
            raise
    return await _follow(store, row, show), None


async def _follow(store: Store, row: RunRow, show: Show) -> RunEnd:
    """Show what another driver does, until it ends the run or lets go of it."""
    head = row.head
    while True:
        row = await store.get_run(row.run_id)
        if row.head > head:
            head = await show.records(store, row.run_id, head)
        elif row.status not in ("running", "queued") or row.stalled:
            return await ended(store, row)
        else:
            await anyio.sleep(_POLL)
