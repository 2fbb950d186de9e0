"""Faults to plant in the engine, one at a time: the suite must go red for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.engine import drive, host
from orchestrator.engine.steps import effect
from orchestrator.journal.state import RunState
from orchestrator.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.journal.store import Slice


def skip_a_commit() -> None:
    """Every fifth batch is acknowledged and thrown away."""
    real = SqliteStore.commit
    count = 0

    async def commit(self: SqliteStore, batch: Sequence[Slice], *, alone: bool = False) -> None:
        nonlocal count
        count += 1
        if count % 5:
            await real(self, batch, alone=alone)

    SqliteStore.commit = commit


def start_early() -> None:
    """Effects start before their ``started`` is committed."""
    real = drive.RunDriver._pump

    def pump(self: drive.RunDriver, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        while self._launch:
            scope = anyio.CancelScope()
            self.host.begin(self._effect(self._launch.popleft()[1], scope), scope)

    drive.RunDriver._pump = pump


def ignore_the_fence() -> None:
    """A driver that was fenced goes on as if nothing had happened: its effects, and its journal, after the other's."""
    real = SqliteStore.commit

    async def commit(self: SqliteStore, batch: Sequence[Slice], *, alone: bool = False) -> None:
        from dataclasses import replace

        fresh: list[Slice] = []
        for piece in batch:
            if piece.create is not None:
                fresh.append(piece)
                continue
            row = await self.get_run(piece.run_id)
            shift = row.head - piece.base_head
            rows = tuple(item._replace(seq=item.seq + shift) for item in piece.rows)
            fresh.append(replace(piece, base_head=row.head, epoch=row.epoch, rows=rows))
        await real(self, fresh)

    async def trusting(self: host.Host) -> None:
        """Nobody looks whether the run is still ours, either."""

    SqliteStore.commit = commit
    host.Host._look_for_thieves = trusting


def reuse_a_key() -> None:
    """All steps of a run share one idempotency key."""
    effect.idempotency_key = lambda run_id, path, logical: f"{run_id}-key"


def forget_a_step() -> None:
    """The fold forgets each end of an item's first step."""
    real: Callable[..., None] = RunState._fold["done"]

    def done(self: RunState, path: str, body: dict[str, Any], seq: int, at: int) -> None:
        if self.claim and path.endswith("/low") and self.step(path).status == "running":
            return
        real(self, path, body, seq, at)

    RunState._fold["done"] = done


FAULTS: dict[str, Callable[[], None]] = {
    "skip_a_commit": skip_a_commit,
    "start_early": start_early,
    "ignore_the_fence": ignore_the_fence,
    "reuse_a_key": reuse_a_key,
    "forget_a_step": forget_a_step,
}
