"""What a store need not keep: runs that ended long ago, and the contents that no run names."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.frozen import frozen
from orchestrator.journal.errors import NoSuchRun
from orchestrator.journal.store import ENDED, RunFilter, Swept

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.journal.store import RunRow, Store

BLOB_AGE = 86_400.0
"""Seconds for which a content stays that no run names: it may be on its way into one."""

DRIVER_AGE = 86_400.0
"""Seconds for which a driver is remembered after its lease, for a look at what became of it."""

_ALL = 1_000_000_000


@frozen
class Gone:
    """Runs that went, or would go, and what they alone had kept."""

    runs: list[RunRow]
    swept: Swept


async def expired(store: Store, *, before: int, status: Sequence[str]) -> list[RunRow]:
    """Runs that ended before a time (microseconds since the epoch) in one of these ways (empty: any), oldest first. A
    run stays as long as its root goes on.
    """
    chosen = RunFilter(status=tuple(status) or tuple(sorted(ENDED)), ended_before=before, limit=_ALL)
    rows = await store.list_runs(chosen)
    live: dict[str, bool] = {}
    for root in {row.root_id for row in rows} - {row.run_id for row in rows}:
        live[root] = False
        with suppress(NoSuchRun):
            live[root] = not (await store.get_run(root)).ended
    return [row for row in reversed(rows) if not live.get(row.root_id, False)]


async def look(store: Store, runs: list[RunRow]) -> Gone:
    """What would go with these runs."""
    return Gone(runs, await store.sweep_blobs(age=BLOB_AGE, without=[row.run_id for row in runs], dry_run=True))


async def collect(store: Store, runs: list[RunRow], *, before: int, files: Path) -> Gone:
    """Take these runs away, then every content that no run names, with its copy among ``files``; and drivers that have
    not been heard of for a day.

    A run that was taken up again in the meantime stays. Interrupted, it leaves whole runs and nothing that is missed.
    """
    went = set(await store.delete_runs([row.run_id for row in runs], ended_before=before))
    swept = await store.sweep_blobs(age=BLOB_AGE)
    await store.forget_drivers(age=DRIVER_AGE)
    for name in swept.names:
        # Made again from the store wherever a run needs it.
        with suppress(OSError):
            (files / name).unlink(missing_ok=True)
    return Gone([row for row in runs if row.run_id in went], swept)
