"""Runs in this process's memory: for trying things out, for tests, and as the model of what a store does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.clock import SystemClock
from orchestrator.ids import new_nonce
from orchestrator.journal.errors import (
    BadData,
    Conflict,
    Damaged,
    NoSuchRun,
    NotOffered,
    RunEnded,
    UnknownBlob,
    UnknownDriver,
)
from orchestrator.journal.records import GENESIS, Record, Row, decode_all, pack_blob, unpack_blob
from orchestrator.journal.store import (
    ALL_RUNS,
    NO_PROGRESS,
    Claimed,
    Driver,
    Fact,
    InboxRow,
    Owner,
    RunFilter,
    RunRow,
    Slice,
    Swept,
)
from orchestrator.jsonish import canonical, digest
from orchestrator.stores import texts
from orchestrator.stores.claims import claimed, plan_claim
from orchestrator.stores.rows import advanced, created
from orchestrator.stores.upkeep import Marks, is_ended, is_over

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.journal.store import Batch


class MemoryStore:
    """A ``Store`` of dictionaries. A transaction is a piece of code without an await."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._runs: dict[str, RunRow] = {}
        self._journal: dict[str, list[Row]] = {}
        self._inbox: dict[tuple[str, str], InboxRow] = {}
        self._blobs: dict[str, list[bytes]] = {}
        self._touched: dict[str, int] = {}
        self._owners: dict[str, Owner] = {}
        self._facts: dict[tuple[str, str], Fact] = {}

    @property
    def name(self) -> str:
        return "memory:"

    async def open(self, *, create: bool = True, older: bool = False) -> None:
        """There is nothing to open."""

    async def aclose(self) -> None:
        """There is nothing to close: what was written stays until the object goes."""

    def abandon(self) -> None:
        """There is nobody to wait for."""

    async def migrate(self) -> list[int]:
        return []

    async def check(self) -> list[str]:
        return []

    def ddl(self) -> str:
        return ""

    async def vacuum(self) -> None:
        """There is nothing to give back."""

    async def backup(self, target: Path) -> None:
        raise NotOffered(self.name, what="backup", instead="`orch export RUN` writes a run to a file")

    # --- blobs ---

    async def put_blobs(self, contents: Sequence[bytes]) -> list[str]:
        return [self._put_blob(content) for content in contents]

    def _put_blob(self, content: bytes) -> str:
        name = digest(content)
        if name not in self._blobs:
            self._blobs[name] = [part.body for part in pack_blob(content)]
        self._touched[name] = self._clock.now()
        return name

    async def get_blob(self, name: str) -> bytes:
        return self._get_blob(name)

    def _get_blob(self, name: str) -> bytes:
        if name not in self._blobs:
            raise UnknownBlob(name)
        return unpack_blob(name, self._blobs[name])

    async def touch(self, names: Sequence[str]) -> None:
        now = self._clock.now()
        self._touched.update({name: now for name in names if name in self._blobs})

    async def held_blobs(self, names: Collection[str]) -> set[str]:
        return set(names) & self._blobs.keys()

    async def sweep_blobs(self, *, age: float, without: Collection[str] = (), dry_run: bool = False) -> Swept:
        before = self._clock.now() - int(age * 1_000_000)
        marks = Marks([name for name, at in self._touched.items() if at < before], without)
        for run_id, rows in self._journal.items():
            for row in rows:
                marks.see(run_id, row.body, row.blob)
        for row in self._inbox.values():
            marks.see(row.run_id, canonical(row.body))
        for name in marks.contents:
            marks.read(self._get_blob(name))
        names = tuple(sorted(marks.unnamed))
        size = sum(len(part) for name in names for part in self._blobs[name])
        for name in () if dry_run else names:
            del self._blobs[name], self._touched[name]
        return Swept(names=names, size=size)

    # --- what goes ---

    async def delete_runs(self, run_ids: Sequence[str], *, ended_before: int) -> list[str]:
        gone = [run_id for run_id in dict.fromkeys(run_ids) if self._may_go(run_id, ended_before)]
        for run_id in gone:
            del self._runs[run_id], self._journal[run_id]
        self._inbox = {key: row for key, row in self._inbox.items() if row.run_id in self._runs}
        return gone

    async def forget_drivers(self, *, age: float) -> int:
        before = self._clock.now() - int(age * 1_000_000)
        holding = {run.owner for run in self._runs.values()}
        gone = [name for name, row in self._owners.items() if row.lease_until < before and name not in holding]
        for name in gone:
            del self._owners[name]
        return len(gone)

    def _may_go(self, run_id: str, ended_before: int) -> bool:
        run = self._runs.get(run_id)
        if run is None or not is_over(run, ended_before):
            return False
        root = self._runs.get(run.root_id)
        return is_ended(None if root is None else root.status)

    # --- commits ---

    async def commit(self, batch: Batch, *, alone: bool = False) -> None:
        del alone
        texts.check_batch(batch)
        await asyncio.sleep(0)  # as a database would: or a chain of commits starves every other task
        self._check(batch)
        self._apply(batch)

    def _check(self, batch: Batch) -> None:
        """Raise what a database would, before anything is changed."""
        for piece in batch:
            run = self._runs.get(piece.run_id)
            if piece.create is not None:
                if run is not None:
                    raise Conflict(piece.run_id)
            elif run is None or (run.head, run.epoch) != (piece.base_head, piece.epoch):
                raise Conflict(piece.run_id)
            for request_id, _ in piece.consumed:
                row = self._inbox.get((piece.run_id, request_id))
                if row is None or row.consumed_seq is not None:
                    raise BadData(piece.run_id, problem=f"nothing waits under the request id {request_id!r}")

    def _apply(self, batch: Batch) -> None:
        for piece in batch:
            for content in piece.blobs:
                self._put_blob(content)
            if piece.create is not None:
                self._runs[piece.run_id] = RunRow(**created(piece.create, piece))
                self._inbox.update({(row.run_id, row.request_id): row for row in piece.waiting})
            else:
                self._runs[piece.run_id] = replace(self._runs[piece.run_id], **advanced(piece))
            self._journal.setdefault(piece.run_id, []).extend(piece.rows)
            for request_id, seq in piece.consumed:
                key = (piece.run_id, request_id)
                self._inbox[key] = replace(self._inbox[key], consumed_seq=seq)
        for piece in batch:
            for row in piece.inbox:
                run = self._runs.get(row.run_id)
                if run is not None and not run.ended:
                    self._inbox.setdefault((row.run_id, row.request_id), row)
                    self._wake(run)

    def _wake(self, run: RunRow) -> None:
        self._runs[run.run_id] = replace(run, wake_at=self._clock.now())

    async def settle(self, firsts: Sequence[tuple[str, int]]) -> dict[str, str | None]:
        out: dict[str, str | None] = {}
        for run_id, seq in firsts:
            rows = self._journal.get(run_id, [])
            out[run_id] = rows[seq - 1].nonce if 0 < seq <= len(rows) else None
        return out

    async def park(self, piece: Slice) -> bool:
        texts.check_batch((piece,))
        await asyncio.sleep(0)
        self._check((piece,))
        if self._runs[piece.run_id].owner is None:
            return True
        taken = {request_id for request_id, _ in piece.consumed}
        if any(row.request_id not in taken for row in self._pending(piece.run_id)):
            return False
        self._apply((piece,))
        return True

    # --- drivers and claims ---

    async def register_driver(self, driver: Driver, lease_seconds: float) -> None:
        texts.check_driver(driver)
        now = self._clock.now()
        self._owners[driver.owner] = Owner(
            driver=driver, lease_until=now + int(lease_seconds * 1_000_000), renewed_at=now
        )

    async def renew(self, owner: str, lease_seconds: float) -> None:
        if owner not in self._owners:
            raise UnknownDriver(owner)
        await self.register_driver(self._owners[owner].driver, lease_seconds)

    async def release(self, owner: str) -> None:
        self._owners.pop(owner, None)
        for run in list(self._runs.values()):
            if run.owner == owner:
                self._runs[run.run_id] = replace(run, owner=None)

    async def owner(self, owner: str) -> Owner | None:
        return self._owners.get(owner)

    async def claim(
        self,
        run_id: str,
        owner: str,
        *,
        force: bool = False,
        explicit: bool = False,
        nonce: str | None = None,
        seen: RunRow | None = None,
    ) -> Claimed:
        if owner not in self._owners:
            raise UnknownDriver(owner)
        run = self._run(run_id)
        if run.owner == owner and (made := next((row for row in self._journal[run_id] if row.nonce == nonce), None)):
            return claimed(run, made, None)
        held_by = self._owners.get(run.owner) if run.owner is not None else None
        me, now = self._owners[owner].driver, self._clock.now()
        plan = plan_claim(run, me, held_by, now, nonce or new_nonce(), force=force, explicit=explicit, seen=seen)
        self._runs[run_id] = replace(self._runs[run_id], **plan.changes)
        self._journal[run_id].append(plan.row)
        if plan.refused is not None:
            raise plan.refused
        return claimed(self._run(run_id), plan.row, held_by)

    # --- reading ---

    async def load(
        self, run_id: str, *, from_seq: int = 1, upto: int | None = None, verify: bool = True
    ) -> list[Record]:
        self._run(run_id)
        rows = self._journal[run_id][:upto]
        if from_seq > len(rows) + 1:
            raise Damaged(run_id, seq=from_seq - 1, problem="the row is missing")
        prev = rows[from_seq - 2].sum if from_seq > 1 else GENESIS
        return decode_all(run_id, rows[from_seq - 1 :], self._get_blob, prev=prev, verify=verify)

    async def rows(self, run_id: str, *, from_seq: int = 1) -> list[Row]:
        self._run(run_id)
        return self._journal[run_id][from_seq - 1 :]

    async def get_run(self, run_id: str) -> RunRow:
        return self._run(run_id)

    def _run(self, run_id: str) -> RunRow:
        run = self._runs.get(run_id)
        if run is None:
            raise NoSuchRun(run_id)
        return replace(run, stalled=run.status == "running" and self._lapsed(run))

    def _lapsed(self, run: RunRow) -> bool:
        held_by = None if run.owner is None else self._owners.get(run.owner)
        return held_by is None or held_by.lease_until <= self._clock.now()

    def _newest(self) -> list[RunRow]:
        found = [self._run(run_id) for run_id in self._runs]
        return sorted(found, key=lambda run: (run.created_at, run.run_id), reverse=True)

    async def find_runs(self, prefix: str, *, limit: int = 10) -> list[RunRow]:
        return [run for run in self._newest() if run.run_id.startswith(prefix)][:limit]

    async def list_runs(self, chosen: RunFilter = ALL_RUNS) -> list[RunRow]:
        return [run for run in self._newest() if _matches(run, chosen)][: max(chosen.limit, 0)]

    async def due(self, *, limit: int = 100) -> list[str]:
        return [run.run_id for run in reversed(self._newest()) if self._is_due(run)][:limit]

    def _is_due(self, run: RunRow) -> bool:
        now = self._clock.now()
        match run.status:
            case "queued":
                return run.wake_at is None or run.wake_at <= now
            case "waiting" | "paused":
                return run.wake_at is not None and run.wake_at <= now and run.reason != NO_PROGRESS
            case "running":
                return self._lapsed(run)
            case _:
                return False

    # --- memory ---

    async def remember(self, fact: Fact) -> None:
        texts.check_fact(fact)
        self._facts[fact.scope, fact.key] = fact

    async def facts(self, scope: str, *, after: str = "", limit: int = 500) -> list[Fact]:
        keys = sorted(key for held, key in self._facts if held == scope and key > after)
        return [self._facts[scope, key] for key in keys[:limit]]

    # --- inbox ---

    async def send(self, row: InboxRow) -> InboxRow:
        texts.check_mail(row)
        run = self._run(row.run_id)
        if run.ended:
            raise RunEnded(row.run_id, status=run.status)
        winner = self._inbox.setdefault((row.run_id, row.request_id), row)
        if winner.consumed_seq is None:
            self._wake(self._runs[row.run_id])
        return winner

    async def pending(self, run_id: str) -> list[InboxRow]:
        return self._pending(run_id)

    def _pending(self, run_id: str) -> list[InboxRow]:
        found = [row for row in self._inbox.values() if row.run_id == run_id and row.consumed_seq is None]
        return sorted(found, key=lambda row: (row.at, row.request_id))

    async def pending_for(self, owner: str) -> list[InboxRow]:
        found = [
            row for row in self._inbox.values() if row.consumed_seq is None and self._runs[row.run_id].owner == owner
        ]
        return sorted(found, key=lambda row: (row.at, row.request_id))


def _matches(run: RunRow, chosen: RunFilter) -> bool:
    return (
        (not chosen.status or run.status in chosen.status)
        and chosen.name in (None, run.name)
        and (chosen.since is None or run.created_at >= chosen.since)
        and (chosen.ended_before is None or (run.finished_at is not None and run.finished_at < chosen.ended_before))
        and chosen.parent_id in (None, run.parent_id)
        and chosen.labels.items() <= run.labels.items()
    )
