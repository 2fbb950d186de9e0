"""Who may claim a run, and what a claim writes: pure, and the same for every store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator import platform
from orchestrator.frozen import frozen
from orchestrator.journal.errors import Held, NoProgress, RunEnded
from orchestrator.journal.records import Kind, Record, Row, encode
from orchestrator.journal.store import MAX_IDLE_CLAIMS, NO_PROGRESS, Claimed, Driver, Owner, RunRow

if TYPE_CHECKING:
    from collections.abc import Callable


@frozen(kw_only=True)
class Plan:
    """What a claim writes: one row at the head, and columns of the run's row. ``refused`` is raised once that is
    kept.
    """

    row: Row
    changes: dict[str, Any]
    refused: NoProgress | None = None


def plan_claim(
    run: RunRow,
    me: Driver,
    held_by: Owner | None,
    now: int,
    nonce: str,
    *,
    force: bool,
    explicit: bool,
    seen: RunRow | None = None,
    gone: Callable[[int, int], bool] = platform.process_gone,
) -> Plan:
    """Decide a claim of ``run`` by ``me`` at ``now`` (microseconds, the database's clock), with the row locked.

    ``seen`` is the run as it was when the claim was wanted: ``force`` was said of who held it then, and ``explicit`` of
    its end only where it had ended. Raises ``RunEnded``, ``Held``, and ``NoProgress`` where the run is paused for that
    already.
    """
    seen = seen or run
    force = force and run.epoch == seen.epoch
    if run.ended and not (explicit and seen.ended and run.epoch == seen.epoch):
        raise RunEnded(run.run_id, status=run.status)
    if held_by is not None and not force and held_by.lease_until > now and not _is_gone(held_by.driver, me, gone):
        old = held_by.driver
        raise Held(
            run.run_id,
            owner=old.owner,
            host=old.host,
            pid=old.pid,
            lease_until=held_by.lease_until,
            renewed_at=held_by.renewed_at,
        )
    if not explicit and run.claims >= MAX_IDLE_CLAIMS:
        return _pause(run, now, nonce)
    return _take(run, me, held_by, now, nonce, forced=force, explicit=explicit)


def _is_gone(old: Driver, me: Driver, gone: Callable[[int, int], bool]) -> bool:
    """True where the old driver ran on this boot of this machine, where we can see its pid, and is no more."""
    here = (me.host, me.boot_id, me.pid_ns)
    known = all(here) and old.started != 0 and old.owner != me.owner
    return known and (old.host, old.boot_id, old.pid_ns) == here and gone(old.pid, old.started)


def _take(
    run: RunRow, me: Driver, held_by: Owner | None, now: int, nonce: str, *, forced: bool, explicit: bool
) -> Plan:
    claims = 1 if explicit else run.claims + 1
    body: dict[str, Any] = {
        "owner": me.owner,
        "host": me.host,
        "pid": me.pid,
        "claims": claims,
        "explicit": explicit,
        "forced": forced,
        "previous": None if held_by is None else _seen(held_by),
    }
    row = _row(run, "claimed", body, now, nonce)
    changes = {
        "status": "running",
        "reason": None,
        "epoch": row.epoch,
        "owner": me.owner,
        "head": row.seq,
        "head_sum": row.sum,
        "wake_at": None,
        "error": None,
        "claims": claims,
        "updated_at": now,
        "finished_at": None,
    }
    return Plan(row=row, changes=changes)


def _pause(run: RunRow, now: int, nonce: str) -> Plan:
    """Too many drivers got nowhere. The epoch rises, so that none of them goes on."""
    refused = NoProgress(run.run_id, claims=run.claims)
    if run.status == "paused" and run.reason == NO_PROGRESS:
        raise refused
    row = _row(run, "paused", {"reason": NO_PROGRESS, "claims": run.claims}, now, nonce)
    changes = {
        "status": "paused",
        "reason": NO_PROGRESS,
        "epoch": row.epoch,
        "owner": None,
        "head": row.seq,
        "head_sum": row.sum,
        "wake_at": None,
        "updated_at": now,
    }
    return Plan(row=row, changes=changes, refused=refused)


def _row(run: RunRow, kind: Kind, body: dict[str, Any], now: int, nonce: str) -> Row:
    record = Record(run.head + 1, run.epoch + 1, kind, "", body, now)
    return encode(run.run_id, record, run.head_sum).row(run.run_id, nonce)


def claimed(run: RunRow, row: Row, previous: Owner | None) -> Claimed:
    """What a claim that wrote ``row`` gives, where ``run`` is the run's row after it."""
    return Claimed(run_id=run.run_id, epoch=row.epoch, head=row.seq, head_sum=row.sum, run=run, previous=previous)


def _seen(owner: Owner) -> dict[str, Any]:
    return {
        "owner": owner.driver.owner,
        "host": owner.driver.host,
        "pid": owner.driver.pid,
        "lease_until": owner.lease_until,
        "renewed_at": owner.renewed_at,
    }
