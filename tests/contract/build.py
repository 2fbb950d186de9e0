"""Slices and runs for the tests of stores, in few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.ids import new_nonce
from orchestrator.journal.records import GENESIS, PROGRESS, Record, encode_all
from orchestrator.journal.store import NO_CHANGE, Driver, InboxRow, NewRun, Projection, Slice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.journal.store import Store

LEASE = 15.0
SECOND = 1_000_000


def driver(owner: str) -> Driver:
    """A driver on a machine of its own, which nobody can look at."""
    return Driver(owner=owner, host=f"host of {owner}", boot_id="boot", pid_ns="pid:[1]", pid=1, started=7)


def new_run(run_id: str, *, owner: str | None = None, at: int = 1, **more: Any) -> NewRun:
    return NewRun(run_id=run_id, name="demo", graph_hash="g" * 64, root_id=run_id, created_at=at, owner=owner, **more)


def piece(
    run_id: str,
    kinds: Sequence[str],
    *,
    epoch: int = 0,
    head: int = 0,
    base_sum: str = GENESIS,
    bodies: Sequence[dict[str, Any]] = (),
    projection: Projection = NO_CHANGE,
    create: NewRun | None = None,
    at: int = 5,
    **more: Any,
) -> Slice:
    """A slice of records of these kinds on top of a head."""
    bodies = bodies or [{"n": n} for n in range(len(kinds))]
    records = [
        Record(seq, epoch, kind, "a", body, at)  # pyright: ignore[reportArgumentType]
        for seq, (kind, body) in enumerate(zip(kinds, bodies, strict=True), head + 1)
    ]
    rows = encode_all(run_id, records, base_sum)
    nonce = more.pop("nonce", None) or new_nonce()
    return Slice(
        run_id=run_id,
        epoch=epoch,
        base_head=head,
        base_sum=base_sum,
        nonce=nonce,
        rows=tuple(row.row(run_id, nonce) for row in rows),
        at=at,
        projection=projection,
        create=create,
        blobs=tuple(row.content for row in rows if row.content is not None),
        progress=any(kind in PROGRESS for kind in kinds),
        **more,
    )


def first(run_id: str, *, owner: str | None = None, **more: Any) -> Slice:
    """The slice that makes a run."""
    new = more.pop("new", None) or new_run(run_id, owner=owner)
    return piece(run_id, ["run_started"], epoch=new.epoch, create=new, **more)


def after(earlier: Slice, kinds: Sequence[str], **more: Any) -> Slice:
    """The slice that follows another one."""
    more.setdefault("epoch", earlier.epoch)
    return piece(earlier.run_id, kinds, head=earlier.head, base_sum=earlier.head_sum, **more)


def mail(run_id: str, request_id: str = "q1", *, by: str = "ada", at: int = 3, **body: Any) -> InboxRow:
    return InboxRow(run_id=run_id, request_id=request_id, kind="answer", path="ask", body=body, by=by, at=at)


async def held(store: Store, run_id: str, owner: str = "me") -> Slice:
    """A run that a registered driver holds; its first slice."""
    await store.register_driver(driver(owner), LEASE)
    begun = first(run_id, owner=owner)
    await store.commit([begun])
    return begun
